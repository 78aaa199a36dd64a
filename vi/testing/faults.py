"""Faults on demand: a middleware that stands before the service's own.

A request meets the first fault that matches it and has not been used up. Faults of the bytes (`truncate`, `corrupt`)
let the service do its work by a request of their own, and spoil what passes through, so nothing of the service differs.
"""

from __future__ import annotations

import asyncio
import fnmatch
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Literal, NoReturn, Self

import aiohttp
import attrs
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

Target = Literal["any", "api", "storage"]
Act = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

_API = "/workspaces"
_PASS = "X-Vi-Without-Fault"  # noqa: S105 - a header's name
_HOP = ("Connection", "Content-Length", "Host", "Keep-Alive", "Transfer-Encoding", "Date", "Server")


@attrs.define(eq=False)
class Fault:
    """A fault in force: *hits* counts the requests that met it. As a context manager it ends with the block."""

    _faults: Faults
    _act: Act
    _to: Target
    _method: str | None
    _path: str | None
    _times: int | None
    _after: int
    hits: int = 0

    def remove(self) -> None:
        """End the fault."""
        self._faults._remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _meets(self, request: web.Request) -> bool:
        """Tell whether this request is to fail, and count it."""
        api = request.path.startswith(_API)
        if (self._to == "api") > api or (self._to == "storage") > (not api):
            return False
        if self._method is not None and request.method != self._method.upper():
            return False
        if self._path is not None and not fnmatch.fnmatch(request.path, self._path):
            return False
        if self._after:
            self._after -= 1
            return False
        if self._times is not None and self.hits >= self._times:
            return False
        self.hits += 1
        return True


