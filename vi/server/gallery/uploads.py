"""A form with files, for browsers without the script: each file is received, then a session like any other takes it.

The form does not say how large its files are, and a session wants to know. So they are staged first, as an upload is
that may yet be cut short, and nothing is in a dataset before a session and its inspection have let it in.
"""

from __future__ import annotations

import asyncio
import re

import attrs
from aiohttp import web

from ... import _media
from ..._routes import MANAGED_SOURCE
from ...api.resources.datasets.assets.responses import UploadedAssetMetadata
from ..context import CONTEXT, Context
from ..disk.blobs import Staging
from ..handlers.sessions import SessionSpec, begin
from ..http.api_errors import ApiError, invalid
from ..store import datasets
from ..store.schema import ItemState
from .access import FILES
from .forms import next_file, pieces_of
from .paths import SESSION, path_to


@attrs.frozen
class _Received:
    filename: str
    staged: Staging

    @property
    def kind(self) -> _media.Kind:
        return self._type[0]

    @property
    def announced(self) -> UploadedAssetMetadata:
        kind, mime = self._type
        return UploadedAssetMetadata(filename=self.filename, kind=kind, mime=mime, size=self.staged.size)

    @property
    def _type(self) -> tuple[_media.Kind, str]:
        # What is of no known type is announced as such, and refused by its session by name.
        return _media.media_type(self.filename) or ("Image", "application/octet-stream")


async def take(request: web.Request) -> web.Response:
    """Store the files of a form and show the session that took them."""
    context = request.app[CONTEXT]
    if FILES not in request:
        raise invalid("The form must hold files", "files")
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
                async with context.ingestion.arriving(begun.row.id, item.idx) as session:
                    size, crc = one.staged.size, one.staged.crc32c
                    blob = await context.blobs.adopt(one.staged, session.id)
                    await context.ingestion.arrived(session, item.idx, blob, size, crc)
    finally:
        for one in received:
            await asyncio.shield(one.staged.discard())  # what was adopted is no longer there to be discarded
    location = path_to(SESSION, dataset=begun.dataset_id, session=begun.row.id)
    return web.Response(status=303, headers={"Location": location})


async def _receive(request: web.Request, context: Context, received: list[_Received]) -> None:
    config, reader, total = context.config, request[FILES], 0
    while (field := await next_file(reader, config)) is not None:
        if len(received) >= config.max_files_per_session:
            raise invalid(f"A form may hold {config.max_files_per_session} files", "files")
        # A folder before the name is the business of the one who sends it.
        one = _Received(re.split(r"[/\\]", field.filename or "")[-1], context.blobs.stage())
        received.append(one)
        async for piece in pieces_of(field, _media.size_limit(one.kind), config):
            total += len(piece)
            if config.quota_bytes is not None and total > config.quota_bytes:
                raise ApiError(413, f"The files are larger than the quota of {config.quota_bytes} bytes")
            with context.room.taking(len(piece)):
                await one.staged.write(piece)
        await one.staged.finish()
