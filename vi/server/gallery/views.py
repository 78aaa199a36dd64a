"""Which assets of a dataset are looked at, in which order: what the addresses of a grid and its assets carry."""

from __future__ import annotations

from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from ... import _media
from ..context import CONTEXT
from ..http.api_errors import invalid
from ..store import assets, query
from ..store.paging import Listing, Page, Position, after, rank
from ..store.schema import asset

PER_PAGE = 48
MAX_SEARCH = 200
MAX_QUERY = 1000
_MAX_PAGE_DIGITS = 9

ORDERS = {
    "newest": ("Newest first", "default", True),
    "oldest": ("Oldest first", "default", False),
    "name": ("By name", "filename", False),
    "largest": ("Largest first", "metadata.fileSize", True),
}
TYPES = {
    "": "Any type",
    "Image": "Pictures",
    "Video": "Videos",
    **{mime: mime for mime in dict.fromkeys([*_media.IMAGE_TYPES.values(), *_media.VIDEO_TYPES.values()])},
}
STATUSES = {"": "Any status", "ready": "Ready"}


@attrs.frozen
class View:
    """What of a dataset is looked at, and in which order."""

    search: str
    metadata: str
    type: str
    status: str
    order: str
    conditions: list[sa.ColumnElement[bool]] = attrs.field(eq=False)
    trouble: str | None
    """Why the metadata query cannot be read; nothing is found then."""

    @classmethod
    def of(cls, request: web.Request) -> View:
        """Read it from an address; raises 400 for what no form of the gallery sends."""
        given = request.query
        search, metadata = given.get("q", "").strip()[:MAX_SEARCH], given.get("metadata", "").strip()
        kind, status = _one_of(given, "type", TYPES), _one_of(given, "status", STATUSES)
        order = _one_of(given, "sort", ORDERS) or "newest"
        conditions: list[sa.ColumnElement[bool]] = []
        trouble = None
        if search:
            conditions.append(assets.is_named_like(search))
        if kind:
            conditions.append((asset.c.mime if "/" in kind else asset.c.kind) == kind)
        if status:
            conditions.append(asset.c.status == status)
        if metadata:
            try:
                if len(metadata) > MAX_QUERY:
                    raise query.QueryError(f"The query has {len(metadata)} characters; at most {MAX_QUERY} are read.")
                parsed = query.parse_metadata_query(metadata)
                conditions.append(query.to_sql(parsed, {}, asset.c.custom_metadata, strict=False))
            except query.QueryError as error:
                conditions = [sa.false()]
                trouble = str(error)
        return cls(search, metadata, kind, status, order, conditions, trouble)

    @property
    def query(self) -> dict[str, str | None]:
        """What of it goes into an address."""
        return {
            "q": self.search,
            "metadata": self.metadata,
            "type": self.type,
            "status": self.status,
            "sort": None if self.order == "newest" else self.order,
        }

    @property
    def keys(self) -> tuple[sa.Column[Any], ...]:
        """What it is sorted by."""
        return assets.SORTS[ORDERS[self.order][1]]

    @property
    def descending(self) -> bool:
        """Whether the largest keys come first."""
        return ORDERS[self.order][2]

    def binding(self, name: str) -> str:
        """Return what a page token of it belongs to."""
        return "\n".join(["gallery assets", name, *(repr(value) for value in self.query.values())])

    def select(self, dataset_seq: int) -> sa.Select[Any]:
        """Select its assets."""
        return assets.listed(dataset_seq).where(*self.conditions)

    def read(self, connection: sa.Connection, asked: Listing, dataset_seq: int) -> Page:
        """Return one page of it."""
        return asked.read(connection, self.select(dataset_seq), self.keys, descending=self.descending)

    def count(self, connection: sa.Connection, dataset: sa.Row[Any]) -> int:
        """Return how many assets it finds."""
        if not self.conditions:
            return int(dataset.asset_total)
        return assets.count(connection, dataset.seq, sa.and_(*self.conditions))

    def start_of(self, connection: sa.Connection, dataset_seq: int, number: int, total: int) -> Position | None:
        """Return where a page begins by its number, None for the first."""
        statement = self.select(dataset_seq)
        return after(connection, statement, self.keys, (number - 1) * PER_PAGE, total, descending=self.descending)

    def page_of(self, connection: sa.Connection, dataset_seq: int, row: sa.Row[Any]) -> int:
        """Return the number of the page that shows an asset."""
        there = [row._mapping[key] for key in self.keys]
        statement = self.select(dataset_seq)
        return rank(connection, statement, self.keys, there, descending=self.descending) // PER_PAGE + 1


def _one_of(given: Any, name: str, known: Any) -> str:
    value = str(given.get(name, ""))
    if value and value not in known:
        raise invalid(f"{name} must be one of {', '.join(filter(None, known))}"[:180], name)
    return value


def page_number(request: web.Request) -> int:
    """Return the number of the page that was asked for; raises 400."""
    text = request.query.get("page", "").strip()
    if not text:
        return 1
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_PAGE_DIGITS or int(text) < 1:
        raise invalid("page must be a whole number of at least 1", "page")
    return int(text)


def at(request: web.Request, view: View, name: str, position: Position | None) -> Listing:
    """Return the listing of a view that begins at *position*."""
    return Listing(view.binding(name), PER_PAGE, position, request.app[CONTEXT].signer)
