"""A form with files, for browsers without the script: each file is received, then a session like any other takes it.

The form does not say how large its files are, and a session wants to know. So they are staged first, as an upload is
that may yet be cut short, and nothing is in a dataset before a session and its inspection have let it in.
"""

from __future__ import annotations

import asyncio
import re

import attrs
from aiohttp import BodyPartReader, web

from ... import _media
from ..._routes import MANAGED_SOURCE
from ...api.resources.datasets.assets.responses import UploadedAssetMetadata
from ..blobs import Staging
from ..context import CONTEXT, Context
from ..handlers.sessions import SessionSpec, begin
from ..reading import PIECE, too_long
from ..refusals import Refusal, invalid
from ..schema import ItemState
from ..store import datasets
from .access import FILES
from .paths import SESSION, path_to

_UNKNOWN = ("Image", "application/octet-stream")


@attrs.frozen
class _Received:
    filename: str
    staged: Staging

    @property
    def announced(self) -> UploadedAssetMetadata:
        kind, mime = _media.media_type(self.filename) or _UNKNOWN
        return UploadedAssetMetadata(filename=self.filename, kind=kind, mime=mime, size=self.staged.size)


async def take(request: web.Request) -> web.Response:
    """Store the files of a form and show the session that took them."""
    context = request.app[CONTEXT]
    name = context.dataset_name(request)
    await context.database.read(lambda connection: datasets.find(connection, context.organization_id, name))
    received: list[_Received] = []
    try:
        await _receive(request, context, received)
        if not received:
            raise invalid("No file was chosen", "files")
        spec = SessionSpec("Upload", [one.announced for one in received], failure_mode="FailAfterAll")
        begun = await begin(context, name, MANAGED_SOURCE, spec)
        for item, one in zip(begun.items, received, strict=True):
            if item.state != ItemState.REFUSED:
                with context.ingestion.arriving(begun.row.id, item.idx) as session:
                    size, crc = one.staged.size, one.staged.crc32c
                    await context.ingestion.arrived(session, item.idx, await context.blobs.adopt(one.staged), size, crc)
    finally:
        for one in received:
            await asyncio.shield(one.staged.discard())  # what was adopted is no longer there to be discarded
    location = path_to(SESSION, dataset=begun.dataset_id, session=begun.row.id)
    return web.Response(status=303, headers={"Location": location})


async def _receive(request: web.Request, context: Context, received: list[_Received]) -> None:
    config = context.config
    reader = request[FILES]
    try:
        while True:
            async with asyncio.timeout(config.body_seconds):
                field = await reader.next()
            if field is None:
                return
            if not isinstance(field, BodyPartReader) or not field.filename:
                continue
            if len(received) >= config.max_files_per_session:
                raise invalid(f"A form may hold {config.max_files_per_session} files", "files")
            received.append(_Received(re.split(r"[/\\]", field.filename)[-1], context.blobs.stage()))
            await _stage(field, received[-1], config.body_seconds)
    except TimeoutError:
        raise Refusal(408, "The files came too slowly", headers={"Connection": "close"}) from None
    except ValueError:
        raise Refusal(400, "The form cannot be read", headers={"Connection": "close"}) from None


async def _stage(field: BodyPartReader, one: _Received, patience: float) -> None:
    kind, _ = _media.media_type(one.filename) or _UNKNOWN
    limit, size = _media.size_limit(kind), 0
    while True:
        async with asyncio.timeout(patience):
            piece = await field.read_chunk(PIECE)
        if not piece:
            break
        size += len(piece)
        if size > limit:
            raise too_long(limit)
        await one.staged.write(piece)
    await one.staged.finish()
