"""Multipart uploads (protocol section 10)."""

from __future__ import annotations

import base64
import binascii
import json
from functools import partial
from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from ..context import CONTEXT, Context
from ..http.api_errors import ApiError, invalid, not_found
from ..http.reading import read_json, spec_of, structure
from ..http.storage_paths import PART, storage_path
from ..store import datasets, idempotency, multipart, sessions
from ..store.schema import UploadState
from .answers import json_answer, text_answer

PART_TYPE = "application/octet-stream"
SMALLEST_PART = 5 << 20
"""Bytes of a part but the last of a direct upload to a store: a limit of the stores."""


@attrs.define
class MultipartSpec:
    """The file that will be sent in parts."""

    ingestion_id: str
    filename: str
    size_bytes: int
    content_type: str | None = None


@attrs.define
class PartCompletion:
    """The answer of storage to the transfer of a part, as the client reports it."""

    response_headers: dict[str, str]
    response_body: str | None = None


async def create(request: web.Request) -> web.Response:
    """Begin a multipart upload of a file of a session."""
    context = request.app[CONTEXT]
    raw, document = await read_json(request, context.config)
    spec = spec_of(document, MultipartSpec)
    name, now, claim = context.dataset_name(request), context.clock(), context.claim(request, raw)
    identifier = context.new_id()

    def make(connection: sa.Connection) -> tuple[str, sa.Row[Any]]:
        dataset = datasets.find(connection, context.organization_id, name)
        before = idempotency.find(connection, claim, now)
        if before is not None:
            return before.body or "", multipart.find(connection, dataset.seq, before.reference)
        item = multipart.find_item(connection, dataset.seq, spec.ingestion_id, spec.filename, spec.size_bytes)
        context.room.require(item.size)
        quota = context.config.quota_bytes
        if quota is not None and multipart.count_open(connection, item.seq, item.idx):
            left = quota - sessions.held_bytes(connection, context.organization_id)
            if spec.size_bytes > left:
                raise ApiError(
                    507, f"The quota has no room for one more upload of this file; {max(0, left)} bytes are left"
                )
        row = multipart.create(
            connection,
            {
                "id": identifier,
                "session_seq": item.seq,
                "idx": item.idx,
                "filename": spec.filename,
                "content_type": spec.content_type,
                "size": spec.size_bytes,
                "part_count": _part_count(context, item, spec.size_bytes),
                "state": UploadState.OPEN,
                "expiry": item.expiry,
                "created": now,
                "updated": now,
            },
        )
        body = json.dumps(context.documents.multipart_upload(row, dataset.id), separators=(",", ":"))
        idempotency.keep(connection, claim, idempotency.Made(row.id, body), now)
        return body, row

    body, row = await context.database.write(make)
    if row.watched is not None and row.begun is None and row.state == UploadState.OPEN:
        await _begin(context, row)
    return text_answer(body, 201)


