"""What Prometheus asks of a service: requests by route, and what the rows and the disk say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .._optional import require
from .context import CONTEXT
from .http.api_errors import ApiError
from .middleware import ACCESS_KEY, refusals
from .store.schema import SessionState, dataset, ingestion_session

if TYPE_CHECKING:
    import prometheus_client

PATH = "/metrics"
_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
"""Limits of the buckets of request times: from a small answer to a large upload."""
_UNKNOWN = "none"


class Metrics:
    """Counts the requests of one service process. Needs the extra ``metrics``."""

    def __init__(self) -> None:
        library: Any = require("prometheus_client", "ServiceConfig(metrics=True)")
        self._library = library
        self._registry: prometheus_client.CollectorRegistry = library.CollectorRegistry()
        for collector in (library.ProcessCollector, library.PlatformCollector):
            collector(registry=self._registry)
        self._requests = library.Counter(
            "vi_requests", "Answered requests.", ["method", "route", "status"], registry=self._registry
        )
        self._times = library.Histogram(
            "vi_request_seconds",
            "Time from the head of a request to the end of its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._running = library.Gauge("vi_requests_running", "Requests being answered.", registry=self._registry)
        self._stored = {
            name: library.Gauge(f"vi_{name}", text, registry=self._registry)
            for name, text in (
                ("datasets", "Datasets."),
                ("assets", "Assets in all datasets."),
                ("asset_bytes", "Bytes of the assets in all datasets."),
                ("sessions_open", "Upload sessions that have not ended."),
                ("disk_free_bytes", "Bytes that uploads may still take on the disk of the folder."),
            )
        }

    @property
    def middleware(self) -> Middleware:
        """Counts each request, under the pattern of its path: names and ids are in no label."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else _UNKNOWN
            method = request.method if resource is not None else _UNKNOWN
            began, status = time.perf_counter(), 500
            with self._running.track_inprogress():
                try:
                    response = await handler(request)
                    status = response.status
                    return response
                except web.HTTPException as answer:
                    status = answer.status
                    raise
                finally:
                    self._requests.labels(method, route, status).inc()
                    self._times.labels(method, route).observe(time.perf_counter() - began)

        return count

    async def get(self, request: web.Request) -> web.Response:
        """Answer with all metrics in the text format, to anyone with a key of the service."""
        context = request.app[CONTEXT]
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        access = context.keys.access(key.strip()) if scheme.lower() == "bearer" else None
        if access is None:
            refusals.note("a secret key that is missing or not known")
            raise ApiError(401, "The secret key is missing or not known")
        request[ACCESS_KEY] = access
        found = await context.database.read(_stored)
        found["disk_free_bytes"] = max(0, context.room.free)
        for name, value in found.items():
            self._stored[name].set(value)
        body = self._library.generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": self._library.CONTENT_TYPE_LATEST})


def _stored(connection: sa.Connection) -> dict[str, int]:
    live = sa.select(
        sa.func.count(),
        sa.func.coalesce(sa.func.sum(dataset.c.asset_total), 0),
        sa.func.coalesce(sa.func.sum(dataset.c.byte_total), 0),
    ).where(dataset.c.deleted.is_(None))
    datasets, assets, size = connection.execute(live).one()
    open_ = sa.select(sa.func.count()).where(ingestion_session.c.state == SessionState.OPEN)
    sessions = connection.execute(open_).scalar_one()
    return {"datasets": datasets, "assets": int(assets), "asset_bytes": int(size), "sessions_open": sessions}
