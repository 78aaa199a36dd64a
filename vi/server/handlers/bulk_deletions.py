"""Bulk deletions of assets (protocol section 7.6)."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from ..context import CONTEXT
from ..http.api_errors import invalid
from ..http.reading import read_json, spec_of
from ..store import assets, datasets, idempotency
from ..store.schema import bulk_deletion
from ..store.selection import Selection
from .answers import dataset_page, json_answer


@attrs.define
class BulkDeletionSpec:
    """What a request selects."""

    filter: Any = None
    metadata_query: str | None = None
    rule_query: str | None = None
    strict_query: bool | None = None


async def create(request: web.Request) -> web.Response:
    """Delete what a filter selects; an empty spec selects every asset."""
    context = request.app[CONTEXT]
    raw, document = await read_json(request, context.config)
    spec = spec_of(document, BulkDeletionSpec)
    if spec.filter is not None and not isinstance(spec.filter, str | dict):
        raise invalid("spec.filter must be text or an object", "spec.filter")
    name, now, claim = context.dataset_name(request), context.clock(), context.claim(request, raw)
    values = {
        "id": context.new_id(),
        "spec": {
            "filter": spec.filter,
            "metadataQuery": spec.metadata_query,
            "ruleQuery": spec.rule_query,
            "strictQuery": spec.strict_query,
        },
        "created": now,
        "updated": now,
    }
    Selection(spec.filter, spec.metadata_query, spec.rule_query, bool(spec.strict_query)).condition(
        context.identity, "checked"
    )

    def make(connection: sa.Connection) -> tuple[str, sa.Row[Any], bool]:
        dataset = datasets.find(connection, context.organization_id, name)
        before = idempotency.find(connection, claim, now)
        if before is not None:
            return dataset.id, assets.find_bulk_deletion(connection, dataset.seq, before.reference), False
        row = assets.start_bulk_deletion(connection, {**values, "dataset_seq": dataset.seq})
        idempotency.keep(connection, claim, idempotency.Made(row.id), now)
        return dataset.id, row, True

    dataset_id, row, is_new = await context.removal.commit(make)
    if is_new:
        await context.removal.bulk_delete(row, dataset_id)
    done = await context.database.read(
        partial(assets.find_bulk_deletion, dataset_seq=row.dataset_seq, identifier=row.id)
    )
    return json_answer(context.documents.bulk_deletion(done, dataset_id), 201)


async def get(request: web.Request) -> web.Response:
    """Answer the progress of a bulk deletion."""
    context = request.app[CONTEXT]
    name, identifier = context.dataset_name(request), request.match_info["deletion"]

    def read(connection: sa.Connection) -> tuple[str, sa.Row[Any]]:
        dataset = datasets.find(connection, context.organization_id, name)
        return dataset.id, assets.find_bulk_deletion(connection, dataset.seq, identifier)

    dataset_id, row = await context.database.read(read)
    return json_answer(context.documents.bulk_deletion(row, dataset_id))


async def list_(request: web.Request) -> web.Response:
    """Answer a page of bulk deletions."""
    write = request.app[CONTEXT].documents.bulk_deletion
    return await dataset_page(request, "bulk deletions", assets.bulk_deletions, bulk_deletion.c.seq, write)