class Faults:
    """Makes a service fail.

    Every fault takes which requests it is for: *to* the API or the storage, *method*, *path* (a glob), the first
    *after* of them let through, and how many *times* (once; None means always). It returns a `Fault`.
    """

    def __init__(self) -> None:
        self._list: list[Fault] = []
        self._token = secrets.token_hex(16)
        self._session: aiohttp.ClientSession | None = None

    def status(
        self,
        status: int,
        *,
        retry_after: float | None = None,
        to: Target = "any",
        method: str | None = None,
        path: str | None = None,
        times: int | None = 1,
        after: int = 0,
    ) -> Fault:
        """Answer with *status*, and ``Retry-After`` where it is given, without asking the service."""

        async def act(request: web.Request, handler: Handler) -> web.StreamResponse:
            await request.read()
            headers = {"Retry-After": f"{retry_after:g}"} if retry_after is not None else None
            return web.json_response({"message": "a fault on demand"}, status=status, headers=headers)

        return self._add(act, to, method, path, times, after)

    def reset(
        self,
        *,
        to: Target = "any",
        method: str | None = None,
        path: str | None = None,
        times: int | None = 1,
        after: int = 0,
    ) -> Fault:
        """Reset the connection instead of answering."""

        async def act(request: web.Request, handler: Handler) -> web.StreamResponse:
            _reset(request)

        return self._add(act, to, method, path, times, after)

    def truncate(
        self,
        at: int = 0,
        *,
        to: Target = "storage",
        method: str | None = "GET",
        path: str | None = None,
        times: int | None = 1,
        after: int = 0,
    ) -> Fault:
        """Announce the whole answer, and end the connection after *at* bytes of its body."""

        async def act(request: web.Request, handler: Handler) -> web.StreamResponse:
            async with self._ask(request, None) as inner:
                response = await _begin(request, inner)
                left = at
                async for piece in inner.content.iter_any():
                    await response.write(piece[:left])
                    left -= min(left, len(piece))
                    if not left:
                        break
            transport = request.transport
            if transport is not None:
                transport.close()
            raise ConnectionResetError("a fault on demand")

        return self._add(act, to, method, path, times, after)

    def corrupt(
        self,
        at: int = 0,
        *,
        to: Target = "storage",
        method: str | None = None,
        path: str | None = None,
        times: int | None = 1,
        after: int = 0,
    ) -> Fault:
        """Change the byte at offset *at* of the body: of the answer to a GET, of the request otherwise."""

        async def act(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.method == "GET":
                async with self._ask(request, None) as inner:
                    response = await _begin(request, inner)
                    async for piece in _flipped(inner.content.iter_any(), at):
                        await response.write(piece)
                    await response.write_eof()
                    return response
            size = request.content_length or 0
            async with self._ask(request, _flipped(request.content.iter_any(), at), size) as inner:
                return web.Response(body=await inner.read(), status=inner.status, headers=_end_to_end(inner.headers))

        return self._add(act, to, method, path, times, after)

    def delay(
        self,
        seconds: float,
        *,
        to: Target = "any",
        method: str | None = None,
        path: str | None = None,
        times: int | None = 1,
        after: int = 0,
    ) -> Fault:
        """Wait before the request is looked at."""

        async def act(request: web.Request, handler: Handler) -> web.StreamResponse:
            await asyncio.sleep(seconds)
            return await handler(request)

        return self._add(act, to, method, path, times, after)

    def expiry(
        self, *, method: str | None = None, path: str | None = None, times: int | None = 1, after: int = 0
    ) -> Fault:
        """Treat the signed URL of a transfer as expired."""

        async def act(request: web.Request, handler: Handler) -> web.StreamResponse:
            await request.read()
            return web.json_response({"message": "The signed URL has expired"}, status=403)

        return self._add(act, "storage", method, path, times, after)

    def clear(self) -> None:
        """End every fault."""
        self._list.clear()

    async def aclose(self) -> None:
        """Close the connection that faults of the bytes use; belongs in the service's loop."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @property
    def middleware(self) -> Middleware:
        """The middleware to put before the service's own."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.headers.get(_PASS) != self._token:
                for fault in list(self._list):
                    if fault._meets(request):
                        return await fault._act(request, handler)
            return await handler(request)

        return middleware

    def _add(self, act: Act, to: Target, method: str | None, path: str | None, times: int | None, after: int) -> Fault:
        fault = Fault(self, act, to, method, path, times, after)
        self._list.append(fault)
        return fault

    def _remove(self, fault: Fault) -> None:
        if fault in self._list:
            self._list.remove(fault)

    def _ask(
        self, request: web.Request, body: AsyncIterator[bytes] | None, size: int = 0
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask the service the same thing again, past the faults."""
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        headers = {**_end_to_end(request.headers), "Host": request.headers["Host"], _PASS: self._token}
        if body is not None:
            headers["Content-Length"] = str(size)
        assert request.transport is not None
        host, port = request.transport.get_extra_info("sockname")[:2]
        url = URL(f"http://{f'[{host}]' if ':' in host else host}:{port}{request.raw_path}", encoded=True)
        skip = () if "Content-Type" in headers else ("Content-Type",)
        return self._session.request(
            request.method, url, data=body, headers=headers, allow_redirects=False, skip_auto_headers=skip
        )


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    hop = {name.lower() for name in _HOP}
    return {name: value for name, value in headers.items() if name.lower() not in hop}


async def _begin(request: web.Request, inner: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=inner.status, headers=_end_to_end(inner.headers))
    response.content_length = inner.content_length
    await response.prepare(request)
    return response


async def _flipped(pieces: AsyncIterator[bytes], at: int) -> AsyncIterator[bytes]:
    """Pass on what comes, with one bit of the byte at *at* turned over."""
    passed = 0
    async for piece in pieces:
        if passed <= at < passed + len(piece):
            changed = bytearray(piece)
            changed[at - passed] ^= 1
            piece = bytes(changed)
        passed += len(piece)
        yield piece


def _reset(request: web.Request) -> NoReturn:
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    raise ConnectionResetError("a fault on demand")
