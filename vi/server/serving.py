"""Sending stored bytes: ranges, conditions, digests (protocol section 11; RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import attrs
from aiohttp import web

from .. import _checksums
from .contents import StoredObject
from .context import CONTEXT

logger: logging.Logger = logging.getLogger("vi.server")

SMALL = 256 << 10
_FIRST = 64 << 10
_SHORTEST, _LONGEST = 256 << 10, 4 << 20
_PATIENT = 2 << 20
_RANGE = re.compile(r"bytes=\s*+(\d{0,19})-(\d{0,19})\s*+")


@attrs.frozen
class Span:
    """The bytes from *start* up to but excluding *stop*; *partial* if a range was asked for."""

    start: int
    stop: int
    partial: bool

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.stop - self.start


async def serve_file(
    request: web.Request, path: Path, known: StoredObject, also: Mapping[str, str] | None = None
) -> web.StreamResponse | None:
    """Answer with the object at *path*, with *also* among its headers; None when it is not there."""
    headers = {
        **(also or {}),
        "Content-Type": known.mime,
        "ETag": f'"{known.sha256[:32]}"',
        "Accept-Ranges": "bytes",
        "x-goog-hash": f"crc32c={_checksums.to_base64(known.crc32c)}",
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(known.sha256)).decode()}:",
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    chosen = choose(request, known.size, headers)
    if isinstance(chosen, web.Response):
        return chosen
    if request.method == "HEAD":
        if not await asyncio.to_thread(path.exists):
            return None
        head = web.StreamResponse(status=206 if chosen.partial else 200, headers=headers)
        head.content_length = chosen.length
        return head
    loop = asyncio.get_running_loop()
    try:
        if chosen.length <= SMALL:
            data = await loop.run_in_executor(None, _read, path, chosen)
            return web.Response(body=data, status=206 if chosen.partial else 200, headers=headers)
        file = await loop.run_in_executor(None, open, path, "rb")
    except FileNotFoundError:
        return None
    try:
        return await _send(request, file, chosen, headers)
    finally:
        await loop.run_in_executor(None, file.close)


def serve_bytes(request: web.Request, data: bytes, content_type: str, etag: str) -> web.Response:
    """Answer with bytes in memory."""
    headers = {"Content-Type": content_type, "ETag": etag, "Accept-Ranges": "bytes"}
    chosen = choose(request, len(data), headers)
    if isinstance(chosen, web.Response):
        return chosen
    body = data[chosen.start : chosen.stop]
    return web.Response(body=body, status=206 if chosen.partial else 200, headers=headers)


def choose(request: web.Request, size: int, headers: dict[str, str]) -> Span | web.Response:
    """Return which bytes to send, adding to *headers* what goes with a range; or the answer that sends none."""
    etag = headers["ETag"]
    if (wanted := request.headers.get("If-Match")) is not None and not _matches(wanted, etag, weak=False):
        return web.Response(status=412, headers={"ETag": etag})
    if (known := request.headers.get("If-None-Match")) is not None and _matches(known, etag, weak=True):
        return web.Response(status=304, headers={"ETag": etag})
    whole = Span(0, size, partial=False)
    asked = request.headers.get("Range")
    if asked is None or request.headers.get("If-Range", etag) != etag:
        return whole
    # Several ranges at once, another unit, nonsense: a server may pass over the header.
    match = _RANGE.fullmatch(asked)
    if match is None or not (match[1] or match[2]):
        return whole
    if match[1]:
        start, stop = int(match[1]), int(match[2]) + 1 if match[2] else size
        if match[2] and stop <= start:
            return whole
    else:
        start, stop = max(0, size - int(match[2])), size
    stop = min(stop, size)
    if start >= stop:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}", "ETag": etag})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Span(start, stop, partial=True)


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = [tag.strip() for tag in header.split(",")]
    return etag in tags or (weak and f"W/{etag}" in tags)


def _read(path: Path, span: Span) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - one small read, many times a second
        data = _read_at(file, span.start, span.length)
    if len(data) != span.length:
        raise OSError(f"{path.name} is shorter than its row says")
    return data


def _read_at(file: IO[bytes], at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)


async def _send(request: web.Request, file: IO[bytes], span: Span, headers: dict[str, str]) -> web.StreamResponse:
    """Send a large span: its head is written, which puts the headers on the wire, the rest goes from disk to socket.

    A client that does not take a stretch of it in time is given up. Stretches grow while they are taken quickly. An answer
    that ends early breaks its connection, so that nobody takes it for whole; that a client leaves is no fault to tell of.
    """
    loop = asyncio.get_running_loop()
    answer = web.StreamResponse(status=206 if span.partial else 200, headers=headers)
    answer.content_length = span.length
    await answer.prepare(request)
    transport = request.transport
    if transport is None:
        return answer
    patience = request.app[CONTEXT].config.body_seconds
    at, stretch, natively = span.start, _FIRST, False
    try:
        while at < span.stop:
            length = min(stretch, span.stop - at)
            began = loop.time()
            async with asyncio.timeout(patience * (1 + length / _PATIENT)):
                try:
                    sent = await _send_piece(answer, file, at, length, transport if natively else None)
                except (NotImplementedError, RuntimeError):
                    sent = await _send_piece(answer, file, at, length, None)
            if sent != length:
                logger.error("A stored object ends %d bytes before its row says", span.stop - at - sent)
                raise ConnectionResetError
            quick = loop.time() - began < patience / 100
            at, stretch, natively = at + sent, max(_SHORTEST, min(stretch * 2, _LONGEST)) if quick else _SHORTEST, True
        await answer.write_eof()
    except (TimeoutError, ConnectionError):
        transport.abort()
    return answer


async def _send_piece(
    answer: web.StreamResponse, file: IO[bytes], at: int, length: int, transport: asyncio.Transport | None
) -> int:
    loop = asyncio.get_running_loop()
    if transport is not None:
        return await loop.sendfile(transport, file, at, length)
    data = await loop.run_in_executor(None, _read_at, file, at, length)
    await answer.write(data)
    return len(data)
