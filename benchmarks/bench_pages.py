"""How long does a page of 1,000 assets take to become objects, beside msgspec's own structs?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from harness import arguments, in_process, interleave, median, ratio
from results import Answer

from vi import _wire
from vi.api.resources.datasets.assets.responses import Asset

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


class Signed(msgspec.Struct, rename="camel"):
    url: str
    expiry: int
    headers: dict[str, str] | None = None
    method: str | None = None


class Both(msgspec.Struct, rename="camel"):
    asset: Signed | None = None
    thumbnail: Signed | None = None


class Generations(msgspec.Struct, rename="camel"):
    asset: str
    thumbnail: str


class Annotations(msgspec.Struct, rename="camel"):
    with_tag: dict[str, int]
    total: int


class Sides(msgspec.Struct, rename="camel"):
    height: int
    width: int
    depth: int | None = None


class Hash(msgspec.Struct, rename="camel"):
    algorithm: str
    contents: str


class Metadata(msgspec.Struct, rename="camel"):
    generations: Generations
    inserted_by: str
    annotations: Annotations
    frames: int
    cohorts: list[str]
    file_size: int
    height: int
    width: int
    mime_type: str
    source: str
    status: str
    upload_status: str
    visibility: str
    user_defined: dict[str, Any]
    custom_metadata: dict[str, str | int | float | bool]
    dimensions: Sides
    pixel_ratio: Sides
    comments: int
    custom_metadata_count: int
    hash: Hash
    contents_from: str
    frames_change: dict[str, int]
    time_created: int
    last_updated: int
    contents_last_updated: int


class Peer(msgspec.Struct, rename="camel"):
    asset_id: str
    dataset_id: str
    workspace_id: str
    filename: str
    kind: str
    owner: str
    self_link: str
    etag: str
    metadata: Metadata
    contents: Both | None = None


def main() -> None:
    given = arguments(__doc__)
    page = json.dumps([document(number) for number in range(ASSETS)]).encode()
    decoder = msgspec.json.Decoder(list[Peer])
    costs = interleave(
        {
            "vi, base install": in_process(lambda: _wire.structure_items(json.loads(page), Asset)),
            "msgspec, its own structs": in_process(lambda: decoder.decode(page)),
            "json alone, plain dictionaries": in_process(lambda: json.loads(page)),
        },
        given.rounds * 10,
    )
    answer = Answer(Path(__file__).stem, __doc__, "msgspec decoding the same bytes into structs with the same fields.")
    times = ratio(costs, "vi, base install", "msgspec, its own structs")
    answer.ratio("base install: times msgspec's own structs", times, most=4.5)
    answer.table(
        f"{ASSETS:,} assets, {len(page):,} bytes",
        {name: {"ms a page": median([c.wall for c in values]) * 1000} for name, values in costs.items()},
    )
    answer.give(given)


if __name__ == "__main__":
    main()
