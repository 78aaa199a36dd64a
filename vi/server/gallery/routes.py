"""Which function answers which address of the gallery."""

from __future__ import annotations

from aiohttp import web

from ..context import CONTEXT
from ..handlers import sessions as api_sessions
from . import asset, datasets, grid, login, paths, selection, sessions, static_files, uploads
from .access import ACCESS, Access, add_headers, guard

MIDDLEWARE = guard(login.login_page, login.error_page)


async def to_home(_request: web.Request) -> web.Response:
    """Lead to the front page."""
    return web.Response(status=303, headers={"Location": paths.HOME})


def add_to(app: web.Application) -> None:
    """Put the gallery into the application, which is guarded by `MIDDLEWARE` and has its context."""
    app[ACCESS] = Access(app[CONTEXT])
    app.on_response_prepare.append(add_headers)
    app.add_routes(
        [
            web.get(paths.HOME, datasets.home),
            web.get(paths.PREFIX.rstrip("/") + "{slash:/?}", to_home),
            web.get(paths.STATIC, static_files.send),
            web.get(paths.LOGIN, login.login_page),
            web.post(paths.LOGIN, login.log_in),
            web.post(paths.LOGOUT, login.log_out),
            web.post(paths.DATASETS, datasets.create),
            web.get(paths.DATASET, grid.show),
            web.get(paths.DATASET_STATE, grid.state),
            web.post(paths.UPLOADS, uploads.take),
            web.post(paths.SELECTION, selection.act),
            web.get(paths.ASSET, asset.show),
            web.get(paths.FILE, asset.send_file),
            web.get(paths.PREVIEW, asset.send_preview),
            web.get(paths.THUMBNAIL, asset.send_small),
            web.get(paths.ALL_SESSIONS, sessions.show_all),
            web.get(paths.ALL_SESSIONS_STATE, sessions.state),
            web.get(paths.SESSIONS, sessions.show_of_dataset),
            web.post(paths.SESSIONS, api_sessions.create),
            web.get(paths.SESSIONS_STATE, sessions.state),
            web.get(paths.SESSION, sessions.show_one),
            web.get(paths.SESSION_STATE, sessions.state),
            web.post(paths.SESSION_CANCEL, sessions.cancel),
        ]
    )
