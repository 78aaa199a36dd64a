"""Bytes that were copied to another bucket: whether each object that rows name is there, and serving it from now on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa

from ..errors import ViConfigurationError
from .config import Folder, ServiceConfig
from .identity import Identity, IdentityFile
from .lifecycle import hold_folder
from .objects import StoreUnavailableError
from .s3 import keys
from .s3.address import StoreAddress
from .s3.bucket import Bucket
from .s3.store import claim, together
from .shared_identity import IdentityRow
from .store.database import Database
from .store.mentioned import mentioned
from .store.metadata import Metadata
from .store.postgres import PostgresDatabase
from .store.schema import asset
from .stored_at import IN_FOLDER, FolderNote

_ROWS_AT_ONCE = 5_000
_LISTED_AT_ONCE = 16
_REMEMBERED = 500_000
"""How many objects of listings stay in memory: assets of one session are mostly beside each other."""
_SHOWN = 10


@attrs.frozen
class Compared:
    """How rows compare with the objects of a bucket."""

    assets: int
    missing: int
    shown: tuple[str, ...]
    """The first of the assets that have no object."""


async def compare_store(config: ServiceConfig) -> Compared:
    """Compare the rows of the PostgreSQL database with the bucket that *config* names, and change nothing."""
    async with AsyncExitStack() as stack:
        database = await _shared(stack, config)
        return await _compare(database, await _bucket(stack, StoreAddress.of(config)))


async def set_store(data: Path, config: ServiceConfig, *, incomplete: bool = False) -> Compared:
    """Note that the bytes of a service are in the bucket that *config* names, unless objects are missing there.

    With *incomplete*, note it in any case. Raises `ViConfigurationError` while the service runs, and when its bytes
    are in its folder.
    """
    async with AsyncExitStack() as stack:
        opened = _held_database(stack, config) if config.database is not None else _held_folder(stack, Folder(data))
        identity, database, note, before = await opened
        if before in (None, IN_FOLDER):
            raise ViConfigurationError(
                "The bytes of this service are in its folder, and their names fit no bucket.",
                suggestion="Serve a new folder with --store, and copy the datasets by a client of each.",
            )
        address = StoreAddress.of(config)
        bucket = await _bucket(stack, address)
        await claim(bucket, address, identity.organization_id)
        compared = await _compare(database, bucket)
        if incomplete or not compared.missing:
            await asyncio.to_thread(note.set_store, str(address), bucket.endpoint)
        return compared


async def _shared(stack: AsyncExitStack, config: ServiceConfig) -> PostgresDatabase:
    database = await asyncio.to_thread(partial(PostgresDatabase.open_blocking, config.database or "", make=False))
    stack.push_async_callback(database.aclose)
    return database


async def _held_database(
    stack: AsyncExitStack, config: ServiceConfig
) -> tuple[Identity, Metadata, IdentityRow, str | None]:
    database = await _shared(stack, config)
    # A worker never leads, and a service does so only some time after its start.
    if not (await database.leads() and await database.is_alone()):
        raise ViConfigurationError(
            "A service or a worker of this database is running.",
            suggestion="Stop all of them first: until they end, they use the store of before.",
        )
    row = IdentityRow(database)
    return await asyncio.to_thread(row.read), database, row, await asyncio.to_thread(row.store)


async def _held_folder(stack: AsyncExitStack, folder: Folder) -> tuple[Identity, Metadata, FolderNote, str | None]:
    stack.callback(hold_folder(folder).release)
    note = FolderNote(folder)
    database = await Database.open(folder.database)
    stack.push_async_callback(database.aclose)
    return IdentityFile(folder.identity).read(), database, note, note.store()


async def _bucket(stack: AsyncExitStack, address: StoreAddress) -> Bucket:
    bucket = await Bucket.open(address)
    stack.push_async_callback(bucket.aclose)
    return bucket


async def _compare(database: Metadata, bucket: Bucket) -> Compared:
    listings = _Listings(bucket)
    seq = count = missing = 0
    shown: list[str] = []
    try:
        while rows := await database.read(partial(_assets, after=seq)):
            seq, count = rows[-1].seq, count + len(rows)
            lost = await listings.without_object(rows)
            if lost:
                # While services run, an object may have come after its session was listed, or gone with its row.
                listings.forget()
                lost = await listings.without_object(lost)
                there = await database.read(partial(mentioned, blobs=[row.blob for row in lost]))
                lost = [row for row in lost if row.blob in there]
            missing += len(lost)
            shown += [f"{row.filename} ({row.id})" for row in lost[: _SHOWN - len(shown)]]
    except StoreUnavailableError as error:
        raise ViConfigurationError(
            f"The objects of the store cannot be listed ({error}).",
            suggestion="Try again; the keys must be allowed to list the bucket.",
        ) from None
    return Compared(count, missing, tuple(shown))


def _assets(connection: sa.Connection, after: int) -> Sequence[Any]:
    columns = asset.c.seq, asset.c.id, asset.c.filename, asset.c.blob, asset.c.size
    page = sa.select(*columns).where(asset.c.seq > after).order_by(asset.c.seq).limit(_ROWS_AT_ONCE)
    return connection.execute(page).all()


class _Listings:
    """The objects of sessions, each listed once while memory has room for it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._places = asyncio.Semaphore(_LISTED_AT_ONCE)
        self._known: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._count = 0

    async def without_object(self, rows: Sequence[Any]) -> list[Any]:
        """Return the assets that have no object of their size."""
        found = [_parted(row.blob) for row in rows]
        wanted = dict.fromkeys(one[0] for one in found if one is not None)
        for session in wanted:
            if session in self._known:
                self._known.move_to_end(session)
        await together(self._list(session) for session in wanted if session not in self._known)
        sizes = [None if one is None else self._known[one[0]].get(one[1]) for one in found]
        while self._count > _REMEMBERED:
            self._count -= 1 + len(self._known.popitem(last=False)[1])
        return [row for row, size in zip(rows, sizes, strict=True) if row.size != size]

    def forget(self) -> None:
        """List everything again from now on."""
        self._known.clear()
        self._count = 0

    async def _list(self, session: str) -> None:
        async with self._places:
            listed = await self._bucket.listed(session)
        self._known[session] = {one.key.removeprefix(session): one.size for one in listed}
        self._count += 1 + len(listed)


def _parted(blob: str) -> tuple[str, str] | None:
    """Return where the objects of the session of *blob* begin, and the rest of its key; None for no name of ours."""
    try:
        key = keys.key_of(blob)
    except FileNotFoundError:
        return None
    at = key.rindex("/") + 1
    return key[:at], key[at:]
