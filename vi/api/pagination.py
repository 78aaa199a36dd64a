"""Listings: one page, or all of them, with nothing sent before it is needed (protocol section 3.5)."""

from __future__ import annotations

import copy
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any, Generic, TypeVar

import attrs

from .._show.sheet import LISTED, Sheet, Table
from .._show.text import printable
from .._show.units import several
from ..errors import ViOperationError
from .display import Displayed, Listed
from .document import Document
from .types import MAX_PAGE_SIZE, PaginationParams

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("vi")

MAX_EMPTY_PAGES = 100
MAX_TOKEN_LENGTH = 16 << 10
REMEMBERED_TOKENS = 1 << 16


@attrs.frozen
class BadItem:
    """An item of a page that could not be read: its position in the page, and why."""

    position: int
    problem: str


@attrs.define(repr=False)
class Page(Document, Displayed, Generic[T]):
    """One page. *next_page* and *prev_page* are tokens that may be kept and passed to `PaginationParams` later."""

    items: list[T] = attrs.Factory(list)
    next_page: str | None = None
    prev_page: str | None = None
    bad_items: list[BadItem] = attrs.Factory(list)
    """Items that could not be read; the rest of the page is unharmed."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        first = next((item for item in self.items if isinstance(item, Listed)), None)
        named = f" {first._cells()[0]!r}{' ...' * (len(self.items) > 1)}" if first is not None else ""
        unread = f", {len(self.bad_items)} unreadable" if self.bad_items else ""
        more = f"{',' * (unread != '' or ' ...' not in named)} more pages follow" if self.next_page is not None else ""
        return f"<{type(self).__name__}: {several(len(self.items), self._noun())}{named}{unread}{more}>"

    def _noun(self) -> str:
        return next((item._noun for item in self.items if isinstance(item, Listed)), "item")

    def _sheet(self) -> Sheet:
        listed = [item for item in self.items[:LISTED] if isinstance(item, Listed)]
        tiles = [tile for item in listed if (tile := item._tile()) is not None]
        pictured = any(tile.picture is not None for tile in tiles)
        kinds = {type(item) for item in self.items[:LISTED]}
        if listed and len(kinds) == 1:
            table = Table.of(listed[0]._heads, listed, lambda item: item._cells(), numbers=listed[0]._numbers)
        else:
            table = Table.of(("Item",), self.items, lambda item: (str(item),))
        return Sheet(
            table=table,
            tiles=tiles if pictured else (),
            notes=self._notes(),
            hint="list(..., thumbnails=True) shows pictures" if tiles and not pictured else "",
        )

    def _notes(self) -> list[str]:
        count = several(len(self.items), self._noun())
        notes = [f"{count}, the first {LISTED} of them here" if len(self.items) > LISTED else count]
        if self.bad_items:
            notes.append(f"{len(self.bad_items)} could not be read: .bad_items")
        if self.next_page is not None:
            notes.append("more pages follow: iterate, or all_items()")
        return notes


Fetch = Callable[[PaginationParams], Coroutine[Any, Any, Page[T]]]


@attrs.frozen
class Listing(Displayed, Generic[T]):
    """A listing not asked for yet: await it for one page, iterate it for all.

    Iteration uses pages of 1000 unless *pagination* was given. A token that comes back twice, or page after page
    without an item, ends it with `ViOperationError`.
    """

    fetch: Fetch[T]
    pagination: PaginationParams | None = None

    def _sheet(self) -> Sheet:
        return Sheet(notes=["A listing not requested yet: await it for its first page, or iterate it with async for."])

    async def first(self) -> Page[T]:
        """Return the first page."""
        return await self.fetch(self.pagination or PaginationParams())

    def __await__(self) -> Generator[Any, Any, Page[T]]:
        return self.first().__await__()

    def __aiter__(self) -> AsyncIterator[Page[T]]:
        return self.pages()

    async def pages(self, after: Page[T] | None = None) -> AsyncGenerator[Page[T], None]:
        """Iterate over every page, in order, or over those that come *after* one."""
        following = Following(self, after)
        while (page := await following.next()) is not None:
            yield page

    async def all_items(self) -> AsyncIterator[T]:
        """Iterate over every item of every page; those that cannot be read are left out, and logged as a warning."""
        async for page in self.pages():
            for item in _readable(page):
                yield item


class Following(Generic[T]):
    """The pages of a listing, one at a time; between two of them nothing belongs to a loop."""

    def __init__(self, listing: Listing[T], after: Page[T] | None = None) -> None:
        self._fetch = listing.fetch
        self._params = listing.pagination or PaginationParams(page_size=MAX_PAGE_SIZE)
        self._tokens = TokenTrail()
        self._page = after

    async def next(self) -> Page[T] | None:
        """Return the next page; None after the last."""
        if self._page is not None:
            if self._page.next_page is None:
                return None
            self._tokens.follow(self._page.next_page, empty=not self._page.items and not self._page.bad_items)
            self._params = attrs.evolve(self._params, page_token=self._page.next_page)
        self._page = await self._fetch(self._params)
        return self._page


def _readable(page: Page[T]) -> list[T]:
    if page.bad_items:
        first = page.bad_items[0].problem
        logger.warning("%s of a listing cannot be read: %s", several(len(page.bad_items), "item"), printable(first))
    return page.items


class TokenTrail:
    """Watches the page tokens of one iteration, in bounded memory, so that a service cannot keep it running."""

    __slots__ = ("_empty", "_seen")

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._empty = 0

    def follow(self, token: str, *, empty: bool) -> None:
        """Take in the next token; raises when it has been seen, is absurd, or pages stay empty."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise ViOperationError(f"The service sent a page token of {len(token)} characters, which is refused.")
        fingerprint = hash(token)
        if fingerprint in self._seen:
            raise ViOperationError("The service sent the same page token twice; the listing would never end.")
        if len(self._seen) >= REMEMBERED_TOKENS:
            self._seen.clear()  # a cycle shorter than this is still met, one round later
        self._seen.add(fingerprint)
        self._empty = self._empty + 1 if empty else 0
        if self._empty >= MAX_EMPTY_PAGES:
            raise ViOperationError(f"The service sent {MAX_EMPTY_PAGES} empty pages in a row.")


Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


