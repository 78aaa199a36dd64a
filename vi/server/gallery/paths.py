"""The addresses of the gallery. Whatever is below `PREFIX`, and the front page, is guarded by `access`."""

from __future__ import annotations

from urllib.parse import urlencode

from ... import _routes

HOME = "/"
PREFIX = "/gallery/"
LOGIN = PREFIX + "login"
LOGOUT = PREFIX + "logout"
STATIC = PREFIX + "static/{name}"
DATASETS = PREFIX + "datasets"
DATASET = DATASETS + "/{dataset}"
ASSET = DATASET + "/assets/{asset}"
FILE = ASSET + "/file"
PREVIEW = ASSET + "/preview"
THUMBNAIL = ASSET + "/thumbnail"
DATASET_STATE = DATASET + "/state"
SELECTION = DATASET + "/selection"
UPLOADS = DATASET + "/uploads"
SESSIONS = DATASET + "/sessions"
SESSIONS_STATE = DATASET + "/sessions/state"
SESSION = SESSIONS + "/{session}"
SESSION_STATE = SESSION + "/state"
SESSION_CANCEL = SESSION + "/cancel"
ALL_SESSIONS = PREFIX + "sessions"
ALL_SESSIONS_STATE = PREFIX + "sessions/state"


def tile_id(asset: str) -> str:
    """Return what the tile of an asset is called on the page of a grid."""
    return f"asset-{asset}"


def is_gallery(path: str) -> bool:
    """Tell whether an address belongs to the gallery."""
    return path in (HOME, PREFIX[:-1]) or path.startswith(PREFIX)


def path_to(template: str, query: dict[str, str | None] | None = None, **values: str) -> str:
    """Return an address with its values, and those of *query* that are not empty."""
    return asking(_routes.fill(template, **values), query or {})


def asking(address: str, query: dict[str, str | None]) -> str:
    """Return an address that has its values with those of *query* that are not empty."""
    asked = urlencode({name: value for name, value in query.items() if value})
    return f"{address}?{asked}" if asked else address
