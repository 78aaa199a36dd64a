"""What a service has beside its listener, opened in order: who it is, its rows, its bytes, what looks at files."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import attrs

from ..errors import ViConfigurationError
from .config import LONGEST_SECONDS, Folder, ServiceConfig
from .contents import Contents
from .disk.blobs import Blobs
from .disk.room import Room
from .identifiers import Identifiers
from .identity import Identity, IdentityFile, IdentityStore, Keys, load_identity
from .ingestion import Ingestion
from .inspection.inspector import Inspector
from .objects import ObjectStore
from .removal import Removal
from .store import selection
from .store.database import Database
from .store.mentioned import mentioned
from .store.metadata import Metadata
from .stored_at import IN_FOLDER, FolderNote

if TYPE_CHECKING:
    from .housekeeping import Housekeeping
    from .shared_identity import IdentityRow
    from .store.postgres import PostgresDatabase


@attrs.frozen
class Parts:
    """What the listener and a worker share."""

    identity: Identity
    store: IdentityStore
    keys: Keys
    database: Metadata
    room: Room
    blobs: ObjectStore
    removal: Removal
    ingestion: Ingestion
    contents: Contents
    new_id: Identifiers
    is_shared: bool
    """Whether other processes work on the same rows and bytes."""


async def open_parts(stack: AsyncExitStack, folder: Folder, config: ServiceConfig, clock: Callable[[], int]) -> Parts:
    """Open the folder and resume what it holds; *stack* ends everything again."""
    _check_direct(config)
    room = Room(folder.root)
    await asyncio.to_thread(room.prepare)
    shared: PostgresDatabase | None = None
    if config.database is not None:
        identity, row, shared = await _open_shared(stack, folder, config, config.database, clock)
        database: Metadata = shared
        blobs = await _open_store(folder, identity, config, row)
        store: IdentityStore = row
    else:
        identity, store, database = await _open_own(stack, folder, config, clock)
        blobs = await _open_store(folder, identity, config, None)
    stack.push_async_callback(blobs.aclose)
    removal = Removal(database, blobs, room, clock, partial(selection.of_spec, identity))
    new_id = Identifiers(clock, secrets.token_hex)
    inspector = Inspector(workers=config.inspection_workers)
    work = (database, blobs, room, inspector, config, clock, new_id, removal.remove)
    keeping: Housekeeping | None = None
    ingestion: Ingestion
    if shared is None:
        ingestion = Ingestion(*work)
    else:
        from .disk.leftovers import Leftovers
        from .housekeeping import Housekeeping
        from .shared_ingestion import SharedIngestion

        ingestion = together = SharedIngestion(*work)
        keeping = Housekeeping(shared, together, removal, Leftovers(folder.bytes), config, clock)
    stack.push_async_callback(removal.aclose)
    stack.push_async_callback(ingestion.aclose)
    keys = Keys(identity, config)
    contents = Contents(keys.signer, config.download_url_seconds, remembers=shared is None)
    ingestion.changed = contents.forget
    if keeping is None:
        await _remove_orphans(database, blobs, removal)
        await removal.resume(await removal.left())
    await ingestion.resume()
    if blobs.direct is not None:
        from .receiving import Receiving

        receiving = Receiving(database, blobs.direct, ingestion, clock)
        stack.push_async_callback(end, asyncio.create_task(receiving.run(), name="vi-receiving"))
    if config.store is not None:
        sweep = _sweep_sessions(database, blobs, identity, clock, removal, config)
        stack.push_async_callback(end, asyncio.create_task(sweep, name="vi-sessions"))
    if keeping is not None:
        stack.push_async_callback(end, asyncio.create_task(keeping.run(), name="vi-housekeeping"))
    return Parts(identity, store, keys, database, room, blobs, removal, ingestion, contents, new_id, shared is not None)


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task of the background and wait for its end."""
    task.cancel()
    await asyncio.wait({task})


async def _open_own(
    stack: AsyncExitStack, folder: Folder, config: ServiceConfig, clock: Callable[[], int]
) -> tuple[Identity, IdentityStore, Metadata]:
    if folder.elsewhere.exists():
        raise ViConfigurationError(
            f"The folder {folder.root} holds bytes whose rows are in a PostgreSQL database.",
            suggestion="Name it by --database or VI_DATABASE.",
            path=str(folder.root),
        )
    load_identity(folder.identity, config, clock())
    store = IdentityFile(folder.identity)
    database = await Database.open(folder.database)
    stack.push_async_callback(database.aclose)
    return store.read(), store, database


