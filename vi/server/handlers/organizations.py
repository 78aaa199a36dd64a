"""Organizations (protocol section 6): the one of this service."""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from ..context import CONTEXT
from ..store import datasets
from ..store.paging import listing
from .answers import json_answer


async def get(request: web.Request) -> web.Response:
    """Answer the organization."""
    return json_answer(await _document(request))


async def list_(request: web.Request) -> web.Response:
    """Answer the one page of organizations."""
    context = request.app[CONTEXT]
    asked = listing("organizations", request.query.get("s"), request.query.get("p"), context.signer, 1)
    items = [await _document(request)] if asked.position is None else []
    return json_answer({"items": items, "nextPage": None, "prevPage": None})


async def _document(request: web.Request) -> dict[str, Any]:
    context = request.app[CONTEXT]
    ids = await context.database.read(partial(datasets.ids, organization_id=context.organization_id))
    return context.documents.organization(ids, context.clock())
