"""The style sheet, the script and the icon, from the package itself."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from aiohttp import web

from ..http.api_errors import ApiError
from ..serving import serve_bytes

_TYPES = {
    "gallery.css": "text/css; charset=utf-8",
    "gallery.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


async def send(request: web.Request) -> web.StreamResponse:
    """Answer one of the three."""
    name = request.match_info["name"]
    if name not in _TYPES:
        raise ApiError(404, "Page not found")
    data, etag = _load(name)
    answer = serve_bytes(request, data, _TYPES[name], etag)
    answer.headers["Cache-Control"] = "no-cache"
    return answer


@cache
def _load(name: str) -> tuple[bytes, str]:
    data = (resources.files(__package__ or "") / "static" / name).read_bytes()
    return data, f'"{hashlib.sha256(data).hexdigest()[:32]}"'
