"""Which document of the contract each request is answered with: every answer of the wire tests is held against it."""

from __future__ import annotations

import re
from typing import Any

from vi import _routes
from vi.contract import shapes

_ANSWERS: tuple[tuple[str, str, shapes.Shape], ...] = (
    ("GET", _routes.ORGANIZATIONS, shapes.page_of(shapes.ORGANIZATION)),
    ("GET", _routes.ORGANIZATION, shapes.ORGANIZATION),
    ("GET", _routes.DATASETS, shapes.page_of(shapes.DATASET)),
    ("POST", _routes.DATASETS, shapes.DATASET),
    ("GET", _routes.SIMPLE_DATASETS, shapes.page_of(shapes.SIMPLE_DATASET)),
    ("GET", _routes.DATASET, shapes.DATASET),
    ("PATCH", _routes.DATASET, shapes.DATASET),
    ("DELETE", _routes.DATASET, shapes.DELETED_DATASET),
    ("GET", _routes.DATASET_DELETION, shapes.DELETED_DATASET),
    ("GET", _routes.BULK_DELETIONS, shapes.page_of(shapes.BULK_DELETION)),
    ("POST", _routes.BULK_DELETIONS, shapes.BULK_DELETION),
    ("GET", _routes.BULK_DELETION, shapes.BULK_DELETION),
    ("GET", _routes.ASSETS, shapes.page_of(shapes.ASSET)),
    ("GET", _routes.ASSET_COUNT, shapes.COUNT),
    ("GET", _routes.ASSET, shapes.ASSET),
    ("GET", _routes.SESSIONS, shapes.page_of(shapes.SESSION)),
    ("POST", _routes.SESSIONS, shapes.SESSION),
    ("GET", _routes.SESSION, shapes.SESSION),
    ("POST", _routes.SESSION_CANCEL, shapes.SESSION),
    ("POST", _routes.MULTIPART_UPLOADS, shapes.MULTIPART),
    ("GET", _routes.MULTIPART_UPLOAD, shapes.MULTIPART),
    ("POST", _routes.PART, shapes.PART),
)


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(template)))


_PATTERNS = [(method, _pattern(template), shape) for method, template, shape in _ANSWERS]


def problems(method: str, path: str, status: int, document: Any) -> list[str]:
    """Return where an answer differs from the contract; no line for one that the contract says nothing of."""
    if status >= 400:
        return _told(document, shapes.ERROR) if path.startswith(_routes.ORGANIZATIONS) else []
    for known, pattern, shape in _PATTERNS:
        if known == method and pattern.fullmatch(path):
            return _told(document, shape)
    return []


def _told(document: Any, shape: shapes.Shape) -> list[str]:
    return [f"{one.path}: {one.kind}, expected {one.expected}" for one in shapes.differences(document, shape)]
