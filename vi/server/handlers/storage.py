"""The storage side: signed transfers of bytes (protocol sections 9.4, 10.4 and 11)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ... import _checksums
from ..context import CONTEXT, Context
from ..disk.room import Taking
from ..http.api_errors import ApiError, not_found
from ..http.connections import note_known
from ..http.reading import PIECE, pieces, read_bytes
from ..http.storage_paths import DOWNLOAD, PART, THUMBNAIL, UPLOAD, storage_path
from ..objects import picture_type
from ..serving import serve_bytes, serve_object
from ..store import multipart
from ..store.multipart import Part
from ..store.schema import asset, dataset


def _check(request: web.Request, template: str, method: str) -> int | None:
    """Return the size that the URL was signed for; raises 403."""
    context = request.app[CONTEXT]
    path = storage_path(template, **request.match_info)
    content_type = request.headers.get("Content-Type", "") if method == "PUT" else ""
    size = context.signer.check(method, path, request.query, context.clock(), content_type=content_type)
    note_known(request)
    return size


def _text_answer(crc32c: int, size: int) -> web.Response:
    headers = {"ETag": _etag(crc32c, size), "x-goog-hash": f"crc32c={_checksums.to_base64(crc32c)}"}
    return web.Response(status=200, headers=headers)


def _etag(crc32c: int, size: int) -> str:
    return f'"{crc32c:08x}-{size:x}"'


async def put_object(request: web.Request) -> web.Response:
    """Store the bytes of a file of a session; ingestion checks them later."""
    context = request.app[CONTEXT]
    size = _check(request, UPLOAD, "PUT")
    assert size is not None
    index = int(request.match_info["index"])
    async with context.ingestion.arriving(request.match_info["session"], index) as session:
        try:
            with context.room.taking(size) as taking:
                blob, stored, crc = await _receive(request, context, session.id, size, taking)
        except ApiError as refusal:
            if refusal.status == 413:
                await context.ingestion.arrived(session, index, None, size + 1, 0)
            raise
        await context.ingestion.arrived(session, index, blob, stored, crc)
    return _text_answer(crc, stored)


async def _receive(
    request: web.Request, context: Context, session: str, limit: int, taking: Taking
) -> tuple[str, int, int]:
    """Store a body; returns its object, size and CRC32C."""
    if limit <= PIECE:
        data = await read_bytes(request, limit, context.config)
        crc = _checksums.crc32c(data) if _checksums.is_fast() else await asyncio.to_thread(_checksums.crc32c, data)
        return await context.blobs.put(data, session), len(data), crc
    staged = context.blobs.stage()
    try:
        async for piece in pieces(request, limit, context.config):
            await staged.write(piece)
            taking.wrote(staged.size)
        await staged.finish()
        return await context.blobs.adopt(staged, session), staged.size, staged.crc32c
    except BaseException:
        await asyncio.shield(staged.discard())
        raise


async def put_part(request: web.Request) -> web.Response:
    """Store one part of a multipart upload, of exactly its size."""
    context = request.app[CONTEXT]
    size = _check(request, PART, "PUT")
    assert size is not None
    upload, number = request.match_info["upload"], int(request.match_info["number"])
    found = await context.database.read(partial(multipart.find_stored, identifier=upload))
    session = found.session_id
    staged = context.blobs.stage()
    file = f"{number}.{secrets.token_hex(8)}"
    try:
        with context.room.taking(size) as taking:
            async for piece in pieces(request, size, context.config):
                await staged.write(piece)
                taking.wrote(staged.size)
            await staged.finish()  # before its size is read: the last piece may still be being written
        if staged.size != size:
            raise ApiError(400, f"Part {number} must be {size} bytes, not {staged.size}")
        await context.blobs.adopt_part(staged, session, upload, file)
    except BaseException:
        await asyncio.shield(staged.discard())
        raise
    part = Part(number, file, _etag(staged.crc32c, size), staged.crc32c, size)
    try:
        replaced = await context.database.write(partial(multipart.store_part, identifier=upload, part=part))
    except ApiError:
        await context.blobs.remove_parts(session, upload)
        raise
    if replaced is not None:
        await context.blobs.remove_part(session, upload, replaced)
    return _text_answer(staged.crc32c, size)


async def get_object(request: web.Request) -> web.StreamResponse:
    """Send the bytes of an asset, or ranges of them."""
    context = request.app[CONTEXT]
    _check(request, DOWNLOAD, "GET")
    asset_id = request.match_info["asset"]
    known = context.contents.recall(asset_id)
    if known is not None and not context.blobs.redirects:
        answer = await serve_object(request, known)
        if answer is not None:
            return answer
    missing = None
    while True:
        row = await context.database.read(partial(_find_object, request=request))
        if row is None or row.blob == missing:
            context.contents.forget([asset_id])
            raise not_found("Object", asset_id)
        known = context.contents.remember(row)
        if context.blobs.redirects:
            url = await context.blobs.download_url(known.blob, known.mime, request.method)
            return web.Response(status=307, headers={"Location": url, "Cache-Control": "no-store"})
        answer = await serve_object(request, known)
        if answer is not None:
            return answer
        missing = known.blob  # replaced since it was read, unless the row still names it


def _find_object(connection: sa.Connection, request: web.Request) -> sa.Row[Any] | None:
    return connection.execute(_asset_of(request)).one_or_none()


def _asset_of(request: web.Request) -> sa.Select[Any]:
    return (
        sa.select(asset)
        .join(dataset, dataset.c.seq == asset.c.dataset_seq)
        .where(
            asset.c.id == request.match_info["asset"],
            dataset.c.id == request.match_info["dataset"],
            dataset.c.deleted.is_(None),
        )
    )


async def get_thumbnail(request: web.Request) -> web.StreamResponse:
    """Send a thumbnail; if it is missing or damaged, it is made again."""
    _check(request, THUMBNAIL, "GET")
    find = partial(_find_pictured, request=request)
    return await send_thumbnail(request, request.match_info["blob"], find)


async def send_thumbnail(
    request: web.Request, blob: str, find: Callable[[sa.Connection], sa.Row[Any] | None]
) -> web.StreamResponse:
    """Send the thumbnail of an object; if it is missing, it is made again from the asset that *find* returns."""
    context = request.app[CONTEXT]
    data = await context.blobs.thumbnail(blob)
    if data is None:
        row = await context.database.read(find)
        data = None if row is None else await context.ingestion.make_thumbnail(row)
    if data is None:
        raise not_found("Thumbnail of object", blob)
    return serve_bytes(request, data, picture_type(data), f'"{blob}"')


def _find_pictured(connection: sa.Connection, request: web.Request) -> sa.Row[Any] | None:
    """Return the asset of a thumbnail, unless its bytes were replaced since."""
    pictured = (asset.c.blob == request.match_info["blob"], asset.c.has_thumbnail.is_(True))
    return connection.execute(_asset_of(request).where(*pictured)).one_or_none()
