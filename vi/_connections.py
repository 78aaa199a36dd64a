"""The aiohttp sessions of a client, one pair per event loop, and what aiohttp's failures mean.

A client may be used from any loop, so nothing here outlives or crosses its loop; after a fork the child opens its own.
The storage session carries no API header, no cookie, no decompression and no ``.netrc`` password, and follows no
redirect automatically. aiohttp's exceptions hold request headers and whole URLs, so they are read here and never
chained. aiohttp would silently send an idempotent request a second time when its connection fails; here every attempt
is one request on the wire, and a kept connection that was closed is recognized. It would also send a session's
own headers to a proxy, in the clear, so the key is in none of them.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
import ssl
import weakref
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import attrs
from yarl import URL

from ._event_loop import running_loop
from ._events import Hooks
from ._proxies import proxy_of
from ._retry import FailureKind
from ._sockets import (
    AddressRefused,
    ConnectionLost,
    GuardedConnector,
    NotingConnector,
    Reach,
    Resolver,
    one_attempt,
    spare_descriptors,
)
from ._version import __version__
from .config import Settings, ascii_host, is_loopback
from .errors import ViError, ViNetworkError, ViOperationError, ViTimeoutError

USER_AGENT = f"vi/{__version__} (Python/{platform.python_version()}; {platform.system()}/{platform.release()})"

KEEP_ALIVE_SECONDS = 60.0
API_CONNECTIONS = 64
MANY_DESCRIPTORS = 4096
MAX_HEADER_BYTES = 64 << 10
"""Of one header: gateways add policies and cookies far above the default 8 KiB of aiohttp."""
MAX_HEADERS = 1000
MAX_URL = 32 << 10
_NOT_OF_URLS = re.compile("[\x00-\x20\x7f\ud800-\udfff]")


@attrs.frozen
class LoopConnections:
    """The sessions that belong to one event loop of one process.

    *api_once* opens a connection for each request: for those that must not be repeated when a kept one proves dead.
    """

    api: aiohttp.ClientSession
    api_once: aiohttp.ClientSession
    storage: aiohttp.ClientSession
    loop: asyncio.AbstractEventLoop
    pid: int
    being_read: weakref.WeakSet[aiohttp.ClientResponse] = attrs.field(factory=weakref.WeakSet)

    @property
    def gone(self) -> bool:
        """Whether the loop has ended, or belongs to the parent process."""
        return self.pid != os.getpid() or self.loop.is_closed()

    async def aclose(self) -> None:
        for response in list(self.being_read):
            response.close()
        for session in self._sessions:
            await session.close()

    @property
    def _sessions(self) -> tuple[aiohttp.ClientSession, ...]:
        return self.api, self.api_once, self.storage

    def abandon(self) -> None:
        """Release the sockets without the loop's help.

        Closing one of the parent's here would take it out of the epoll set that both processes share, and the parent
        would wait for it forever; and a loop that has ended closes nothing. There the connector has to forget its
        sockets, or its finaliser tries.
        """
        for session in self._sessions:
            connector = session.connector
            session.detach()
            if connector is None:
                continue
            if self.gone:
                connector._conns.clear()
            else:
                connector.close()


class Follower(Protocol):
    """Knows where a service is that may end, and start again at another address."""

    async def find(self, known: str, *, refused: bool) -> str | None:
        """Return the address if it is no longer the *known* one, or if that has *refused* and now answers again."""

    def serves(self, address: str) -> bool:
        """Tell whether what has just taken a connection at *address* is the service."""
        ...


class Connections:
    """Hands out the sessions of the running loop, opening them at first use; knows where the service is."""

    def __init__(self, settings: Settings, ssl_context: ssl.SSLContext | None) -> None:
        self.settings: Settings = settings
        """With the address at which the service is now."""
        self.origin: str = origin_of(URL(settings.endpoint))
        """Scheme, host and port of that address."""
        self.follower: Follower | None = None
        """Set for a local service, which ends with the client that started it."""
        self._left: set[str] = set()
        """Where it was before: anybody may listen there now, and signed URLs still lead there."""
        self._ssl_context = ssl_context
        self.hooks: Hooks = Hooks()
        host = URL(settings.endpoint).host or ""
        self._reach = Reach(anywhere=settings.allow_private_storage, host=host, near=is_loopback(host))
        self.closed: bool = False
        self._proxies: dict[str, dict[str, Any]] = {}
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopConnections] = {}

    async def follow(self, *, refused: bool = False) -> bool:
        """Look where the service is; true if it has another address, or answers again at one that has *refused*."""
        if self.follower is None:
            return False
        if self.closed:
            raise client_is_closed()
        found = await self.follower.find(self.settings.endpoint, refused=refused)
        if found is None:
            return False
        self.settings = attrs.evolve(self.settings, endpoint=found)
        self._left.add(self.origin)
        self.origin = origin_of(URL(found))
        return True

    def is_ours(self, url: URL) -> bool:
        """Tell whether what has just taken a connection for *url* may be sent a request."""
        if self.follower is None:
            return True
        origin = origin_of(url)
        if origin == self.origin:
            return self.follower.serves(self.settings.endpoint)
        return origin not in self._left

    def current(self) -> LoopConnections:
        """Return the sessions of the running loop."""
        if self.closed:
            raise client_is_closed()
        loop = running_loop()
        found = self._by_loop.get(loop)
        if found is None or found.pid != os.getpid():
            self._let_go_of_the_gone()
            found = self._by_loop[loop] = self._open(loop)
        return found

    def _let_go_of_the_gone(self) -> None:
        for loop, connections in list(self._by_loop.items()):
            if connections.gone:
                connections.abandon()
                del self._by_loop[loop]

    def proxy_for(self, origin: str) -> dict[str, Any]:
        """Return aiohttp's proxy arguments for an *origin*; the environment is read once for each."""
        found = self._proxies.get(origin)
        if found is None:
            found = self._proxies[origin] = _proxy_arguments(URL(origin))
        return found

    def close_with(self, response: aiohttp.ClientResponse) -> None:
        """Close with the client an answer that its reader may have left open."""
        self.current().being_read.add(response)

    @property
    def any_open(self) -> bool:
        """Whether connections were opened and not closed."""
        return bool(self._by_loop)

    async def aclose(self) -> None:
        """Close the sessions of the running loop; release those whose loop has ended. None is opened after that."""
        self.closed = True
        running = running_loop()
        for loop, connections in list(self._by_loop.items()):
            if loop is running and connections.pid == os.getpid():
                await connections.aclose()
            else:
                connections.abandon()
            self._by_loop.pop(loop, None)

    def abandon(self) -> None:
        """Release everything without a loop to do it in."""
        for connections in list(self._by_loop.values()):
            connections.abandon()
        self._by_loop.clear()

    def _open(self, loop: asyncio.AbstractEventLoop) -> LoopConnections:
        timeouts = self.settings.timeouts
        # One connection that takes longer than all of them together may is not waited for.
        connect = min(timeouts.connect, self.settings.retries.connect_patience)
        spare = spare_descriptors()
        scarce = spare is not None and spare < MANY_DESCRIPTORS
        common: dict[str, Any] = {
            "ssl": self._ssl_context if self._ssl_context is not None else True,
            "ttl_dns_cache": 300,
            "resolver": Resolver(connect),
            "is_ours": self.is_ours,
        }
        kept: dict[str, Any] = {**common, "keepalive_timeout": KEEP_ALIVE_SECONDS}
        answers: dict[str, Any] = {
            "cookie_jar": aiohttp.DummyCookieJar(),
            "middlewares": (one_attempt,),
            "max_line_size": MAX_HEADER_BYTES,
            "max_field_size": MAX_HEADER_BYTES,
            "max_headers": MAX_HEADERS,
        }
        api: dict[str, Any] = {
            "headers": {"User-Agent": USER_AGENT},
            **answers,
            "timeout": aiohttp.ClientTimeout(
                total=None, sock_connect=connect, sock_read=min(timeouts.stall, timeouts.request)
            ),
        }
        storage = aiohttp.ClientSession(
            # No time-out between bytes: every transfer has a minimum rate of its own.
            # Where descriptors are few, requests wait for a connection; a file needs one as well.
            connector=GuardedConnector(
                self._reach, limit=max(1, spare // 3) if scarce and spare is not None else 0, **kept
            ),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            auto_decompress=False,
            **answers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
        )
        some = max(1, min(API_CONNECTIONS, spare // 6)) if spare is not None else API_CONNECTIONS
        return LoopConnections(
            api=aiohttp.ClientSession(connector=NotingConnector(self._reach, limit=some, **kept), **api),
            api_once=aiohttp.ClientSession(
                connector=NotingConnector(self._reach, limit=4, force_close=True, **common), **api
            ),
            storage=storage,
            loop=loop,
            pid=os.getpid(),
        )


def _proxy_arguments(url: URL) -> dict[str, Any]:
    """Return aiohttp's proxy arguments for *url*."""
    proxy = proxy_of(url)
    if proxy is None:
        return {}
    # Name and password stay in the URL: with headers for the proxy aiohttp would send it ours as well. It would write
    # them in Latin-1; with the bytes of their UTF-8 as letters, it writes UTF-8.
    login = [part and part.encode().decode("latin-1") for part in (proxy.user, proxy.password)]
    return {"proxy": proxy if proxy.user is None else proxy.with_user(login[0]).with_password(login[1])}


@attrs.frozen
class Failure:
    """A request that ended without a usable answer: how, and why in words that name no secret."""

    kind: FailureKind
    reason: str


def read_failure(error: BaseException, url: URL) -> Failure:
    """Say what an exception of aiohttp, asyncio or the socket layer means for the request to *url*."""
    host = url.host or "the host"
    if isinstance(error, AddressRefused):
        return Failure(FailureKind.REFUSED, f"{error}, which is refused (see allow_private_storage)")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "it does not match"
        return Failure(FailureKind.REFUSED, f"the certificate of {host} was refused: {reason}")
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        reason = getattr(getattr(error, "os_error", error), "reason", None) or "handshake failed"
        return Failure(FailureKind.REFUSED, f"TLS with {host} failed: {reason}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Failure(FailureKind.NEVER_SENT, f"the name {host} cannot be resolved")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return Failure(FailureKind.NEVER_SENT, f"the proxy does not answer: {_os_reason(error)}")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Failure(FailureKind.REFUSED, f"the proxy refused with status {error.status}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Failure(FailureKind.NEVER_SENT, f"no connection to {host}:{error.port}: {_os_reason(error)}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Failure(FailureKind.NEVER_SENT, f"no connection to {host} in time")
    if isinstance(error, TimeoutError):
        return Failure(FailureKind.TIMED_OUT, f"{host} did not answer in time")
    if isinstance(error, aiohttp.ClientPayloadError):
        return Failure(FailureKind.CUT, f"the response of {host} was cut off")
    if isinstance(error, aiohttp.ClientResponseError):
        return Failure(FailureKind.CUT, f"{host} did not answer in HTTP")
    if isinstance(error, ConnectionLost):
        return Failure(
            FailureKind.STALE if error.kept else FailureKind.CUT, f"the connection to {host} failed: {error.reason}"
        )
    return Failure(FailureKind.CUT, f"the connection to {host} failed: {_os_reason(error)}")


_OF_WINDOWS = {
    **dict.fromkeys((1225, 1234, 10061), "connection refused"),
    **dict.fromkeys((1236, 10053), "connection aborted"),
    **dict.fromkeys((64, 10054), "connection reset by peer"),
    **dict.fromkeys((121, 10060), "connection timed out"),
    **dict.fromkeys((1231, 10051), "network is unreachable"),
    **dict.fromkeys((1232, 10065), "no route to host"),
}
"""Errors of its calls and of its sockets, for which `os.strerror` says "Invalid argument" and "Unknown error"."""


def _os_reason(error: BaseException) -> str:
    inner = getattr(error, "os_error", error)
    number, reason = getattr(inner, "errno", None), getattr(inner, "strerror", None)
    if (of_windows := getattr(inner, "winerror", None)) is not None:
        reason = _OF_WINDOWS.get(of_windows, reason)
    elif isinstance(number, int) and number > 0:
        reason = os.strerror(number)  # asyncio's own text names the address again
    return str(reason).lower() if reason else type(inner).__name__


def to_error(failure: Failure, doing: str) -> ViError:
    """Make the error for a failure that a retry does not help."""
    if failure.kind is FailureKind.TIMED_OUT:
        return ViTimeoutError(f"{doing} failed: {failure.reason}.")
    unknown = (
        " Whether the service acted on it is unknown." if failure.kind in (FailureKind.CUT, FailureKind.STALE) else ""
    )
    return ViNetworkError(
        f"{doing} failed: {failure.reason}.{unknown}",
        error_code="ConnectionFailed" if failure.kind is FailureKind.NEVER_SENT else "NetworkError",
    )


def client_is_closed() -> ViError:
    """Make the error of a call after the client was closed."""
    return ViOperationError("The client is closed.", suggestion="Make a new one, or close it after its last call.")


def exact_url(text: str) -> URL:
    """Return a URL exactly as it is given, but for a host in other letters, which gets its ASCII form.

    Raises `ValueError` for text that is not a URL, or that a line of HTTP cannot hold. aiohttp would normalise
    the query, and so break a signature.
    """
    if len(text) > MAX_URL or _NOT_OF_URLS.search(text) is not None:
        raise ValueError("not a URL")
    if not text.isascii() and not (parts := urlsplit(text)).netloc.isascii():
        text = text.replace(parts.netloc, ascii_host(parts), 1)
    return URL(text, encoded=True)


def origin_of(url: URL) -> str:
    """Return scheme, host and port of *url*."""
    return _origin(url.scheme, url.raw_host, url.port)


@lru_cache(maxsize=256)
def _origin(scheme: str, host: str | None, port: int | None) -> str:
    place = f"[{host}]" if host is not None and ":" in host else host or ""
    return str(URL.build(scheme=scheme, authority=place if port is None else f"{place}:{port}", encoded=True).origin())


# Losses other than these are bugs and surface as they are.
TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError)