def _part_count(context: Context, session: sa.Row[Any], size: int) -> int:
    count = multipart.part_count(size, context.config.part_bytes)
    if session.watched is None:
        return count
    return min(count, max(1, size // SMALLEST_PART))


async def _begin(context: Context, row: sa.Row[Any]) -> None:
    """Begin an upload in the store, unless a repetition of the same request has done so by now."""
    assert context.blobs.direct is not None
    begun = await context.blobs.direct.begin(row.session_id, row.id, row.content_type or PART_TYPE)
    await context.database.write(partial(multipart.note_begun, seq=row.seq, begun=begun))


def _find(connection: sa.Connection, request: web.Request) -> sa.Row[Any]:
    context = request.app[CONTEXT]
    dataset = datasets.find(connection, context.organization_id, context.dataset_name(request))
    return multipart.find(connection, dataset.seq, request.match_info["upload"])


def _number(request: web.Request) -> int:
    text = request.match_info["part"]
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise not_found("Part", text)
    return int(text)


async def part_url(request: web.Request) -> web.Response:
    """Sign the URL of one part; the file does not expire before that URL."""
    context = request.app[CONTEXT]
    number = _number(request)
    expiry = context.clock() + int(context.config.upload_url_seconds * 1000)

    def extend(connection: sa.Connection) -> sa.Row[Any]:
        row = _find(connection, request)
        multipart.extend(connection, row, number, expiry)
        return row

    row = await context.database.write(extend)
    headers = {"Content-Type": PART_TYPE}
    if row.watched is not None:
        assert context.blobs.direct is not None
        if row.begun is None:
            raise ApiError(409, f"Multipart upload {row.id} has not begun; create another one")
        addresses, seconds = await context.blobs.direct.addresses(), context.config.upload_url_seconds
        # The length is not signed, because some clients send parts without one; `complete_part` compares it.
        url = addresses.part(row.session_id, row.id, row.begun, number, seconds, headers)
    else:
        size = multipart.part_size(row.size, row.part_count, number)
        path = storage_path(PART, upload=row.id, number=number)
        url = context.origin(request) + context.signer.sign("PUT", path, expiry, size=size, content_type=PART_TYPE)
    return json_answer(
        {
            "method": "PUT",
            "url": url,
            "expiry": expiry,
            "headers": headers,
            "responseHeaders": ["ETag"],
            "responseBody": False,
        }
    )


async def complete_part(request: web.Request) -> web.Response:
    """Compare the part that the client reports with the stored one."""
    context = request.app[CONTEXT]
    number = _number(request)
    _, document = await read_json(request, context.config)
    completion = structure(document, PartCompletion)
    if completion.response_body:
        _check_body(completion.response_body)
    headers = {name.lower(): value for name, value in completion.response_headers.items()}
    if "etag" not in headers:
        raise invalid("responseHeaders must hold ETag", "responseHeaders.ETag")

    row = await context.database.read(partial(_find, request=request))
    if row.begun is not None:
        await _note_sent(context, row, number, headers["etag"])

    def complete_(connection: sa.Connection) -> None:
        multipart.complete_part(connection, _find(connection, request), number, headers["etag"])

    await context.database.write(complete_)
    return json_answer({})


async def _note_sent(context: Context, row: sa.Row[Any], number: int, etag: str) -> None:
    """Note a part that was sent to the store itself as stored, if the store has it and it is of its size."""
    assert context.blobs.direct is not None
    multipart.require_open(row)
    multipart.require_part(row, number)
    size = await context.blobs.direct.part_size(row.session_id, row.id, row.begun, number, etag)
    if size is None:
        return
    wanted = multipart.part_size(row.size, row.part_count, number)
    if size != wanted:
        raise ApiError(400, f"Part {number} must be {wanted} bytes, not {size}")
    part = multipart.Part(number, "", etag, 0, size)
    await context.database.write(partial(multipart.store_part, identifier=row.id, part=part))


def _check_body(text: str) -> None:
    try:
        body = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("responseBody must be base64", "responseBody") from None
    if body:
        raise invalid("responseBody is not what storage answered", "responseBody")


async def complete(request: web.Request) -> web.Response:
    """Complete the upload: the parts are joined and inspected."""
    context = request.app[CONTEXT]
    now = context.clock()

    def complete_(connection: sa.Connection) -> sa.Row[Any] | None:
        row = _find(connection, request)
        return row if multipart.complete(connection, row, now) else None

    row = await context.database.write(complete_)
    if row is not None:
        context.ingestion.join(row)
    return json_answer({})


async def abort(request: web.Request) -> web.Response:
    """Abort the upload and remove its parts."""
    context = request.app[CONTEXT]
    now = context.clock()

    def abort_(connection: sa.Connection) -> list[str]:
        return multipart.abort(connection, _find(connection, request), now)

    await context.remove(await context.removal.commit(abort_))
    return web.Response(status=204)
