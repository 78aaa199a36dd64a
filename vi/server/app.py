"""The application: its parts in order, and which handler answers which route."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from .. import _routes
from . import health, metrics, middleware, openapi
from .context import CONTEXT, Context
from .gallery import routes as gallery
from .handlers import assets, bulk_deletions, datasets, multipart, organizations, sessions, storage
from .http.storage_paths import DOWNLOAD, PART, THUMBNAIL, UPLOAD


def build_app(context: Context, *, host: str, middlewares: Sequence[Middleware] = ()) -> web.Application:
    """Return the application; *middlewares* come before its own, so that a test can put faults on any request."""
    config = context.config
    measured = metrics.Metrics() if config.metrics else None
    app = web.Application(
        middlewares=[
            *middlewares,
            *([measured.middleware] if measured is not None else ()),
            middleware.errors,
            middleware.check_host(host, config),
            middleware.authenticate(context.identity, context.keys),
            gallery.MIDDLEWARE,
            middleware.limit_rate(config, context.clock),
        ],
        client_max_size=config.max_json_bytes,
    )
    app[CONTEXT] = context
    app.on_response_prepare.append(middleware.add_trace)
    app.on_response_prepare.append(health.close_while_ending)
    app.add_routes(_routes_of_api())
    app.add_routes(_routes_of_storage())
    app.router.add_get(openapi.PATH, openapi.get)
    app.router.add_get(health.LIVE, health.live)
    app.router.add_get(health.READY, health.ready)
    if measured is not None:
        app.router.add_get(metrics.PATH, measured.get)
    gallery.add_to(app)
    return app


def _routes_of_api() -> list[web.RouteDef]:
    def at(method: str, template: str, handler: Handler) -> web.RouteDef:
        # A name in a path may hold braces, which the default pattern of a segment refuses.
        return web.route(method, template.replace("{filename}", "{filename:[^/]+}"), handler)

    return [
        at("GET", _routes.ORGANIZATIONS, organizations.list_),
        at("GET", _routes.ORGANIZATION, organizations.get),
        at("GET", _routes.DATASETS, datasets.list_),
        at("POST", _routes.DATASETS, datasets.create),
        at("GET", _routes.SIMPLE_DATASETS, datasets.list_simple),
        at("GET", _routes.DATASET, datasets.get),
        at("PATCH", _routes.DATASET, datasets.update),
        at("DELETE", _routes.DATASET, datasets.delete),
        at("GET", _routes.DATASET_DELETION, datasets.get_deletion),
        at("POST", _routes.BULK_DELETIONS, bulk_deletions.create),
        at("GET", _routes.BULK_DELETIONS, bulk_deletions.list_),
        at("GET", _routes.BULK_DELETION, bulk_deletions.get),
        at("GET", _routes.ASSETS, assets.list_),
        at("GET", _routes.ASSET_COUNT, assets.count),
        at("POST", _routes.ASSET_METADATA, assets.set_metadata),
        at("POST", _routes.ASSET_LOOKUP, assets.lookup),
        at("GET", _routes.ASSET, assets.get),
        at("DELETE", _routes.ASSET, assets.delete),
        at("POST", _routes.ASSET_NAME, assets.rename),
        at("POST", _routes.ASSET_FILE_NAME, assets.rename_by_name),
        at("POST", _routes.SESSIONS, sessions.create),
        at("GET", _routes.SESSIONS, sessions.list_),
        at("GET", _routes.SESSION, sessions.get),
        at("POST", _routes.SESSION_CANCEL, sessions.cancel),
        at("POST", _routes.MULTIPART_UPLOADS, multipart.create),
        at("DELETE", _routes.MULTIPART_UPLOAD, multipart.abort),
        at("POST", _routes.MULTIPART_COMPLETION, multipart.complete),
        at("POST", _routes.PART, multipart.part_url),
        at("POST", _routes.PART_COMPLETION, multipart.complete_part),
    ]


def _routes_of_storage() -> list[web.RouteDef]:
    name = "{filename:[^/]+}"
    return [
        web.put(UPLOAD.replace("{filename}", name), storage.put_object),
        web.put(PART, storage.put_part),
        web.get(DOWNLOAD.replace("{filename}", name), storage.get_object),
        web.get(THUMBNAIL, storage.get_thumbnail),
    ]
