"""A page of 1,000 assets decoded, again and again, as a client of its own: ``client_pages.py TIMES vi|json``.

`vi` is the base install when the environment says so (measured.py), else with whatever the extra `fast` brings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from measured import phase

ASSETS = 1000


def document(number: int) -> dict[str, Any]:
    signed = {
        "url": f"https://storage.example/dl/ds1/a{number}/cat.png?X-Expires=1760003600000&X-Signature=0f",
        "expiry": 1,
    }
    return {
        "assetId": f"a{number}", "datasetId": "acme_ds1", "workspaceId": "acme", "filename": f"cat{number}.png",
        "kind": "Image", "owner": "acme", "selfLink": f"/workspaces/acme/datasets/acme_ds1/assets/a{number}",
        "etag": f'"a{number}-1"',
        "metadata": {
            "generations": {"asset": "a1/original", "thumbnail": "a1/thumbnail"}, "insertedBy": "user-1",
            "annotations": {"withTag": {}, "total": 0}, "frames": 1, "cohorts": [], "fileSize": 1820 + number,
            "height": 24, "width": 24, "mimeType": "image/png", "source": "managed/datature/default",
            "status": "ready", "uploadStatus": "Uploaded", "visibility": "Private", "userDefined": {},
            "customMetadata": {"camera": "north", "height": 12.5, "night": False},
            "dimensions": {"height": 24, "width": 24, "depth": None},
            "pixelRatio": {"height": 1, "width": 1, "depth": None}, "comments": 0, "customMetadataCount": 3,
            "hash": {"algorithm": "sha256", "contents": f"{number:064x}"}, "contentsFrom": "Upload",
            "framesChange": {}, "timeCreated": 1760000000000, "lastUpdated": 1760000000000,
            "contentsLastUpdated": 1760000000000,
        },
        "contents": {"asset": {**signed, "headers": {}, "method": "GET"}, "thumbnail": None},
    }  # fmt: skip


def repeat(decode: Callable[[bytes], Any]) -> None:
    """Measure *decode* as often as the first argument says, once it is warm."""
    items = [document(number) for number in range(ASSETS)]
    page = json.dumps({"items": items, "nextPage": "more", "prevPage": None}).encode()
    for _ in range(3):
        decode(page)
    with phase() as more:
        for _ in range(int(sys.argv[1])):
            decode(page)
        more["bytes"] = len(page)


def ours() -> Callable[[bytes], Any]:
    """Return what the client does with a page."""
    from vi import _wire, _wire_fast
    from vi.api.resources.base import read_page
    from vi.api.resources.datasets.assets.responses import Asset

    def decode(body: bytes) -> Any:
        with _wire.uncollected():
            return read_page(_wire_fast.read_page(body, Asset) or _wire_fast.loads(body, float), Asset, "a page")

    return decode


if __name__ == "__main__":
    repeat(ours() if sys.argv[2] == "vi" else json.loads)
