"""Signed download URLs, and what their objects are without asking the database again.

A listing with URLs is usually followed by a request for each of them, so what it read is remembered. An entry may
outlive the truth: a reader may see the last commit just before the next. Its object is then gone from disk, and whoever
finds that asks the database.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy as sa

from .http.signing import Signer
from .http.storage_paths import DOWNLOAD, THUMBNAIL
from .objects import Addresses

_REMEMBERED = 20_000


class StoredObject(NamedTuple):
    """The bytes of an asset."""

    blob: str
    size: int
    mime: str
    crc32c: int
    sha256: str


class Contents:
    """Makes download URLs that live for *seconds*, and remembers what they are for unless told not to."""

    def __init__(self, signer: Signer, seconds: float, *, remembers: bool = True) -> None:
        # What other processes replace is not told here.
        self._most = _REMEMBERED if remembers else 0
        self._signer = signer
        self._life = int(seconds * 1000)
        self._recent: OrderedDict[str, StoredObject] = OrderedDict()

    def writer(self, dataset_id: str, origin: str, now: int, addresses: Addresses | None = None) -> Callable[..., str]:
        """Return what writes the signed URLs of an asset as JSON text (sections 3.4 and 8.3).

        It takes the columns that `store.assets.OF_URLS` names, in their order. With *addresses* URLs lead to the store.
        """
        if addresses is not None:
            return self._direct_writer(now, addresses)
        expiry = now + self._life
        sign = self._signer.signing("GET", expiry)
        start = f'{{"url":{quoted(origin)[:-1]}'  # paths and signatures have nothing that JSON would escape
        end = f'","expiry":{expiry},"headers":{{}},"method":"GET"}}'

        def write(asset_id: str, filename: str, has_thumbnail: bool, *stored: Any) -> str:
            known = StoredObject(*stored)
            self._keep(asset_id, known)
            name = quote(filename, safe="")  # the rest are letters and digits
            of_asset = f"{start}{sign(DOWNLOAD.format(dataset=dataset_id, asset=asset_id, filename=name))}{end}"
            thumbnail = "null"
            if has_thumbnail:
                path = THUMBNAIL.format(dataset=dataset_id, asset=asset_id, blob=known.blob)
                thumbnail = f"{start}{sign(path)}{end}"
            return f'{{"asset":{of_asset},"thumbnail":{thumbnail}}}'

        return write

    def _direct_writer(self, now: int, addresses: Addresses) -> Callable[..., str]:
        expiry, seconds = now + self._life, self._life / 1000

        def signed(url: str) -> str:
            return f'{{"url":{quoted(url)},"expiry":{expiry},"headers":{{}},"method":"GET"}}'

        def write(asset_id: str, filename: str, has_thumbnail: bool, *stored: Any) -> str:
            known = StoredObject(*stored)
            of_asset = signed(addresses.download(known.blob, known.mime, filename, seconds))
            thumbnail = signed(addresses.thumbnail(known.blob, seconds)) if has_thumbnail else "null"
            return f'{{"asset":{of_asset},"thumbnail":{thumbnail}}}'

        return write

    def remember(self, row: sa.Row[Any]) -> StoredObject:
        """Keep what is known of an asset's bytes."""
        known = StoredObject(row.blob, row.size, row.mime, row.crc32c, row.sha256)
        self._keep(row.id, known)
        return known

    def _keep(self, asset_id: str, known: StoredObject) -> None:
        self._recent[asset_id] = known
        if len(self._recent) > self._most:
            self._recent.popitem(last=False)

    def recall(self, asset_id: str) -> StoredObject | None:
        """Return what is remembered of an asset's bytes."""
        return self._recent.get(asset_id)

    def forget(self, asset_ids: Sequence[str]) -> None:
        """Drop what is remembered of assets that have changed."""
        for asset_id in asset_ids:
            self._recent.pop(asset_id, None)
