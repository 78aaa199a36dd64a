"""Signed download URLs, and what their objects are without asking the database again.

A listing with URLs is usually followed by a request for each of them, so what it read is remembered. An entry may
outlive the truth: a reader may see the last commit just before the next. Its object is then gone from disk, and whoever
finds that asks the database.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from .http.signing import Signer
from .http.storage_paths import DOWNLOAD, THUMBNAIL, storage_path

_REMEMBERED = 20_000


@attrs.frozen
class StoredObject:
    """The bytes of an asset."""

    blob: str
    size: int
    mime: str
    crc32c: int
    sha256: str


class Contents:
    """Makes download URLs that live for *seconds*."""

    def __init__(self, signer: Signer, seconds: float) -> None:
        self._signer = signer
        self._life = int(seconds * 1000)
        self._recent: OrderedDict[str, StoredObject] = OrderedDict()

    def document(self, row: sa.Row[Any], dataset_id: str, origin: str, now: int) -> dict[str, Any]:
        """Write the signed URLs of an asset (protocol sections 3.4 and 8.3)."""
        self.remember(row)
        expiry = now + self._life
        path = storage_path(DOWNLOAD, dataset=dataset_id, asset=row.id, filename=row.filename)
        thumbnail = None
        if row.has_thumbnail:
            thumbnail = self._url(
                storage_path(THUMBNAIL, dataset=dataset_id, asset=row.id, blob=row.blob), origin, expiry
            )
        return {"asset": self._url(path, origin, expiry), "thumbnail": thumbnail}

    def _url(self, path: str, origin: str, expiry: int) -> dict[str, Any]:
        return {
            "url": origin + self._signer.sign("GET", path, expiry),
            "expiry": expiry,
            "headers": {},
            "method": "GET",
        }

    def remember(self, row: sa.Row[Any]) -> StoredObject:
        """Keep what is known of an asset's bytes."""
        known = StoredObject(row.blob, row.size, row.mime, row.crc32c, row.sha256)
        self._recent[row.id] = known
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return known

    def recall(self, asset_id: str) -> StoredObject | None:
        """Return what is remembered of an asset's bytes."""
        return self._recent.get(asset_id)

    def forget(self, asset_ids: Sequence[str]) -> None:
        """Drop what is remembered of assets that have changed."""
        for asset_id in asset_ids:
            self._recent.pop(asset_id, None)
