"""The data path of the SDK alone, as a client of its own: no API call is in what is measured.

``up FOLDER STORE`` sends files that were prepared before; ``down FOLDER STORE TARGET DIGEST`` fetches files of those
names, each checked against its digest (``crc32c`` or ``sha256``) and renamed to its final name. With ``--ca FILE`` the
store's certificate is checked against that file. All other settings are the SDK's defaults, also the number in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import ssl
from pathlib import Path
from typing import Any

from measured import phase
from neutral import KEY, ORGANIZATION

from vi import _checksums
from vi._connections import Connections
from vi._http import Http
from vi._transfer.discovery import discover
from vi._transfer.download import RemoteFile, fetch
from vi._transfer.filters import Filters
from vi._transfer.journals.downloads import PartJournal
from vi._transfer.preparation import prepare
from vi._transfer.record import FileRecord
from vi._transfer.signed import SignedTransfer, signed_transfer
from vi._transfer.storage import Storage
from vi._transfer.threads.lanes import Lanes
from vi._transfer.threads.pool import TaskPool, slots_for
from vi._transfer.upload import PartTransfer, send_parts, send_whole
from vi.config import load_settings


class Client:
    """The SDK below its API."""

    def __init__(self, store: str, context: ssl.SSLContext | None) -> None:
        self.settings = load_settings(KEY, ORGANIZATION, store)
        self.store = store
        self.connections = Connections(self.settings, context)
        http = Http(self.connections)
        self.storage = Storage(self.connections, http.pacing, http.budget)
        self.slots = http.pacing.slots()
        self.lanes = Lanes()

    def signed(self, name: str, method: str) -> SignedTransfer:
        return signed_transfer(f"{self.store}/{name}", {}, method, 0, endpoint=self.store)

    async def aclose(self) -> None:
        self.lanes.close()
        await self.connections.aclose()

    async def prepared(self, folder: Path) -> list[FileRecord]:
        records = []
        async for group in prepare(discover([folder], "basename", Filters()), self.lanes, _refuse):
            records += group
        return records

    async def up(self, folder: Path) -> None:
        records = await self.prepared(folder)
        for record in records:
            record.upload = self.signed(record.filename, "PUT")
        with phase():
            async with TaskPool(self.slots) as pool:
                for record in records:
                    await pool.submit(self._send, record, slots=slots_for(record.size))

    async def _send(self, record: FileRecord) -> None:
        if record.size >= self.settings.limits.multipart_threshold:
            await send_parts(record, Parts(self, record), self.storage, self.settings.limits, _moved)
        else:
            await send_whole(record, self.storage, self.lanes)
        self.slots.moved(record.size)

    async def down(self, folder: Path, target: Path, algorithm: str) -> None:
        remotes = [
            RemoteFile(
                path.name, path.name, path.stat().st_size, digest_of(path, algorithm), self.signed(path.name, "GET")
            )
            for path in sorted(folder.iterdir())
        ]
        self.parts = PartJournal(target)
        with phase():
            async with TaskPool(self.slots) as pool:
                for remote in remotes:
                    await pool.submit(self._fetch, remote, target, slots=slots_for(remote.size))

    async def _fetch(self, remote: RemoteFile, target: Path) -> None:
        await fetch(
            remote,
            str(target / remote.filename),
            self.storage,
            self.lanes,
            self.settings.limits,
            replace=True,
            renew=_renew,
            moved=_moved,
            parts=self.parts,
        )
        self.slots.moved(remote.size)


class Parts:
    """Parts of one file, each an object of its own in the store."""

    SIZE = 16 << 20  # what the local service asks for

    def __init__(self, client: Client, record: FileRecord) -> None:
        self._client, self._record = client, record

    async def begin(self) -> int:
        return -(-self._record.size // self.SIZE)

    async def part(self, number: int) -> PartTransfer:
        return PartTransfer(self._client.signed(f"{self._record.filename}.{number:04}", "PUT"), [], False)

    async def part_done(self, *_: Any) -> None: ...

    async def complete(self) -> None: ...

    async def abort(self) -> None:
        raise AssertionError("the store takes every part")


def digest_of(path: Path, algorithm: str) -> _checksums.Expected:
    """Return what a listing would say of the file."""
    crc, sha = 0, hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if algorithm == "crc32c":
                crc = _checksums.crc32c(piece, crc)
            else:
                sha.update(piece)
    return _checksums.Expected(algorithm, str(_checksums.to_signed(crc)) if algorithm == "crc32c" else sha.hexdigest())


def _refuse(record: Any, code: str, message: str) -> None:
    raise AssertionError(message)


async def _renew(remote: RemoteFile) -> None:
    raise AssertionError("no URL expires here")


def _moved(count: int) -> None: ...


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["up", "down"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("store")
    parser.add_argument("target", type=Path, nargs="?")
    parser.add_argument("digest", nargs="?", default="crc32c")
    parser.add_argument("--ca")
    given = parser.parse_args()
    client = Client(given.store, ssl.create_default_context(cafile=given.ca) if given.ca else None)
    try:
        if given.way == "up":
            await client.up(given.folder)
        else:
            await client.down(given.folder, given.target, given.digest)
    finally:
        await client.aclose()


if __name__ == "__main__":
    asyncio.run(main())
