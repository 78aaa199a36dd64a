"""A download from a listing to verified files: list, name, compare with existing files, fetch, account."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
from anyio.streams.memory import MemoryObjectSendStream

from ......_checksums import from_goog_hash
from ......_connections import TRANSPORT_ERRORS
from ......_pacing import Slots
from ......_transfer import files
from ......_transfer.discovery import os_failure
from ......_transfer.download import RemoteFile, fetch
from ......_transfer.file_system import rules_of, spellings
from ......_transfer.filters import Filters
from ......_transfer.journals.downloads import PartJournal
from ......_transfer.journals.uploads import JournalKey
from ......_transfer.names import POSIX, LocalNames, inside
from ......_transfer.outcomes import TargetGone, TransferFailed, UrlExpired
from ......_transfer.progress import ProgressTracker
from ......_transfer.record import FileFailure
from ......_transfer.remote_folders import RemoteFolder
from ......_transfer.sources.local import shown
from ......_transfer.storage import Storage
from ......_transfer.threads.descriptors import when_possible
from ......_transfer.threads.lanes import Lanes
from ......_transfer.threads.pool import TaskPool, first_error, slots_for
from ......_transfer.threads.stopping import in_thread, to_end_in_thread
from ......codes import OF_THE_DISK, READ_ONLY, FileCode
from ......config import TransferLimits
from ......errors import ViDownloadError, ViError, ViNetworkError, ViNotFoundError, ViOperationError, ViTimeoutError
from ..calls import WITH_CONTENTS, AssetCalls
from ..remote_index import RemoteIndex
from ..results import DIFFERS, AssetDownloadResult
from .remote_files import read_remote, renew

_MISSING = "vi:missing"  # no field of the protocol holds a colon


@attrs.frozen
class DownloadOptions:
    """What the caller asked for; *query* holds the listing's parameters."""

    folder: Path
    overwrite: bool
    """Whether files with other content are replaced, whatever *replaced* says."""
    query: dict[str, str]
    asset_ids: Sequence[str] | None
    limit: int | None
    limits: TransferLimits
    paths: Mapping[str, str] | None = None
    """Ids of the assets to take, all if None, and where each goes below *folder*."""
    names: Collection[str] | None = None
    """The names of the assets of *paths*."""
    documents: Sequence[Any] | None = None
    """The documents of the assets, with signed URLs, where they have been asked for."""
    filters: Filters | None = None
    """Names to take of what was selected."""
    replaced: frozenset[str] = frozenset()
    """Ids of the assets that replace a file with other content."""
    remote_folder: RemoteFolder | None = None
    """Where the files go instead of *folder*."""

    def may_replace(self, asset_id: str) -> bool:
        """Tell whether an asset replaces a file with other content."""
        return self.overwrite or asset_id in self.replaced


def expected_total(options: DownloadOptions, dataset: Any) -> int | None:
    """Return how many files will come, where the *dataset* document tells it before the listing does."""
    if options.filters is not None:
        return None
    if options.asset_ids is not None:
        return len(options.asset_ids)
    statistic = dataset.get("statistic") if isinstance(dataset, dict) else None
    total = statistic.get("assetTotal") if isinstance(statistic, dict) else None
    if options.query or type(total) is not int:
        return None
    return total if options.limit is None else min(total, options.limit)


