"""Ingestion sessions (protocol section 9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

import attrs
import sqlalchemy as sa
from aiohttp import web

from ... import _checksums
from ..._routes import LONGEST_WAIT, MANAGED_SOURCE, WAIT
from ..._routes import UPLOAD as UPLOAD_HEADER
from ...api.resources.datasets.assets.responses import UploadedAssetMetadata
from ..context import CONTEXT, Context
from ..http.api_errors import invalid
from ..http.names import check_metadata, check_name
from ..http.reading import read_json, seconds, spec_of
from ..http.storage_paths import UPLOAD, storage_path
from ..store import datasets, idempotency, sessions, settling
from ..store.idempotency import Claim
from ..store.paging import Page, listing
from ..store.schema import ItemState, SessionState, ingestion_session
from .answers import json_answer

_FAILURE_MODES = ("FailAfterOne", "FailAfterAll")
_RETENTION = {
    "RemoveLinkedResource": "RemoveLinkedResource",
    "KeepLinkedResource": "KeepLinkedResources",
    "KeepLinkedResources": "KeepLinkedResources",
}
_MAX_SIZE = 1 << 53
_LABEL = re.compile(r"([0-9a-f]{16}) ([!-~]{0,2000})")
_LONGEST_ORIGIN = 200


@attrs.define
class SessionSpec:
    """The files of a new session, and its options."""

    kind: str
    assets: list[UploadedAssetMetadata]
    failure_mode: str = "FailAfterOne"
    on_asset_overwritten: str = "RemoveLinkedResource"


@attrs.frozen
class Begun:
    """A session with its files, created now or by an earlier identical request."""

    dataset_id: str
    row: sa.Row[Any]
    items: Sequence[Any]


async def create(request: web.Request) -> web.Response:
    """Create a session and sign a URL for each of its files."""
    context = request.app[CONTEXT]
    raw, document = await read_json(request, context.config)
    spec = spec_of(document, SessionSpec)
    source = {name: request.match_info.get(name, managed) for name, managed in MANAGED_SOURCE.items()}
    claim = context.claim(request, raw)
    label, direct = request.headers.get(UPLOAD_HEADER), context.config.uploads == "direct"
    begun = await begin(context, context.dataset_name(request), source, spec, claim, label, direct=direct)
    refused = [item for item in begun.items if item.state == ItemState.REFUSED]
    uploads = _uploads(begun.items, await _signing(context, begun.row, context.origin(request)), begun.row.expiry)
    document = context.documents.session(begun.row, begun.dataset_id, refused, assets=uploads, as_created=True)
    return json_answer(document, 201)


async def begin(
    context: Context,
    name: str,
    source: Mapping[str, str],
    spec: SessionSpec,
    claim: Claim | None = None,
    label: str | None = None,
    *,
    direct: bool = False,
) -> Begun:
    """Create a session for the files of *spec* in the dataset *name*; raises 400 and 404.

    *label* says which upload it belongs to; an invalid one is ignored. *direct* if clients send to the store itself.
    """
    _check(spec, context)
    upload, origin = _labelled(label)
    context.room.require()
    now = context.clock()
    values = {
        "id": context.new_id(),
        "ingestion_id": context.new_id(),
        "source_class": source["source_class"],
        "source_provider": source["provider"],
        "source_id": source["source_id"],
        "failure_mode": spec.failure_mode,
        "retention": _RETENTION[spec.on_asset_overwritten],
        "total": len(spec.assets),
        "created": now,
        "updated": now,
        "expiry": now + int(context.config.upload_url_seconds * 1000),
        "upload": upload,
        "origin": origin,
        "watched": now if direct else None,
    }

    def make(connection: sa.Connection) -> Begun:
        dataset = datasets.find(connection, context.organization_id, name, keep=True)
        before = idempotency.find(connection, claim, now)
        if before is not None:
            row = sessions.find(connection, dataset.seq, before.reference)
            return Begun(dataset.id, row, sessions.items(connection, row.seq))
        left = None
        if context.config.quota_bytes is not None:
            left = context.config.quota_bytes - sessions.held_bytes(connection, context.organization_id)
        items = _items(spec.assets, now, left)
        errored = sum(1 for item in items if item.error is not None)
        state, reason = settling.outcome(spec.failure_mode, len(items), 0, errored) or (SessionState.OPEN, None)
        row = sessions.create(
            connection,
            {
                **values,
                "dataset_seq": dataset.seq,
                "errored": errored,
                "state": state,
                "reason": reason,
                "finished": None if state == SessionState.OPEN else now,
            },
            items,
        )
        idempotency.keep(connection, claim, idempotency.Made(row.id), now)
        return Begun(dataset.id, row, items)

    begun = await context.database.write(make)
    if begun.row.state == SessionState.OPEN:
        context.ingestion.opened(begun.row)
    return begun


def _labelled(label: str | None) -> tuple[str | None, str | None]:
    """Read the id of an upload and where it came from."""
    found = _LABEL.fullmatch(label or "")
    if found is None:
        return None, None
    return found[1], unquote(found[2], errors="replace").replace("\0", "")[:_LONGEST_ORIGIN] or None


def _check(spec: SessionSpec, context: Context) -> None:
    config = context.config
    if spec.kind != "Upload":
        raise invalid("spec.kind must be Upload", "spec.kind")
    if spec.failure_mode not in _FAILURE_MODES:
        raise invalid(f"spec.failureMode must be one of {', '.join(_FAILURE_MODES)}", "spec.failureMode")
    if spec.on_asset_overwritten not in _RETENTION:
        raise invalid(f"spec.onAssetOverwritten must be one of {', '.join(_RETENTION)}", "spec.onAssetOverwritten")
    if not 1 <= len(spec.assets) <= config.max_files_per_session:
        raise invalid(f"spec.assets must hold 1 to {config.max_files_per_session} files", "spec.assets")
    names: set[str] = set()
    for position, file in enumerate(spec.assets):
        field = f"spec.assets[{position}]"
        check_name(file.filename, f"{field}.filename", config)
        if file.filename in names:
            raise invalid(f"{field}.filename is there twice: {file.filename}", f"{field}.filename")
        names.add(file.filename)
        if file.kind not in ("Image", "Video"):
            raise invalid(f"{field}.kind must be Image or Video", f"{field}.kind")
        if not 0 <= file.size <= _MAX_SIZE:
            raise invalid(f"{field}.size cannot be {file.size}", f"{field}.size")
        if file.crc32c is not None and not -(1 << 31) <= file.crc32c < 1 << 31:
            raise invalid(f"{field}.crc32c must be a signed 32-bit integer", f"{field}.crc32c")
        if file.custom_metadata:
            check_metadata(file.custom_metadata, f"{field}.customMetadata")


def _items(files: Sequence[UploadedAssetMetadata], now: int, left: int | None) -> list[sessions.Item]:
    items = []
    for index, file in enumerate(files):
        refused = settling.refusal(file.kind, file.mime, file.size)
        if refused is None and left is not None:
            if file.size > left:
                refused = settling.no_room(file.size, left)
            else:
                left -= file.size
        items.append(
            sessions.Item(
                index,
                file.filename,
                file.kind,
                file.mime,
                file.size,
                file.crc32c,
                file.custom_metadata,
                ItemState.WAITING if refused is None else ItemState.REFUSED,
                None if refused is None else refused.code,
                None if refused is None else now,
                None if refused is None else refused.reason,
            )
        )
    return items


Signing = Callable[[Any], tuple[str, dict[str, str]]]
"""Returns where a file is sent, and the headers that it is sent with."""


async def _signing(context: Context, session: sa.Row[Any], origin: str) -> Signing:
    """Return what signs the URL of each file of a session; thousands at a time."""
    if session.watched is not None:
        assert context.blobs.direct is not None
        addresses = await context.blobs.direct.addresses()
        seconds = (session.expiry - context.clock()) / 1000

        def sign_direct(item: Any) -> tuple[str, dict[str, str]]:
            headers = {"Content-Type": item.mime}
            if item.crc32c is not None:
                headers["x-amz-checksum-crc32c"] = _checksums.to_base64(item.crc32c)
            # The length is signed and not among the headers: every client sends it by itself, and some refuse it there.
            signed = {**headers, "Content-Length": str(item.size)}
            return addresses.upload(session.id, item.idx, seconds, signed), headers

        return sign_direct
    base = storage_path(UPLOAD, session=session.id, index="", filename="")[:-1]
    sign = context.signer.sign

    def sign_own(item: Any) -> tuple[str, dict[str, str]]:
        path = f"{base}{item.idx}/{quote(item.filename, safe='')}"
        url = sign("PUT", path, session.expiry, size=item.size, content_type=item.mime)
        return origin + url, {"Content-Type": item.mime}

    return sign_own


def _uploads(items: Sequence[Any], sign: Signing, expiry: int) -> list[dict[str, Any]]:
    """Describe how each file is sent that may be sent."""
    uploads = []
    for item in items:
        if item.state == ItemState.REFUSED:
            continue
        url, headers = sign(item)
        metadata = {"kind": item.kind, "filename": item.filename, "mime": item.mime, "size": item.size}
        if item.crc32c is not None:
            metadata["crc32c"] = item.crc32c
        if item.custom_metadata is not None:
            metadata["customMetadata"] = item.custom_metadata
        upload = {"url": url, "expiry": expiry, "method": "PUT", "headers": headers}
        uploads.append({"metadata": metadata, "upload": upload})
    return uploads


async def get(request: web.Request) -> web.Response:
    """Answer the progress of a session, at once, or when it has ended and at most `WAIT` seconds later."""
    context = request.app[CONTEXT]
    await context.ingestion.wait_for_end(request.match_info["session"], seconds(request, WAIT, LONGEST_WAIT))
    await context.ingestion.expire()
    dataset_id, row, errors = await context.database.read(partial(_read, request=request))
    return json_answer(context.documents.session(row, dataset_id, errors))


def _read(connection: sa.Connection, request: web.Request) -> tuple[str, sa.Row[Any], Sequence[sa.Row[Any]]]:
    context = request.app[CONTEXT]
    dataset = datasets.find(connection, context.organization_id, context.dataset_name(request))
    row = sessions.find(connection, dataset.seq, request.match_info["session"])
    errors = sessions.errors(connection, [row.seq])[row.seq] if row.errored else []
    return dataset.id, row, errors


async def cancel(request: web.Request) -> web.Response:
    """End a session: its URLs stop working, what was ingested stays."""
    context = request.app[CONTEXT]
    await cancel_session(context, context.dataset_name(request), request.match_info["session"])
    dataset_id, row, errors = await context.database.read(partial(_read, request=request))
    return json_answer(context.documents.session(row, dataset_id, errors))


async def cancel_session(context: Context, name: str, identifier: str) -> None:
    """End a session of the dataset *name*; raises 404."""
    now = context.clock()

    def end(connection: sa.Connection) -> tuple[str, list[str]]:
        dataset = datasets.find(connection, context.organization_id, name)
        row = sessions.find(connection, dataset.seq, identifier)
        return row.id, sessions.cancel(connection, row, now)

    session_id, blobs = await context.removal.commit(end)
    context.ingestion.closed([session_id])
    await context.remove(blobs)


async def cancel_upload(context: Context, name: str, identifier: str) -> None:
    """End the open sessions of the upload that a session of the dataset *name* belongs to; raises 404."""

    def read(connection: sa.Connection) -> list[str]:
        dataset = datasets.find(connection, context.organization_id, name)
        row = sessions.find(connection, dataset.seq, identifier)
        return [one.id for one in sessions.of_upload(connection, row) if one.state == SessionState.OPEN] or [row.id]

    for session_id in await context.database.read(read):
        await cancel_session(context, name, session_id)


async def list_(request: web.Request) -> web.Response:
    """Answer a page of sessions, newest first."""
    context = request.app[CONTEXT]
    path = context.dataset_name(request)
    asked = listing(f"sessions {path}", request.query.get("s"), request.query.get("p"), context.signer, 1)

    def read(connection: sa.Connection) -> tuple[str, Page, dict[int, list[sa.Row[Any]]]]:
        dataset = datasets.find(connection, context.organization_id, path)
        page = asked.read(connection, sessions.listed(dataset.seq), (ingestion_session.c.seq,), descending=True)
        return dataset.id, page, sessions.errors(connection, [row.seq for row in page.rows if row.errored])

    dataset_id, page, errors = await context.database.read(read)
    items = [context.documents.session(row, dataset_id, errors.get(row.seq, [])) for row in page.rows]
    return json_answer(asked.envelope(items, page))
