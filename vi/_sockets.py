"""What lies beneath aiohttp's sessions: names, connections, and the count of attempts.

aiohttp silently sends an idempotent request a second time when its connection fails, on a new connection and unseen
by the caller; `one_attempt` ends that, so that an attempt is one request on the wire. `KeptConnector` knows whether a
request went out on a connection kept from an earlier one: such a connection may be closed by now, and that is not a
failure of the service. Names are looked up in daemon threads: a resolver that hangs holds up neither a request beyond
its time nor the end of the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
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
"""Called once the next request of this task has a connection: the wait for one does not count as slowness."""


class ConnectionLost(aiohttp.ClientError):
    """A connection that failed before the head of an answer; *kept* if it had served an earlier request."""

    def __init__(self, reason: str, *, kept: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kept = kept


async def one_attempt(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request once; what aiohttp would silently repeat is raised as `ConnectionLost`."""
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
    """A connector that knows which connections have been used before.

    A new one is closed unless *is_ours*, given its URL, says that the other end may be sent the request.
    """

    def __init__(self, *, is_ours: Callable[[Any], bool], **settings: Any) -> None:
        super().__init__(**settings)
        self._is_ours = is_ours
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
            connection = await super()._create_connection(req, traces, timeout)
        if not self._is_ours(req.url):
            connection.close()
            refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
            raise aiohttp.ClientConnectorError(req.connection_key, refused)
        return connection


class AddressRefused(aiohttp.ClientError):
    """A name, or an address, that leads where a transfer may not go."""


Nearness = int
"""How near an address is: 0 any host of the internet, 1 a private network, 2 this link, 3 this machine."""

PUBLIC, PRIVATE, LINK, MACHINE = range(4)
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/96", "::/96", "::ffff:0:0:0/96")))
"""Where an IPv6 address is that stands for the IPv4 one in its last 32 bits."""

_NEARER = (
    (ipaddress.IPv4Network("168.63.129.16/32"), LINK),  # Azure's host, which tells a machine its secrets
    # Not of the internet, which not every Python knows: protocol assignments, documentation, segment routing.
    (ipaddress.IPv4Network("192.0.0.0/24"), PRIVATE),
    (ipaddress.IPv6Network("3fff::/20"), PRIVATE),
    (ipaddress.IPv6Network("5f00::/16"), PRIVATE),
)


def nearness(address: str) -> Nearness:
    """Return how near *address* is; one that says nothing is taken for a private one."""
    try:
        found: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return PRIVATE
    if isinstance(found, ipaddress.IPv6Address):
        within = found.ipv4_mapped or found.sixtofour
        if within is None and int(found) > 1 and any(found in network for network in _TRANSLATED):
            within = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if within is None and found.is_site_local:
            return PRIVATE
        found = within or found
    if found.is_loopback or found.is_unspecified:
        return MACHINE
    if found.is_link_local:
        return LINK
    for network, near in _NEARER:
        if found in network:
            return near
    return PUBLIC if found.is_global and not found.is_multicast else PRIVATE


class Reach:
    """Which addresses a transfer may have: those of the internet, and those no nearer than the service's own.

    How near the service is, is known from the addresses to which its connections went, the farthest of them; what a
    name of its own choosing resolves to proves nothing.
    """

    def __init__(self, *, anywhere: bool, host: str, near: bool) -> None:
        self._anywhere = anywhere
        literal = nearness(host) if _is_address(host) else None
        self._nearest: Nearness | None = MACHINE if near else literal

    def met(self, address: str) -> None:
        """Take in the address of a connection to the service."""
        found = nearness(address)
        self._nearest = found if self._nearest is None else min(self._nearest, found)

    def check(self, host: str, addresses: Iterable[str]) -> list[str]:
        """Return the *addresses* of *host* that may be connected to; raises when none may."""
        given = list(addresses)
        allowed = [one for one in given if self._anywhere or nearness(one) <= (self._nearest or PUBLIC)]
        if given and not allowed:
            raise AddressRefused(f"{host} is {given[0]}, an address of a private network")
        return allowed


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _as_address(host: str) -> str | None:
    """Return the address that a host is as it stands, also in the short, decimal and octal forms that systems read."""
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    if _is_address(host):
        return host
    if host.isascii() and host[:1].isdigit():
        with contextlib.suppress(OSError):
            return socket.inet_ntoa(socket.inet_aton(host))
    return None


_proxied: ContextVar[bool] = ContextVar("vi_connection_is_proxied", default=False)


class NotingConnector(KeptConnector):
    """The connector of the API: tells *reach* where the service is."""

    def __init__(self, reach: Reach, **settings: Any) -> None:
        super().__init__(**settings)
        self._reach = reach

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        """Return a connection, and note its other end unless that is a proxy."""
        connection = await super().connect(req, traces, timeout)
        transport = connection.transport
        peer = transport.get_extra_info("peername") if transport is not None and req.proxy is None else None
        if isinstance(peer, tuple) and peer:
            self._reach.met(str(peer[0]))
        return connection


class GuardedConnector(KeptConnector):
    """The connector of transfers: connects only to addresses that *reach* allows.

    The addresses that are checked are those that are connected to, so a name that changes its mind gains nothing. Names
    that a proxy resolves are the proxy's business; an address as it stands is refused there too.
    """

    def __init__(self, reach: Reach, **settings: Any) -> None:
        super().__init__(**settings)
        self._reach = reach

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Any:
        host = (req.url.host or "").rstrip(".").lower()
        _proxied.set(req.proxy is not None)
        if req.proxy is not None and (address := _as_address(host)) is not None:
            self._reach.check(host, [address])
        return await super()._create_connection(req, traces, timeout)

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[ResolveResult]:
        found = await super()._resolve_host(host, port, traces)
        if _proxied.get():
            return found
        allowed = set(self._reach.check(host, [entry["host"] for entry in found]))
        return [entry for entry in found if entry["host"] in allowed]


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
    if sys.platform == "win32":
        return None
    import resource

    try:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/dev/fd"))  # noqa: PTH208
    except OSError:
        return None
    return None if limit == resource.RLIM_INFINITY else max(0, limit - used)
