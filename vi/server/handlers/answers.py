"""JSON answers, and listings of rows as pages of documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from aiohttp import web

from ..context import CONTEXT
from ..store import datasets
from ..store.paging import Page, listing


def json_answer(document: Any, status: int = 200) -> web.Response:
    """Return *document* as an answer."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, content_type="application/json")


def text_answer(body: str, status: int = 200) -> web.Response:
    """Return a document that is JSON text already."""
    return web.Response(body=body.encode(), status=status, content_type="application/json")


async def dataset_page(
    request: web.Request,
    name: str,
    select: Callable[[int], sa.Select[Any]],
    key: sa.Column[Any],
    write: Callable[[sa.Row[Any], str], dict[str, Any]],
) -> web.Response:
    """Answer a page of rows of a dataset, newest first."""
    context = request.app[CONTEXT]
    path = context.dataset_name(request)
    asked = listing(f"{name} {path}", request.query.get("s"), request.query.get("p"), context.signer, 1)

    def read(connection: sa.Connection) -> tuple[str, Page]:
        row = datasets.find(connection, context.organization_id, path)
        return row.id, asked.read(connection, select(row.seq), (key,), descending=True)

    dataset_id, page = await context.database.read(read)
    return json_answer(asked.envelope([write(row, dataset_id) for row in page.rows], page))