@attrs.define(repr=False)
class PaginatedResponse(Page[T]):
    """The first page of a sync listing; iterating it gives every page, `all_items` every item."""

    _listing: Listing[T] | None = attrs.field(default=None, repr=False, eq=False, alias="listing")
    _run: Run | None = attrs.field(default=None, repr=False, eq=False, alias="run")

    @classmethod
    def of(cls, listing: Listing[T], first: Page[T], run: Run) -> PaginatedResponse[T]:
        """Join a first page with the way to the others."""
        return cls(first.items, first.next_page, first.prev_page, first.bad_items, listing, run)

    def __iter__(self) -> Iterator[Page[T]]:
        return self.pages()

    def __reduce__(self) -> tuple[Any, ...]:
        # The way to the other pages is a live client, which is of this process.
        return PaginatedResponse, (self.items, self.next_page, self.prev_page, self.bad_items)

    def __copy__(self) -> PaginatedResponse[T]:
        return attrs.evolve(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> PaginatedResponse[T]:
        return attrs.evolve(self, items=copy.deepcopy(self.items, memo), bad_items=copy.deepcopy(self.bad_items, memo))

    def pages(self) -> Iterator[Page[T]]:
        """Iterate over every page, in order, this one included.

        A page that was pickled has no client: asking for further pages raises `ViOperationError`.
        """
        if self.next_page is None:
            yield self
            return
        if self._listing is None or self._run is None:
            yield self
            raise ViOperationError(
                "This page was pickled without its client, and more pages follow it.",
                suggestion="List again, with PaginationParams(page_token=page.next_page) to continue from here.",
            )
        # Reading everything in pages of ten would cost a hundred times the requests: start again in large ones.
        after = None if self._listing.pagination is None else self
        following = Following(self._listing, after)
        if after is not None:
            yield after
        while (page := self._run(following.next)) is not None:
            yield page

    def all_items(self) -> Iterator[T]:
        """Iterate over every item of every page; those that cannot be read are left out, and logged as a warning."""
        for page in self.pages():
            yield from _readable(page)