class Download:
    """One download."""

    def __init__(
        self,
        calls: AssetCalls,
        storage: Storage,
        lanes: Lanes,
        slots: Slots,
        options: DownloadOptions,
        tracker: ProgressTracker,
    ) -> None:
        self._calls = calls
        self._storage = storage
        self._lanes = lanes
        self._slots = slots
        self._options = options
        self._folder = options.folder
        """Where files are fetched to."""
        self._tracker = tracker
        self._names = LocalNames(POSIX)
        self._entered = 0
        self._unlisted = set(options.paths or ())
        self._bytes = 0
        self._result = AssetDownloadResult(options.folder)
        self._parts = PartJournal(options.folder)
        self._refusal: ViDownloadError | None = None
        """Why nothing can be saved: to be raised once something has to be, for a complete copy needs nothing."""

    async def run(self) -> AssetDownloadResult:
        """Fetch what was selected. A full or read-only disk ends it with `ViDownloadError`."""
        try:
            await self._check_folder()
            self._tracker.enter("fetching")
            await self._run_stages()
        except ViError as error:
            error.result = self.result()
            raise
        finally:
            self._parts.close()
            self._tracker.finish()
        result = self.result()
        if result.total_cancelled:
            raise ViOperationError(
                f"The accounting is wrong: {result.total_cancelled} of {result.total_files} files were never settled.",
                suggestion="This is a defect of the SDK; please report it.",
            )
        return result

    async def _run_stages(self) -> None:
        """List and fetch at once: the next page is requested while one is used."""
        send, receive = anyio.create_memory_object_stream[list[Any]](1)
        try:
            async with receive, anyio.create_task_group() as listing:
                listing.start_soon(self._list if self._options.asset_ids is None else self._list_ids, send)
                async with TaskPool(self._slots) as pool:
                    async for items in receive:
                        for item in self._selected(items):
                            await self._begin(item, pool)
                        if self._entered == self._options.limit:
                            break
                    self._fail_unlisted()
                    self._tracker.files_total, self._tracker.bytes_total = self._entered, self._bytes
                listing.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise first_error(group) from None

    def _selected(self, items: list[Any]) -> Iterator[Any]:
        """Yield the items to fetch."""
        limit, paths, filters = self._options.limit, self._options.paths, self._options.filters
        for item in items:
            if limit is not None and self._entered >= limit:
                return
            filename = item.get("filename") if isinstance(item, dict) else None
            left_out = paths is not None and _id_of(item) not in paths
            self._unlisted.discard(_id_of(item))
            if filters is not None and isinstance(filename, str):
                left_out = left_out or not filters.takes(filename)
            if not left_out:
                yield item

    def _fail_unlisted(self) -> None:
        """Report the planned assets that are gone, or have another name now."""
        for asset_id in sorted(self._unlisted):
            self._entered += 1
            name = (self._options.paths or {})[asset_id]
            message = f"{name}: the asset has changed since the plan was made."
            self._fail(self._target(name), name, FileCode.ECHANGED, message)

    async def _begin(self, item: Any, pool: TaskPool) -> None:
        self._entered += 1
        try:
            if isinstance(item, dict) and item.get(_MISSING):
                raise TransferFailed(FileCode.ENOENT, "the asset does not exist.")
            remote = read_remote(item, self._calls.endpoint)
        except TransferFailed as problem:
            name = _name_of(item)
            self._fail(name, name, problem.code, f"{name}: {problem.message}")
            return
        self._bytes += remote.size
        await pool.submit(self._fetch_one, remote, await self._name(remote), slots=slots_for(remote.size))

    def result(self) -> AssetDownloadResult:
        """Return what is known so far; what was begun and not settled counts as cancelled."""
        result = self._result
        result.total_failed = len(result.failures)
        result.total_cancelled = 0
        result.total_cancelled = self._entered - result.total_files
        result.seconds = self._tracker.seconds
        return result

    async def _prepare(self) -> None:
        folder = self._options.folder
        key = JournalKey.of(self._calls.http.settings, self._calls.dataset_id)
        self._parts = await to_end_in_thread(PartJournal.open, folder, key)
        await self._probe()
        rules = await to_end_in_thread(rules_of, folder)
        self._names = LocalNames(rules, partial(spellings, folder))

    async def _probe(self) -> None:
        """Raise the `OSError` that says why nothing can be saved."""
        probe = self._parts.path_for(str(self._options.folder / "probe"))
        await to_end_in_thread(files.check_folder, self._parts.folder, probe)

    async def _check_folder(self) -> None:
        problem: tuple[str, str] | None = None
        is_file = False
        place = self._result.address or str(self._options.folder)
        try:
            await self._prepare()
        except (OSError, UnicodeEncodeError) as error:
            problem, is_file = os_failure(error, place), isinstance(error, FileExistsError)
        if problem is not None:
            refusal = ViDownloadError(
                f"{place} is a file, not a folder." if is_file else f"Nothing can be saved in {problem[1]}",
                error_code=problem[0],
                path=place,
                suggestion=f"Give {'another' if is_file else 'a'} folder that can be written to as save_dir.",
                result=self._result,
            )
            if (
                self._options.remote_folder is not None
                or problem[0] not in READ_ONLY
                or not self._options.folder.is_dir()
            ):
                raise refusal
            self._refusal = refusal

    # list

    async def _list(self, send: MemoryObjectSendStream[list[Any]]) -> None:
        if self._options.documents is not None:
            async with send:
                await send.send([*self._options.documents])
            return
        if self._options.names is not None:
            async with send, aclosing(self._calls.of_names(self._options.names, contents=True)) as lists:
                async for items in lists:
                    await send.send(items)
            return
        query = {**self._options.query, **WITH_CONTENTS}
        async with send, aclosing(self._calls.pages(query, self._options.limit)) as pages:
            async for page in pages:
                await send.send(page.items)

    async def _list_ids(self, send: MemoryObjectSendStream[list[Any]]) -> None:
        async with send:
            for asset_id in self._options.asset_ids or ():
                try:
                    item = await self._calls.contents(asset_id)
                except ViNotFoundError:
                    item = {"assetId": asset_id, _MISSING: True}
                await send.send([item])

    # name

    async def _name(self, remote: RemoteFile) -> str:
        """Return the path below the folder: the one that was planned, or that of the one map of names."""
        paths = self._options.paths
        if paths is not None:
            name = paths[remote.asset_id]
        else:
            if self._names.needs_listing(remote.filename):
                index = await RemoteIndex.load(self._calls)
                await in_thread(self._names.learn, index.names)
            name = self._names.choose(remote.filename, remote.asset_id, self._is_there)
        if name != remote.filename:
            self._result.renamed[remote.asset_id] = name
        return name

    def _is_there(self, name: str) -> bool:
        return os.path.lexists(self._target(name))

    # fetch

    async def _make_folders(self, name: str) -> None:
        if "/" in name:
            await when_possible(lambda: in_thread(self._parts.folder.make_folders, self._target(name)))

    def _target(self, name: str) -> str:
        return inside(self._options.folder, name)

    async def _fetch_one(self, remote: RemoteFile, name: str) -> None:
        target = self._target(name)
        try:
            if not await self._settled_by_local(remote, target):
                if self._refusal is not None:
                    raise self._refusal
                self._check_space(remote)
                await self._make_folders(name)
                await self._fetch_to(remote, target)
        except TransferFailed as problem:
            self._fail(target, remote.filename, problem.code, f"{remote.filename}: {problem.message}", remote.attempts)
            return
        except TargetGone:
            self._fail(
                target, remote.filename, FileCode.ENOENT, f"{remote.filename}: the asset is gone.", remote.attempts
            )
            return
        except ViDownloadError:
            raise
        except ViError as error:  # before OSError, which some of them are
            lost = isinstance(error, ViNetworkError | ViTimeoutError)
            code: str = FileCode.ENETWORK if lost else FileCode.EUNKNOWN
            self._fail(target, remote.filename, code, f"{remote.filename}: {error.message}", remote.attempts)
            return
        except NotADirectoryError as error:
            self._conflict(remote, target, f"{error.filename} is in the way: a file or a link where a folder belongs")
        except UnicodeEncodeError as error:
            code, message = os_failure(error, target)
            self._fail(target, remote.filename, code, message, remote.attempts)
            return
        except OSError as error:
            code, message = os_failure(error, target)
            of_all = code in OF_THE_DISK - READ_ONLY or not await self._is_writable()
            if code in READ_ONLY and not of_all:
                message = f"{message.rstrip('.')}: it is open in another program, or protected."
            self._fail(target, remote.filename, code, message, remote.attempts)
            if of_all:
                raise ViDownloadError(
                    f"The download cannot continue: {message}",
                    error_code=code,
                    path=target,
                    suggestion="Free space or give another save_dir, and make the same call again: complete files stay.",
                    result=self._result,
                ) from None
            return
        self._tracker.settle()

    async def _is_writable(self) -> bool:
        """Tell whether another file could be saved: one that cannot be replaced says nothing of its folder."""
        try:
            await self._probe()
        except OSError:
            return False
        return True

    async def _fetch_to(self, remote: RemoteFile, target: str) -> None:
        try:
            await fetch(
                remote,
                target,
                self._storage,
                self._lanes,
                self._options.limits,
                replace=self._options.may_replace(remote.asset_id),
                renew=self._renew,
                moved=self._tracker.move,
                parts=self._parts,
            )
        except FileExistsError:
            # Whoever took the name may have put the same bytes there: another download into this folder.
            if not await self._settled_by_local(remote, target):
                self._conflict(remote, target, "another file took the name during the download")
            return
        except asyncio.CancelledError:
            if remote.arrived:  # whole before the cancellation came
                self._count(remote)
            raise
        self._count(remote)

    def _count(self, remote: RemoteFile) -> None:
        self._result.total_downloaded += 1
        self._result.bytes_received += remote.size
        self._tracker.move(remote.advance(remote.size))
        self._slots.moved(remote.size)

    async def _settled_by_local(self, remote: RemoteFile, target: str) -> bool:
        """Settle the asset if a local file of its name decides it."""
        try:
            mode = self._parts.folder.lstat(target).st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(mode):
            self._conflict(remote, target, "a folder of this name is there")
            return True
        if stat.S_ISREG(mode):
            await self._learn_digest(remote)
            open_ = self._parts.folder.open
            same = await in_thread(files.content_matches, open_, target, remote.size, remote.expected)
            if same:
                self._result.total_existing += 1
                return True
        if not self._options.may_replace(remote.asset_id):
            what = "a link of this name is there" if stat.S_ISLNK(mode) else f"a local file {DIFFERS}"
            self._conflict(remote, target, what)
            return True
        return False

    async def _learn_digest(self, remote: RemoteFile) -> None:
        """Take the digest from the storage where the listing gave none."""
        if remote.expected:
            return
        try:
            with self._storage.minimum_rate():
                async with self._storage.get(remote.transfer, headers={"Range": "bytes=0-0"}) as response:
                    stated = response.headers.get("x-goog-hash") if response.status in (200, 206) else None
                    response.close()
        except (*TRANSPORT_ERRORS, TransferFailed, UrlExpired):
            return
        if (crc := from_goog_hash(stated)) is not None:
            remote.expected.expect_crc(crc)

    def _check_space(self, remote: RemoteFile) -> None:
        """Refuse a large file that cannot fit before it is begun."""
        if remote.size < self._options.limits.multipart_threshold:
            return
        free = shutil.disk_usage(self._folder).free
        if free < remote.size:
            raise TransferFailed(FileCode.ENOSPC, f"it has {remote.size} bytes and {free} are free on the disk.")

    async def _renew(self, remote: RemoteFile) -> None:
        await renew(self._calls, remote)

    def _fail(self, path: str, filename: str, code: str, message: str, attempts: int = 0) -> None:
        self._result.failures.append(FileFailure(path, filename, code, message, attempts))
        self._tracker.settle(failed=True)

    def _conflict(self, remote: RemoteFile, target: str, reason: str) -> None:
        self._result.conflicts.append(
            FileFailure(target, remote.filename, FileCode.ECONFLICT, f"{remote.filename}: {reason}.", remote.attempts)
        )


def _id_of(item: Any) -> str:
    return str(item.get("assetId", "")) if isinstance(item, dict) else ""


def _name_of(item: Any) -> str:
    """Name an item that could not be read."""
    if not isinstance(item, dict):
        return "an item of the listing"
    return shown(str(item.get("filename") or item.get("assetId") or "an item of the listing")[:255])
