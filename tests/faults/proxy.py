"""A scripted proxy between a client and the service: it passes requests on, and fails those that a rule picks.

It speaks HTTP/1.1 by hand, so that it can also break it. Every request is written down as it was on the wire. Faults
are functions of an `Exchange`, in `breaks.py`; a rule says which request gets which. A second listener stands for
another origin. The proxy runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import attrs

Headers = list[tuple[str, str]]

LINE_LIMIT = 1 << 20
RECEIVE_BUFFER = 64 << 10


@attrs.define(eq=False)
class Seen:
    """One request on the wire; times are of the monotonic clock."""

    number: int
    origin: str
    connection: int
    nth_on_connection: int
    method: str
    target: str
    headers: dict[str, str]
    began: float
    body_bytes: int = 0
    fault: str | None = None
    status: int | None = None
    answered: float | None = None
    retry_after: str | None = None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def is_api(self) -> bool:
        return self.path.startswith("/workspaces")

    def __str__(self) -> str:
        fault = f" [{self.fault}]" if self.fault else ""
        return f"{self.number}. {self.origin} {self.method} {self.path} {self.body_bytes} B -> {self.status}{fault}"


@attrs.define
class Reply:
    """An answer, whole in memory."""

    status: int
    headers: Headers
    body: bytes = b""
    reason: str = "Reason"

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    def without(self, *names: str) -> Reply:
        gone = {name.lower() for name in names}
        return attrs.evolve(self, headers=[(n, v) for n, v in self.headers if n.lower() not in gone])

    def with_header(self, name: str, value: str) -> Reply:
        return attrs.evolve(self, headers=[*self.without(name).headers, (name, value)])

    def head(self, length: int | None) -> bytes:
        """Return the head as bytes; *length* replaces Content-Length, None leaves it out."""
        headers = self.without("Content-Length", "Transfer-Encoding", "Connection").headers
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *(f"{n}: {v}" for n, v in headers)]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Gone(Exception):
    """The client has closed its connection, or the exchange was ended on purpose."""


Break = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request being answered: what a fault has to work with."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen, headers: Headers
    ) -> None:
        self.proxy = proxy
        self.seen = seen
        self._reader = reader
        self._writer = writer
        self._headers = headers
        self.length = int(seen.headers.get("content-length", "0"))
        self._received = bytearray()

    async def read(self, count: int | None = None) -> bytes:
        """Read the request's body, or what is left of its first *count* bytes; returns all that was read."""
        wanted = min(self.length, self.length if count is None else count)
        while len(self._received) < wanted:
            data = await self._reader.read(min(1 << 18, wanted - len(self._received)))
            if not data:
                raise Gone
            self._received += data
            self.seen.body_bytes = len(self._received)
        return bytes(self._received)

    async def forward(self, body: bytes | None = None) -> Reply:
        """Send the request to the service, with its own body or another, and return the answer."""
        if body is None:
            body = await self.read()
        parts = urlsplit(self.proxy.upstream)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=LINE_LIMIT)
        try:
            headers = [(n, v) for n, v in self._headers if n.lower() not in ("content-length", "connection")]
            if body or self.seen.method in ("POST", "PUT", "PATCH"):
                headers.append(("Content-Length", str(len(body))))
            lines = [f"{self.seen.method} {self.seen.target} HTTP/1.1", *(f"{n}: {v}" for n, v in headers)]
            writer.write(("\r\n".join(lines) + "\r\nConnection: close\r\n\r\n").encode("latin-1"))
            with contextlib.suppress(ConnectionError):
                # An early refusal closes the connection; its answer is what counts.
                writer.write(body)
                await writer.drain()
            reply = await _read_reply(reader)
            if self.proxy.instead_of and self.seen.is_api:
                reply.body = reply.body.replace(self.proxy.instead_of.encode(), self.proxy.url.encode())
            return reply
        finally:
            writer.close()

    async def send(self, reply: Reply, *, length: int | None = -1, drip: float | None = None) -> None:
        """Send an answer. *length* is the Content-Length to state, by default the true one; *drip* is bytes/s."""
        self.answer_begins(reply)
        await self.write(reply.head(len(reply.body) if length == -1 else length))
        if drip is None:
            await self.write(reply.body)
            return
        for at in range(len(reply.body)):
            await self.write(reply.body[at : at + 1])
            await self.pause(1 / drip)

    def answer_begins(self, reply: Reply) -> None:
        self.seen.status = reply.status
        self.seen.retry_after = reply.header("Retry-After")
        self.seen.answered = time.monotonic()

    async def write(self, data: bytes) -> None:
        """Write raw bytes to the client."""
        if self._writer.transport.is_closing():
            raise Gone
        self._writer.write(data)
        await self._writer.drain()

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than the test lasts."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.proxy.released.wait()
            raise Gone

    async def hang(self) -> None:
        """Do nothing until the test is over."""
        await self.proxy.released.wait()
        raise Gone

    async def until_closed(self) -> None:
        """Read and drop what comes until the client closes."""
        while await self._reader.read(1 << 16):
            pass

    def reset(self) -> None:
        """End the connection with RST."""
        abort(self._writer)
        raise Gone

    async def close(self) -> None:
        """End the connection in order."""
        self._writer.close()
        raise Gone


