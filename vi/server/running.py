"""A service that this process runs: its parts, started in order and ended in the reverse."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import attrs
from aiohttp import web

from ..errors import ViConfigurationError
from . import access_log
from .app import build_app
from .config import Folder, ServiceConfig
from .contents import Contents
from .context import CONTEXT, Context, Identifiers
from .disk.blobs import Blobs
from .disk.lock import FolderLock
from .disk.room import Room
from .documents import Documents
from .gallery.access import ACCESS, TICKET
from .gallery.paths import LOGIN, path_to
from .http.addresses import HANDSHAKE_SECONDS, is_everywhere, load_certificate, url_of
from .http.connections import acceptor
from .http.readers import watch_readers
from .identity import Identity, IdentityStore, Keys
from .ingestion import Ingestion
from .inspection.inspector import Inspector
from .removal import Removal
from .store import selection, sessions
from .store.database import Database
from .store.metadata import Metadata
from .store.schema import asset

logger: logging.Logger = logging.getLogger("vi.server")

_READ_BUFFER = 256 << 10
_BACKLOG = 512
_LINGER = 1.0
_FOLLOW_SECONDS = 1.0
NAMED = "database-elsewhere"
"""The file that says that the rows of a folder are in a database that is named at each start."""


@attrs.define(eq=False)
class Running:
    """What is to be ended, and the address until then."""

    url: str
    _parts: AsyncExitStack
    _app: web.Application

    def login_link(self) -> str:
        """Return an address of the gallery that logs one browser in."""
        public = self._app[CONTEXT].config.public_url
        return (public or self.url).rstrip("/") + path_to(LOGIN, {TICKET: self._app[ACCESS].ticket()})

    @classmethod
    async def start(
        cls,
        folder: Folder,
        identity: Identity,
        store: IdentityStore,
        lock: FolderLock,
        host: str,
        port: int,
        config: ServiceConfig,
        clock: Callable[[], int],
        middlewares: Sequence[Any],
    ) -> Running:
        """Open the folder, resume what it holds, and listen."""
        async with AsyncExitStack() as parts:
            listener = _listen(host, port)
            parts.callback(listener.close)
            url = url_of(host, listener.getsockname()[1], config)
            tls = await asyncio.to_thread(load_certificate, config)
            room = Room(folder.root)
            await asyncio.to_thread(room.prepare)
            database = await _open_database(folder, identity, config)
            parts.push_async_callback(database.aclose)
            blobs = Blobs(folder.bytes)
            parts.push_async_callback(blobs.aclose)
            removal = Removal(database, blobs, room, clock, lambda name, spec: selection.of_spec(identity, name, spec))
            new_id = Identifiers(clock, secrets.token_hex)
            ingestion = Ingestion(
                database,
                blobs,
                room,
                Inspector(workers=config.inspection_workers),
                config,
                clock,
                new_id,
                removal.remove,
            )
            parts.push_async_callback(removal.aclose)
            parts.push_async_callback(ingestion.aclose)
            keys = Keys(identity, config)
            contents = Contents(keys.signer, config.download_url_seconds)
            ingestion.changed = contents.forget
            await _remove_orphans(database, blobs, removal)
            await removal.resume()
            await ingestion.resume()
            context = Context(
                config=config,
                identity=identity,
                database=database,
                blobs=blobs,
                room=room,
                keys=keys,
                clock=clock,
                new_id=new_id,
                documents=Documents(identity),
                contents=contents,
                ingestion=ingestion,
                removal=removal,
                origin=_origin(host, url, config),
            )
            app = build_app(context, host=host, middlewares=middlewares)
            runner = web.AppRunner(
                app,
                access_log=access_log.logger if config.access_log else None,
                access_log_class=access_log.AccessLog,
                keepalive_timeout=config.header_seconds,
                read_bufsize=_READ_BUFFER,
                auto_decompress=False,
                lingering_time=_LINGER,
                shutdown_timeout=config.shutdown_seconds,
            )
            await runner.setup()
            parts.push_async_callback(runner.cleanup)
            parts.callback(ingestion.stop_waits)
            assert runner.server is not None
            watch = asyncio.create_task(watch_readers(runner.server, config.body_seconds), name="vi-readers")
            parts.push_async_callback(_cancel, watch)
            follow = asyncio.create_task(_follow(store, keys), name="vi-keys")
            parts.push_async_callback(_cancel, follow)
            server = await asyncio.get_running_loop().create_server(
                acceptor(runner, config.max_connections),
                sock=listener,
                backlog=_BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE_SECONDS,
            )
            parts.callback(server.close)
            rest = parts.pop_all()
            # Last of all: whoever takes the folder next must find it at rest.
            outer = AsyncExitStack()
            outer.callback(lock.release)
            outer.push_async_exit(rest)
            return cls(url, outer, app)

    async def drain(self, enough: asyncio.Event) -> None:
        """Answer on, as a service that is about to end, until the configured time has passed or *enough* is set."""
        context = self._app[CONTEXT]
        context.drain.began = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(context.config.drain_seconds):
                await enough.wait()

    async def aclose(self) -> None:
        """Stop listening, answer what is being asked, stop the background work, close the files."""
        await self._parts.aclose()


async def _follow(store: IdentityStore, keys: Keys) -> None:
    """Go by the keys as they are changed; when they cannot be read, by those that were."""
    while True:
        await asyncio.sleep(_FOLLOW_SECONDS)
        try:
            changed = store.newer()
        except (OSError, ViConfigurationError) as error:
            logger.warning("The keys cannot be read again: %s", type(error).__name__)
        else:
            if changed is not None:
                keys.use(changed)
                logger.info("The keys have changed")


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise ViConfigurationError(f"The port must be from 0 to 65535, got {port}; 0 takes a free one.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host, port, family)
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ViConfigurationError(
                f"Port {port} of {host} is in use.", suggestion="Give another port; 0 takes a free one."
            ) from error
        if isinstance(error, socket.gaierror):
            raise ViConfigurationError(
                f"Cannot listen on {host}: no address has this name.",
                suggestion="Give 127.0.0.1 for this machine only, 0.0.0.0 for every network, or an address of its own.",
            ) from error
        raise ViConfigurationError(f"Cannot listen on {host}, port {port}: {error.strerror or error}.") from error
    listener.setblocking(False)
    return listener


def _origin(host: str, url: str, config: ServiceConfig) -> Callable[[web.BaseRequest], str]:
    """Return what to begin signed URLs with; a service that listens everywhere uses the name it was called by."""
    fixed = config.public_url.rstrip("/") if config.public_url else url
    if config.public_url is None and is_everywhere(host):
        return lambda request: f"{config.scheme}://{request.headers['Host']}"
    return lambda request: fixed


async def _open_database(folder: Folder, identity: Identity, config: ServiceConfig) -> Metadata:
    """Open the database beside the bytes, or the one that is named: bytes of one are never served with another."""
    named = folder.root / NAMED
    if config.database is None:
        if named.exists():
            raise ViConfigurationError(
                f"The folder {folder.root} holds bytes whose rows are in a PostgreSQL database.",
                suggestion="Name it by --database or VI_DATABASE.",
                path=str(folder.root),
            )
        return await Database.open(folder.database)
    if folder.database.exists():
        raise ViConfigurationError(
            f"The folder {folder.root} has a database of its own.",
            suggestion="Serve a new folder with --database, and copy what is there by a client of each.",
            path=str(folder.root),
        )
    from .store.postgres import PostgresDatabase  # an engine that most services do without

    database = await PostgresDatabase.open(config.database, identity.organization_id)
    named.touch()
    return database


async def _remove_orphans(database: Metadata, blobs: Blobs, removal: Removal) -> None:
    """Remove the objects that were stored just before a crash and never mentioned in a commit."""
    stored = await blobs.newest()

    def mentioned(connection: Any) -> set[str]:
        found = sessions.mentioned(connection, stored)
        for at in range(0, len(stored), 1000):
            statement = asset.select().where(asset.c.blob.in_(stored[at : at + 1000])).with_only_columns(asset.c.blob)
            found.update(connection.execute(statement).scalars())
        return found

    if stored:
        known = await database.read(mentioned)
        await removal.remove([blob for blob in stored if blob not in known])
