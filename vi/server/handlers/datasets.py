"""Datasets (protocol section 7)."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from ...api.resources.datasets.types import DatasetType
from ..context import CONTEXT, Context
from ..http.api_errors import invalid
from ..http.reading import read_json, structure
from ..store import datasets, idempotency
from ..store.idempotency import Claim
from ..store.paging import listing
from ..store.schema import dataset
from .answers import json_answer, text_answer

_MAX_TEXT = 10_000


@attrs.define
class DatasetAttributes:
    """The part of a request that holds attributes."""

    attributes: dict[str, str] = attrs.Factory(dict)


@attrs.define
class DatasetChanges:
    """The fields of a new dataset, or those to change; None means no change."""

    name: str | None = None
    description: str | None = None
    tags: dict[str, int] | None = None
    type: str | None = None
    content: str | None = None
    metadata: DatasetAttributes | None = None

    def values(self) -> dict[str, Any]:
        """Return the columns to write; raises 400 for an invalid value."""
        values: dict[str, Any] = {}
        if self.name is not None:
            if not self.name.strip() or len(self.name) > _MAX_TEXT:
                raise invalid("name must not be empty, nor longer than 10,000 characters", "name")
            values["name"] = self.name
        if self.description is not None:
            values["description"] = self.description
        if self.tags is not None:
            values["tags"] = self.tags
        if self.metadata is not None:
            values["attributes"] = self.metadata.attributes
        return values


async def list_(request: web.Request) -> web.Response:
    """Answer a page of datasets."""
    return await _list(request, request.app[CONTEXT].documents.dataset)


async def list_simple(request: web.Request) -> web.Response:
    """Answer a page of short dataset documents."""
    return await _list(request, request.app[CONTEXT].documents.simple_dataset)


async def _list(request: web.Request, write: Callable[[sa.Row[Any]], dict[str, Any]]) -> web.Response:
    context = request.app[CONTEXT]
    asked = listing("datasets", request.query.get("s"), request.query.get("p"), context.signer, 1)
    statement = datasets.listed(context.organization_id)
    page = await context.database.read(lambda c: asked.read(c, statement, (dataset.c.seq,), descending=False))
    return json_answer(asked.envelope([write(row) for row in page.rows], page))


async def get(request: web.Request) -> web.Response:
    """Answer one dataset."""
    context = request.app[CONTEXT]
    find = partial(datasets.find, organization_id=context.organization_id, name=context.dataset_name(request))
    return json_answer(context.documents.dataset(await context.database.read(find)))


async def create(request: web.Request) -> web.Response:
    """Create a dataset."""
    context = request.app[CONTEXT]
    raw, document = await read_json(request, context.config)
    asked = structure(document, DatasetChanges)
    return text_answer(await make(context, asked, context.claim(request, raw)), 201)


async def make(context: Context, asked: DatasetChanges, claim: Claim | None = None) -> str:
    """Create a dataset and return its document as it is sent; raises 400."""
    if asked.name is None:
        raise invalid("name: required field is missing or null", "name")
    if asked.type is not None and asked.type not in set(DatasetType):
        raise invalid(f"type must be one of {', '.join(DatasetType)}", "type")
    if asked.content not in (None, "Image"):
        raise invalid("content must be Image", "content")
    now = context.clock()
    values = {
        "description": "",
        "tags": {},
        "attributes": {},
        **asked.values(),
        "id": context.new_id(),
        "organization_id": context.organization_id,
        "type": asked.type or DatasetType.PHRASE_GROUNDING,
        "created": now,
        "updated": now,
    }

    def insert(connection: sa.Connection) -> str:
        before = idempotency.find(connection, claim, now)
        if before is not None:
            return before.body or ""
        row = datasets.create(connection, values)
        body = json.dumps(context.documents.dataset(row), separators=(",", ":"))
        idempotency.keep(connection, claim, idempotency.Made(row.id, body), now)
        return body

    return await context.database.write(insert)


async def update(request: web.Request) -> web.Response:
    """Change name, description, tags or attributes; other fields are ignored."""
    context = request.app[CONTEXT]
    _, document = await read_json(request, context.config)
    changes = structure(document, DatasetChanges).values()
    name, now = context.dataset_name(request), context.clock()

    def change(connection: sa.Connection) -> sa.Row[Any]:
        row = datasets.hold(connection, datasets.find(connection, context.organization_id, name))
        merged = {"attributes": {**row.attributes, **changes["attributes"]}} if "attributes" in changes else {}
        return datasets.update(connection, row, {**changes, **merged}, now) if changes else row

    return json_answer(context.documents.dataset(await context.database.write(change)))


async def delete(request: web.Request) -> web.Response:
    """Delete a dataset with everything in it: it is hidden at once, and then emptied."""
    context = request.app[CONTEXT]
    name, now = context.dataset_name(request), context.clock()

    def mark(connection: sa.Connection) -> tuple[int, list[str]]:
        row = datasets.find(connection, context.organization_id, name)
        return row.seq, datasets.mark_deleted(connection, row, now)

    seq, ended = await context.removal.commit(mark)
    context.ingestion.closed(ended)
    await context.removal.purge(seq)
    return await get_deletion(request)


async def get_deletion(request: web.Request) -> web.Response:
    """Answer the progress of the deletion of a dataset."""
    context = request.app[CONTEXT]
    find = partial(datasets.find_deleted, organization_id=context.organization_id, name=context.dataset_name(request))
    return json_answer(context.documents.deleted_dataset(await context.database.read(find)))