def abort(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@attrs.define(eq=False)
class Rule:
    """Which requests get *action*: the *at*-th (from 1) of those that match, or every one where *at* is None."""

    action: Break
    method: str | None
    path: re.Pattern[str]
    at: frozenset[int] | None
    origin: str
    reused: bool
    name: str
    may_rest: bool
    matched: int = 0
    fired: int = 0

    def takes(self, seen: Seen) -> bool:
        if self.method not in (None, seen.method) or self.origin != seen.origin:
            return False
        if not self.path.search(seen.path) or (self.reused and seen.nth_on_connection == 1):
            return False
        self.matched += 1
        if self.at is not None and self.matched not in self.at:
            return False
        self.fired += 1
        return True


class Proxy:
    """The two listeners and their script. ``upstream`` may be changed at any time.

    It puts its own address for *instead_of*, where that is what the service takes for the address of its storage.
    """

    def __init__(self, upstream: str = "", instead_of: str = "") -> None:
        self.upstream = upstream
        self.instead_of = instead_of
        self.rules: list[Rule] = []
        self.log: list[Seen] = []
        self.trouble: list[BaseException] = []
        self._connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.released = asyncio.Event()
        self._servers: dict[str, asyncio.Server] = {}
        self.url = self._run(self._listen("proxy", 0))
        self.foreign = self._run(self._listen("foreign", 0))

    def plan(
        self,
        action: Break,
        method: str | None = None,
        path: str = "",
        *,
        at: int | Iterable[int] | None = 1,
        origin: str = "proxy",
        reused: bool = False,
        name: str | None = None,
        may_rest: bool = False,
    ) -> Rule:
        """Add a rule; the first that takes a request has it. One that never fires fails its test unless *may_rest*."""
        which = None if at is None else frozenset([at] if isinstance(at, int) else at)
        called = name or getattr(action, "__name__", "fault")
        rule = Rule(action, method, re.compile(path), which, origin, reused, called, may_rest)
        self.rules.append(rule)
        return rule

    def reset(self) -> None:
        """End everything that is under way and forget the script and the log."""
        self._run(self._reset())

    def go_away(self) -> None:
        """Refuse connections until `come_back`."""
        self._run(self._stop("proxy"))

    def come_back(self) -> None:
        self._run(self._listen("proxy", int(self.url.rpartition(":")[2])))

    def close(self) -> None:
        self._run(self._reset())
        for origin in list(self._servers):
            self._run(self._stop(origin))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def later(self, seconds: float, call: Callable[[], Any]) -> None:
        """Run *call* in another thread after *seconds*."""
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self, origin: str, port: int) -> str:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Small, so that a proxy that does not read is felt by the client after some megabytes.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        listener.bind(("127.0.0.1", port))

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._serve(origin, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._servers[origin] = await asyncio.start_server(connected, sock=listener, limit=1 << 16, backlog=512)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def _stop(self, origin: str) -> None:
        server = self._servers.pop(origin, None)
        if server is not None:
            server.close()
        for writer in list(self._writers):
            abort(writer)
        await asyncio.sleep(0)

    async def _reset(self) -> None:
        self.rules.clear()
        self.released.set()
        for writer in list(self._writers):
            abort(writer)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=10)
        self.released = asyncio.Event()
        self.log.clear()
        self.trouble.clear()

    async def _serve(self, origin: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        connection, nth = self._connections, 0
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                nth += 1
                await self._exchange(origin, connection, nth, head, reader, writer)
        except (Gone, ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        except BaseException as error:
            self.trouble.append(error)
            raise
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _exchange(
        self,
        origin: str,
        connection: int,
        nth: int,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        request, headers = _read_head(head)
        method, target, _ = request.split(" ")
        seen = Seen(
            len(self.log) + 1,
            origin,
            connection,
            nth,
            method,
            target,
            {name.lower(): value for name, value in headers},
            time.monotonic(),
        )
        self.log.append(seen)
        exchange = Exchange(self, reader, writer, seen, headers)
        for rule in self.rules:
            if rule.takes(seen):
                seen.fault = rule.name
                await rule.action(exchange)
                break
        else:
            await exchange.send(await exchange.forward())
        await exchange.read()


def _read_head(head: bytes) -> tuple[str, Headers]:
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = []
    for line in lines:
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    return first, headers


async def _read_reply(reader: asyncio.StreamReader) -> Reply:
    try:
        first, headers = _read_head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError:
        raise Gone from None
    _, status, reason = first.split(" ", 2)
    reply = Reply(int(status), headers, reason=reason)
    length = reply.header("Content-Length")
    if length is not None:
        reply.body = await reader.readexactly(int(length))
    elif "chunked" in (reply.header("Transfer-Encoding") or ""):
        while size := int((await reader.readline()).split(b";")[0], 16):
            reply.body += await reader.readexactly(size)
            await reader.readline()
    return reply
