"""The yardstick of client_pages.py: msgspec into structs of its own, whose fields are those of our asset."""

from __future__ import annotations

from typing import Any

import msgspec
from client_pages import repeat


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


class Page(msgspec.Struct, rename="camel"):
    items: list[Peer]
    next_page: str | None
    prev_page: str | None


if __name__ == "__main__":
    repeat(msgspec.json.Decoder(Page).decode)