async def _open_shared(
    stack: AsyncExitStack, folder: Folder, config: ServiceConfig, url: str, clock: Callable[[], int]
) -> tuple[Identity, IdentityRow, PostgresDatabase]:
    if folder.database.exists():
        raise ViConfigurationError(
            f"The folder {folder.root} has a database of its own.",
            suggestion="Serve a new folder with --database, and copy what is there by a client of each.",
            path=str(folder.root),
        )
    from .shared_identity import IdentityRow  # an engine that most services do without
    from .store.postgres import PostgresDatabase

    database = await PostgresDatabase.open(url)
    stack.push_async_callback(database.aclose)
    store = IdentityRow(database)
    return await asyncio.to_thread(store.open, folder, config, clock()), store, database


async def _open_store(
    folder: Folder, identity: Identity, config: ServiceConfig, row: IdentityRow | None
) -> ObjectStore:
    """Open the folder of bytes, or the bucket that is named: rows of one are never served with another.

    The *row* of a database that several share says which; it was compared when it was opened.
    """
    note = FolderNote(folder)
    check = note.check_store if row is None else row.check_store
    if config.store is None:
        if row is None and (before := note.store()) is not None:
            raise ViConfigurationError(
                f"The bytes of the folder {folder.root} are in {before}.",
                suggestion="Name it by --store or VI_STORE.",
                path=str(folder.root),
            )
        blobs = Blobs(folder.bytes, shared=row is not None)
        if row is not None:
            await asyncio.to_thread(check, IN_FOLDER, "", keep=True)
        return blobs
    if (folder.bytes / "objects").exists():
        raise ViConfigurationError(
            f"The folder {folder.root} holds bytes of its own.",
            suggestion="Serve a new folder with --store, and copy what is there by a client of each.",
            path=str(folder.root),
        )
    from .s3.address import StoreAddress  # which most services do without

    address = StoreAddress.of(config)  # says so where the library is missing
    from .s3.store import S3Store

    redirects = config.downloading != "through"
    store = await S3Store.open(address, identity.organization_id, folder.bytes, redirects=redirects, check=check)
    try:
        await asyncio.to_thread(check, str(address), store.endpoint, keep=True)
    except BaseException:
        await store.aclose()
        raise
    return store


def _check_direct(config: ServiceConfig) -> None:
    """Raise `ViConfigurationError` for ways of the bytes that the store does not have."""
    for option, value in (("--uploads", config.uploads), ("--downloads", config.downloads)):
        if value == "direct" and config.store is None:
            raise ViConfigurationError(
                f"{option} direct needs an S3 store.",
                suggestion="Name it by --store or VI_STORE; a service with a folder receives and sends bytes itself.",
            )
    longest = max(config.upload_url_seconds, config.download_url_seconds)
    if "direct" in (config.uploads, config.downloading) and longest > LONGEST_SECONDS:
        raise ViConfigurationError(
            f"Signed addresses of a store live at most {LONGEST_SECONDS} seconds, not {longest:.0f}.",
            suggestion="Lower upload_url_seconds and download_url_seconds.",
        )


async def _sweep_sessions(
    database: Metadata,
    blobs: ObjectStore,
    identity: Identity,
    clock: Callable[[], int],
    removal: Removal,
    config: ServiceConfig,
) -> None:
    from .s3.store import S3Store
    from .sweeping import GRACE_MS, SessionSweep

    assert isinstance(blobs, S3Store)
    # Addresses of a session that has ended may still be sent to.
    grace = GRACE_MS + int(config.upload_url_seconds * 1000)
    await SessionSweep(database, blobs, identity.organization_id, clock, removal.remove, grace).run()


async def _remove_orphans(database: Metadata, blobs: ObjectStore, removal: Removal) -> None:
    """Remove the objects that were stored just before a crash and never mentioned in a commit."""
    stored = await blobs.newest()
    if stored:
        known = await database.read(partial(mentioned, blobs=stored))
        await removal.remove([blob for blob in stored if blob not in known])
