"""A service that this process runs: its parts, started in order and ended in the reverse."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import attrs
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from ..errors import ViConfigurationError
from . import access_log
from .app import build_app
from .config import Folder, ServiceConfig
from .context import CONTEXT, Context
from .disk.lock import FolderLock
from .documents import Documents
from .gallery.access import ACCESS, TICKET
from .gallery.paths import LOGIN, path_to
from .http.addresses import HANDSHAKE_SECONDS, is_everywhere, load_certificate, names_of, public_url_of, url_of
from .http.connections import acceptor, stop_listening
from .http.readers import watch_readers
from .identity import Identity
from .parts import Parts, end, open_parts
from .store.metadata import DatabaseUnavailableError

logger: logging.Logger = logging.getLogger("vi.server")

_READ_BUFFER = 256 << 10
_BACKLOG = 512
_LINGER = 1.0
_FOLLOW_SECONDS = 1.0
_EXPECT_SECONDS = 4.0
"""How long every process accepts a new signing key before one of them signs with it."""


@attrs.define(eq=False)
class Running:
    """What is to be ended, and the address until then."""

    url: str
    identity: Identity
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
        lock: FolderLock | None,
        host: str,
        port: int,
        config: ServiceConfig,
        clock: Callable[[], int],
        middlewares: Sequence[Any],
    ) -> Running:
        """Open the folder, resume what it holds, and listen."""
        names_of(config)  # mistakes are told before anything is made
        async with AsyncExitStack() as parts:
            listener = _listen(host, port)
            parts.callback(listener.close)
            url = url_of(host, listener.getsockname()[1], config)
            tls = await asyncio.to_thread(load_certificate, config)
            opened = await open_parts(parts, folder, config, clock)
            context = Context(
                config=config,
                identity=opened.identity,
                database=opened.database,
                blobs=opened.blobs,
                room=opened.room,
                keys=opened.keys,
                clock=clock,
                new_id=opened.new_id,
                documents=Documents(opened.identity),
                contents=opened.contents,
                ingestion=opened.ingestion,
                removal=opened.removal,
                is_shared=opened.is_shared,
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
            parts.callback(opened.ingestion.stop_waits)
            assert runner.server is not None
            watch = asyncio.create_task(watch_readers(runner.server, config.body_seconds), name="vi-readers")
            parts.push_async_callback(end, watch)
            follow = asyncio.create_task(_follow(opened, clock), name="vi-keys")
            parts.push_async_callback(end, follow)
            accept = acceptor(runner, config.max_connections)
            server = await asyncio.get_running_loop().create_server(
                accept,
                sock=listener,
                backlog=_BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE_SECONDS,
            )
            parts.push_async_callback(stop_listening, server, listener, runner, accept, tls)
            rest = parts.pop_all()
            outer = AsyncExitStack()
            if lock is not None:
                # Last of all: the next process of this folder must find it unused.
                outer.callback(lock.release)
            outer.push_async_exit(rest)
            return cls(url, opened.identity, outer, app)

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


async def _follow(opened: Parts, clock: Callable[[], int]) -> None:
    """Go by the keys as they are changed; when they cannot be read, by those that were."""
    while True:
        await asyncio.sleep(_FOLLOW_SECONDS)
        try:
            changed = await asyncio.to_thread(opened.store.newer)
        except (OSError, SQLAlchemyError, DatabaseUnavailableError, ViConfigurationError) as error:
            logger.warning("The keys cannot be read again: %s", type(error).__name__)
        else:
            if changed is None:
                continue
            logger.info("The keys have changed")
            if opened.is_shared and opened.keys.expect(changed, clock()):
                await asyncio.sleep(_EXPECT_SECONDS)
            opened.keys.use(changed)


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
    public = public_url_of(config)
    fixed = url if public is None else public.geturl().rstrip("/")
    if public is None and is_everywhere(host):
        return lambda request: f"{config.scheme}://{request.headers['Host']}"
    return lambda request: fixed
