"""Looking up what a session stored before it ended early, since its counts name no files."""

from __future__ import annotations

from ..... import _routes
from ....._http import Http
from ....pagination import TokenTrail
from ...base import read_envelope


async def stored_since(http: Http, base: dict[str, str], began: int) -> dict[str, int]:
    """Return name and size of every asset whose contents changed at or after *began* (ms by the service's clock)."""
    path = _routes.fill(_routes.ASSETS, org=base["org"], dataset=base["dataset"])
    found: dict[str, int] = {}
    query = {"s": "1000", "sortBy": "lastModified.contents", "o": "d"}
    tokens = TokenTrail()
    while True:
        token, _, items = read_envelope(await http.document("GET", path, params=query), path)
        for item in items:
            metadata = item.get("metadata", {}) if isinstance(item, dict) else {}
            if metadata.get("contentsLastUpdated", began) < began:
                return found
            if isinstance(item.get("filename"), str) and isinstance(metadata.get("fileSize"), int):
                found[item["filename"]] = metadata["fileSize"]
        if token is None:
            return found
        tokens.follow(token, empty=not items)
        query["p"] = token
