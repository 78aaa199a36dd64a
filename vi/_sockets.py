"""What lies beneath aiohttp's sessions: names, connections, and the count of attempts.

aiohttp sends an idempotent request a second time by itself when its connection fails, on a new connection and unseen
by the caller; `one_attempt` ends that, so that an attempt is one request on the wire. `KeptConnector` knows whether a
request went out on a connection kept from an earlier one: such a connection may have died meanwhile, and that is no
failure of the service. Names are looked up in daemon threads: a resolver that hangs holds up neither a request beyond
its time nor the end of the program.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import weakref
from contextvars import ContextVar
from typing import Any, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

_connectors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.WeakSet[KeptConnector]] = (
    weakref.WeakKeyDictionary()
)
_kept: ContextVar[bool] = ContextVar("vi_connection_was_kept", default=False)


STEPS = 3
"""To a connection: the name, the socket, and the answer of a proxy; each may take as long as one may."""


class Watch(Protocol):
    """What wants to know when a request has its connection."""

    def begin(self, transport: asyncio.WriteTransport | None) -> None: ...

    def pause(self) -> None: ...


watch: ContextVar[Watch | None] = ContextVar("vi_watch", default=None)
"""Is told once the next request of this task has a connection: waiting for one is not the transfer's slowness."""


class ConnectionLost(aiohttp.ClientError):
    """A connection that failed before the head of an answer; *kept* if it had served an earlier request."""

    def __init__(self, reason: str, *, kept: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kept = kept


async def one_attempt(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request once; what aiohttp would repeat by itself is raised as `ConnectionLost`."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except aiohttp.ServerDisconnectedError:
        reason = "closed the connection"
    except aiohttp.ClientOSError as error:
        reason = str(error.strerror or "connection lost").lower()
        if error.errno is None or reason.startswith("can not write request body"):
            reason = "connection lost"
    raise ConnectionLost(reason, kept=_kept.get())


class KeptConnector(aiohttp.TCPConnector):
    """A connector that knows which connections have been used before."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        _connectors.setdefault(asyncio.get_running_loop(), weakref.WeakSet()).add(self)

    def close_idle(self) -> None:
        """Close the connections that are kept for later requests."""
        for kept in self._conns.values():
            for protocol, _ in kept:
                protocol.close()
        self._conns.clear()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        """Return a connection, kept or new."""
        _kept.set(True)
        connection = await super().connect(req, traces, timeout)
        watcher = watch.get()
        if watcher is not None:
            watcher.begin(connection.transport)
        return connection

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Any:
        _kept.set(False)
        # aiohttp limits each step but one: a proxy that takes CONNECT and says nothing would be waited for without end.
        limit = timeout.sock_connect * STEPS if timeout.sock_connect is not None else None
        async with asyncio.timeout(limit):
            return await super()._create_connection(req, traces, timeout)


class Resolver(AbstractResolver):
    """Looks names up with the system's resolver, for at most *seconds* each."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of *host*."""
        found: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        thread = threading.Thread(target=_look_up, args=(found, host, port, family), name="vi-names", daemon=True)
        thread.start()
        try:
            async with asyncio.timeout(self._seconds):
                addresses = await found
        except TimeoutError:
            raise OSError(None, "the name server does not answer") from None
        results: list[ResolveResult] = []
        for its_family, _, protocol, _, address in addresses:
            text = address[0]
            if its_family == socket.AF_INET6 and len(address) > 3 and address[3]:
                text = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
            results.append(
                ResolveResult(
                    hostname=host,
                    host=text,
                    port=address[1],
                    family=its_family,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        return results

    async def close(self) -> None:
        """Nothing is held."""


def _look_up(found: asyncio.Future[list[Any]], host: str, port: int, family: int) -> None:
    result: list[Any] = []
    problem: OSError | None = None
    try:
        result = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    except OSError as error:
        problem = error
    except UnicodeError:
        problem = OSError(None, "not a host name")

    def deliver() -> None:
        if found.done():
            return
        if problem is not None:
            found.set_exception(problem)
        else:
            found.set_result(result)

    try:
        found.get_loop().call_soon_threadsafe(deliver)
    except RuntimeError:  # the loop has ended: nobody waits
        return


def close_idle() -> None:
    """Close the kept connections of the running loop, for the sake of their descriptors."""
    for connector in _connectors.get(asyncio.get_running_loop(), ()):
        connector.close_idle()


def spare_descriptors() -> int | None:
    """Return how many files and sockets this process may still open, None when that is not known."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/dev/fd"))  # noqa: PTH208
    except (ImportError, OSError):
        return None
    return None if limit == resource.RLIM_INFINITY else max(0, limit - used)
