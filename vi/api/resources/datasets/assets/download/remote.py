"""A download into a remote folder: each file is fetched and verified on this machine, put there, and removed here."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import anyio

from ......_transfer import files
from ......_transfer.download import RemoteFile, fetch
from ......_transfer.journals.downloads import PartJournal
from ......_transfer.names import STRICT, LocalNames
from ......_transfer.remote_folders import RemoteFolder, to_the_end
from ......_transfer.threads.stopping import in_thread, to_end_in_thread
from ..results import DIFFERS, AssetDownloadResult
from .run import Download


class RemoteDownload(Download):
    """One download into a remote folder. Its own temporary folder holds only the files that are being moved."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        place = self._options.remote_folder
        assert place is not None
        self._place: RemoteFolder = place
        self._result.save_dir, self._result.address = place.path, place.label
        self._made = False

    async def run(self) -> AssetDownloadResult:
        """Fetch what was selected and put it there."""
        try:
            return await super().run()
        finally:
            if self._made:
                with anyio.CancelScope(shield=True):
                    await to_end_in_thread(functools.partial(shutil.rmtree, self._folder, ignore_errors=True))

    async def _prepare(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="vi-"))
        self._made = True
        self._parts = PartJournal(self._folder)  # never opened: remote downloads are not resumed
        self._names = LocalNames(STRICT)
        await self._probe()

    async def _probe(self) -> None:
        await in_thread(self._place.prepare)

    def _target(self, name: str) -> str:
        return self._place.target(name)

    def _name_in(self, target: str) -> str:
        return target.removeprefix(self._place.target(""))

    def _is_there(self, name: str) -> bool:
        return False

    async def _make_folders(self, name: str) -> None:
        """They are made when the file is put there."""

    async def _settled_by_local(self, remote: RemoteFile, target: str) -> bool:
        await self._learn_digest(remote)
        try:
            same = await in_thread(self._place.holds, self._name_in(target), remote.size, remote.expected)
        except IsADirectoryError:
            self._conflict(remote, target, "a folder of this name is there")
            return True
        if same:
            self._result.total_existing += 1
            return True
        if same is not None and not self._options.may_replace(remote.asset_id):
            self._conflict(remote, target, f"a file {DIFFERS}")
            return True
        return False

    async def _fetch_to(self, remote: RemoteFile, target: str) -> None:
        name = self._name_in(target)
        staged = str(self._folder / os.urandom(8).hex())
        arrived = False

        def put() -> None:
            nonlocal arrived
            self._place.put(staged, name, replace=self._options.may_replace(remote.asset_id))
            arrived = True

        try:
            await self._stage(remote, staged)
            await to_the_end(put)
        except FileExistsError:
            # Whoever took the name may have put the same bytes there.
            if not await self._settled_by_local(remote, target):
                self._conflict(remote, target, "another file took the name during the download")
            return
        except asyncio.CancelledError:
            if arrived:  # whole before the cancellation came
                self._count(remote)
            raise
        finally:
            files.discard(self._parts.folder, staged)
        self._count(remote)

    async def _stage(self, remote: RemoteFile, staged: str) -> None:
        try:
            await fetch(
                remote,
                staged,
                self._storage,
                self._lanes,
                self._options.limits,
                replace=True,
                renew=self._renew,
                moved=self._tracker.move,
                parts=self._parts,
            )
        except OSError as error:
            if error.errno is None:
                raise
            reason = f"{error.strerror} (in the temporary folder {self._folder})"
            raise OSError(error.errno, reason, staged) from None
