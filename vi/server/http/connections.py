"""The connections of the service: how many there may be, which go first, and what is said of nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from .addresses import HANDSHAKE_SECONDS

logger: logging.Logger = logging.getLogger("vi.server")

HEAD_SECONDS = 10.0
"""How long a new connection may take for the head of its first request."""
_TURNS = 2
"""After how many turns of the loop a server has each connection that the loop had accepted; a closed one takes none."""
_LINGER = 1.0
_STEP = 0.01
_STEPS = 50
"""For how many steps of so many seconds a service that ends waits for the requests of new connections."""


class Connection(RequestHandler):
    """One connection. What cannot be read as HTTP is answered without a word of it: it may hold a key."""

    __slots__ = ("known",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.known: bool = False
        """Whether a request on it had a key, a login or a signature that is right."""

    @property
    def rank(self) -> int:
        """How soon it goes when places are short: the silent first, then the idle, then those that are answered."""
        return 0 if self.silent else 2 if self._request_in_progress else 1

    @property
    def silent(self) -> bool:
        """Whether no request has come yet."""
        return self._request_count == 0

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that could not be read or handled."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        logger.debug("A request from %s is not HTTP: %s", request.remote, type(exc).__name__)
        response = web.Response(status=status, text="The request cannot be read\n")
        response.force_close()
        return response


def acceptor(runner: web.AppRunner, limit: int) -> Callable[[], asyncio.Protocol]:
    """Return what makes the protocol of each new connection, at most *limit* of them.

    When all places are taken, a connection on which nobody has shown a key is closed for the new one, the oldest of the
    silent ones first: whoever opens connections and asks nothing, or what needs no key, shuts nobody out who has one.
    """
    server = runner.server
    assert server is not None
    loop = asyncio.get_running_loop()
    begun = 0

    def accept() -> asyncio.Protocol:
        nonlocal begun
        if begun + len(server.connections) >= limit and not _make_room(server):
            return _Busy()
        # Many are accepted in one turn of the loop, and counted by the server only in the next.
        begun += 1
        loop.call_soon(count)
        connection = Connection(server, loop=loop, **server._kwargs)
        loop.call_later(HEAD_SECONDS, _end_if_silent, connection)
        return connection

    def count() -> None:
        nonlocal begun
        begun -= 1

    return accept


async def stop_listening(
    server: asyncio.Server,
    listener: socket.socket,
    runner: web.AppRunner,
    accept: Callable[[], asyncio.Protocol],
    tls: ssl.SSLContext | None,
) -> None:
    """Listen no more, and let those ask who have a connection already.

    The system makes connections before they are accepted here, and resets them when the listener is closed: who sent
    a request on one could not know whether it was read.
    """
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # of Windows, where a loop waits for one connection at a time
        loop.remove_reader(listener)
    made = _accept_all(listener)
    try:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
    finally:
        made += _accept_all(listener)
        server.close()
    handshake = None if tls is None else HANDSHAKE_SECONDS
    accepted = (loop.connect_accepted_socket(accept, one, ssl=tls, ssl_handshake_timeout=handshake) for one in made)
    await asyncio.gather(*accepted, return_exceptions=True)
    await asyncio.sleep(0)  # what has come is read in one turn of the loop
    assert runner.server is not None
    for _ in range(_STEPS):
        if not any(map(_is_silent, runner.server.connections)):
            break
        await asyncio.sleep(_STEP)


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    made: list[socket.socket] = []
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            made.append(connection)
    return made


def _is_silent(connection: RequestHandler) -> bool:
    return isinstance(connection, Connection) and connection.silent


def _make_room(server: web.Server) -> bool:
    found: Connection | None = None
    for connection in server.connections:  # in the order in which they came
        if not isinstance(connection, Connection) or connection.known or connection.transport is None:
            continue
        if connection.silent:
            found = connection
            break
        if found is None or connection.rank < found.rank:
            found = connection
    if found is None or found.transport is None:
        return False
    found.transport.abort()
    server.connection_lost(found)  # counted at once; a second time does nothing
    return True


def note_known(request: web.BaseRequest) -> None:
    """Keep the connection of a request that is let in, also when places are short."""
    if isinstance(request.protocol, Connection):
        request.protocol.known = True


def _end_if_silent(connection: Connection) -> None:
    if connection.silent and connection.transport is not None:
        connection.transport.abort()


class _Busy(asyncio.Protocol):
    """Turns a connection away. What it sends is read, or closing would destroy the answer on its way."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        if transport.can_write_eof():  # TLS has no half of an end
            transport.write_eof()
        self._end = asyncio.get_running_loop().call_later(_LINGER, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
