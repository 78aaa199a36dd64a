"""What a load balancer or a container asks: whether the service runs, and whether to send it requests."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from .context import CONTEXT
from .store.metadata import DatabaseUnavailableError, TooManyReadsError
from .store.schema import dataset

LIVE = "/healthz"
READY = "/healthz/ready"
PATHS = (LIVE, READY)
"""Open without a key and under any host name: balancers only know the address. The answers tell nothing about data."""
_SECONDS = 5.0
_QUESTION = sa.select(dataset.c.id).limit(1)


async def live(_request: web.Request) -> web.Response:
    """Answer that the service runs."""
    return _state("live")


async def ready(request: web.Request) -> web.Response:
    """Answer whether to send requests: not to a service that is about to end, or whose database does not answer."""
    context = request.app[CONTEXT]
    if context.drain.began:
        return _state("ending", 503)
    try:
        async with asyncio.timeout(_SECONDS):
            await context.database.read(lambda connection: connection.execute(_QUESTION).scalar())
    except (SQLAlchemyError, DatabaseUnavailableError, TooManyReadsError, TimeoutError, OSError):
        return _state("the database does not answer", 503)
    return _state("ready")


async def close_while_ending(request: web.Request, response: web.StreamResponse) -> None:
    """Close the connection of every answer of a service that is about to end: the next request goes to another."""
    if request.app[CONTEXT].drain.began:
        response.force_close()
        response.headers["Connection"] = "close"


def _state(state: str, status: int = 200) -> web.Response:
    return web.json_response({"status": state}, status=status, headers={"Cache-Control": "no-store"})
