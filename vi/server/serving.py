"""Sending stored bytes, with their digests (protocol section 11)."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from aiohttp import web

from .. import _checksums
from .._ranges import Selection, select
from .contents import StoredObject
from .context import CONTEXT
from .disk.own import open_object

logger: logging.Logger = logging.getLogger("vi.server")

SMALL = 256 << 10
_NOWAIT = getattr(os, "RWF_NOWAIT", None)
_FIRST = 64 << 10
_SHORTEST, _LONGEST = 256 << 10, 4 << 20
_PATIENT = 2 << 20
SENT = web.RequestKey("sent", int)
"""How many bytes of a file were sent: what goes from disk to socket is counted here alone."""


async def serve_object(
    request: web.Request, known: StoredObject, also: Mapping[str, str] | None = None
) -> web.StreamResponse | None:
    """Answer with a stored object, with *also* among its headers; None when it is not there."""
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
    chosen = select(request.headers, known.size, headers["ETag"])
    if chosen.status not in (200, 206):
        return _without_bytes(chosen, headers["ETag"])
    headers |= chosen.content_range
    path = request.app[CONTEXT].blobs.path(known.blob)
    if path is None:
        return await _send_read(request, known.blob, chosen, headers)
    if request.method == "HEAD":
        if not await asyncio.to_thread(path.exists):
            return None
        head = web.StreamResponse(status=chosen.status, headers=headers)
        head.content_length = chosen.length
        return head
    loop = asyncio.get_running_loop()
    try:
        if chosen.length <= SMALL:
            data: bytes | bytearray | None = _cached(path, chosen)
            if data is None:
                data = await loop.run_in_executor(None, _read, path, chosen)
            return web.Response(body=data, status=chosen.status, headers=headers)
        file = await loop.run_in_executor(None, open_object, path)
    except FileNotFoundError:
        return None
    try:
        return await _send(request, file, chosen, headers)
    finally:
        await loop.run_in_executor(None, file.close)


def serve_bytes(request: web.Request, data: bytes, content_type: str, etag: str) -> web.Response:
    """Answer with bytes in memory."""
    headers = {"Content-Type": content_type, "ETag": etag, "Accept-Ranges": "bytes"}
    chosen = select(request.headers, len(data), etag)
    if chosen.status not in (200, 206):
        return _without_bytes(chosen, etag)
    headers |= chosen.content_range
    body = data[chosen.start : chosen.stop]
    return web.Response(body=body, status=chosen.status, headers=headers)


def _without_bytes(chosen: Selection, etag: str) -> web.Response:
    return web.Response(status=chosen.status, headers={"ETag": etag, **chosen.content_range})


def _cached(path: Path, span: Selection) -> bytearray | None:
    """Return a small span if the page cache holds it; a thread would cost more than the read."""
    if sys.platform == "win32" or _NOWAIT is None:
        return None
    data = bytearray(span.length)
    with open_object(path) as file:
        try:
            count = os.preadv(file.fileno(), [data], span.start, _NOWAIT)
        except OSError:  # not cached, or a file system without this call
            return None
    return data if count == span.length else None


def _read(path: Path, span: Selection) -> bytes:
    with open_object(path) as file:
        data = _read_at(file, span.start, span.length)
    if len(data) != span.length:
        raise OSError(f"{path.name} is shorter than its row says")
    return data


def _read_at(file: IO[bytes], at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)


async def _send_read(
    request: web.Request, blob: str, span: Selection, headers: dict[str, str]
) -> web.StreamResponse | None:
    """Send a range of an object, which the store returns in several requests."""
    context = request.app[CONTEXT]
    answer = web.StreamResponse(status=span.status, headers=headers)
    answer.content_length = span.length
    length = 1 if request.method == "HEAD" else min(_PATIENT, span.length)
    try:
        data = await context.blobs.read(blob, span.start, length)
    except FileNotFoundError:
        return None
    if request.method == "HEAD":
        return answer
    await answer.prepare(request)
    at = span.start
    try:
        while True:
            if len(data) != length:
                logger.error("A stored object ends %d bytes before its row says", span.stop - at - len(data))
                raise ConnectionResetError
            async with asyncio.timeout(context.config.body_seconds):
                await answer.write(data)
            at += length
            if at == span.stop:
                break
            length = min(_LONGEST, span.stop - at)
            data = await context.blobs.read(blob, at, length)
        await answer.write_eof()
    except (TimeoutError, OSError):
        if request.transport is not None:
            request.transport.abort()
    finally:
        request[SENT] = at - span.start
    return answer


async def _send(request: web.Request, file: IO[bytes], span: Selection, headers: dict[str, str]) -> web.StreamResponse:
    """Send a large span: its head is written, which puts the headers on the wire, the rest goes from disk to socket.

    A client that does not take a piece of it in time is disconnected. Pieces grow while they are taken quickly. An
    answer that ends early breaks its connection, so that no client takes it for complete; a client that disconnects is
    not an error.
    """
    loop = asyncio.get_running_loop()
    answer = web.StreamResponse(status=span.status, headers=headers)
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
    finally:
        request[SENT] = at - span.start
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
