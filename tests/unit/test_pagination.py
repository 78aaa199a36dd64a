"""Walking a listing: what is asked for, in which order, and when a service's tokens are no longer believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vi.api.pagination import (
    MAX_EMPTY_PAGES,
    MAX_TOKEN_LENGTH,
    REMEMBERED_TOKENS,
    BadItem,
    Listing,
    Page,
    PaginatedResponse,
    TokenTrail,
)
from vi.api.types import MAX_PAGE_SIZE, PaginationParams
from vi.errors import ViInvalidParameterError, ViOperationError


class Shelf:
    """Numbers in pages, as a service would give them; remembers what was asked of it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[PaginationParams] = []

    async def fetch(self, params: PaginationParams) -> Page[int]:
        self.asked.append(params)
        start = int(params.page_token or 0)
        stop = min(start + params.page_size, self.count)
        return Page(list(range(start, stop)), str(stop) if stop < self.count else None)

    def listing(self, pagination: PaginationParams | None = None) -> Listing[int]:
        return Listing(self.fetch, pagination)

    def response(self, pagination: PaginationParams | None = None) -> PaginatedResponse[int]:
        listing = self.listing(pagination)
        return PaginatedResponse.of(listing, asyncio.run(listing.first()), run)

    @property
    def sizes(self) -> list[int]:
        return [params.page_size for params in self.asked]


def run(call: Callable[[], Any]) -> Any:
    return asyncio.run(call())


async def gather(pages: AsyncIterator[Page[int]]) -> list[list[int]]:
    return [page.items async for page in pages]


class TestAsync:
    pytestmark = pytest.mark.anyio

    async def test_nothing_is_asked_before_it_is_needed(self) -> None:
        shelf = Shelf(5)
        listing = shelf.listing()
        listing.pages()
        listing.all_items()
        assert shelf.asked == []

    async def test_awaited_it_is_one_page_of_ten(self) -> None:
        shelf = Shelf(25)
        page = await shelf.listing()
        assert (page.items, page.next_page) == (list(range(10)), "10")
        assert shelf.sizes == [10]

    async def test_iterated_it_is_every_page_of_a_thousand(self) -> None:
        shelf = Shelf(2500)
        pages = [page async for page in shelf.listing()]
        assert [len(page) for page in pages] == [1000, 1000, 500]
        assert shelf.sizes == [MAX_PAGE_SIZE] * 3

    async def test_a_page_size_that_was_given_is_kept(self) -> None:
        shelf = Shelf(25)
        assert await gather(shelf.listing(PaginationParams(page_size=7)).pages()) == [
            list(range(start, min(start + 7, 25))) for start in range(0, 25, 7)
        ]
        assert shelf.sizes == [7] * 4
        assert (await shelf.listing(PaginationParams(page_size=3))).items == [0, 1, 2]

    async def test_a_kept_token_continues_from_there(self) -> None:
        params = PaginationParams(page_size=10, page_token="20")
        assert await gather(Shelf(25).listing(params).pages()) == [[20, 21, 22, 23, 24]]

    async def test_all_items_and_twice_the_same(self) -> None:
        listing = Shelf(1500).listing()
        for _ in range(2):
            assert [item async for item in listing.all_items()] == list(range(1500))

    async def test_stopping_early_asks_no_further(self) -> None:
        shelf = Shelf(5000)
        async for page in shelf.listing():
            assert len(page) == 1000
            break
        assert len(shelf.asked) == 1

    async def test_no_items_are_one_empty_page(self) -> None:
        assert await gather(Shelf(0).listing().pages()) == [[]]

    @pytest.mark.parametrize("tokens", [["a"], ["a", "b"], ["a", "b", "c", "d"]])
    async def test_tokens_that_go_in_circles_end_with_an_error(self, tokens: list[str]) -> None:
        asked = 0

        async def fetch(params: PaginationParams) -> Page[int]:
            nonlocal asked
            asked += 1
            return Page([asked], tokens[asked % len(tokens)])

        with pytest.raises(ViOperationError, match="same page token twice"):
            await gather(Listing(fetch).pages())
        assert asked == len(tokens) + 1

    async def test_page_after_empty_page_ends_with_an_error(self) -> None:
        asked = 0

        async def fetch(params: PaginationParams) -> Page[int]:
            nonlocal asked
            asked += 1
            return Page([], str(asked))

        with pytest.raises(ViOperationError, match=f"{MAX_EMPTY_PAGES} empty pages"):
            await gather(Listing(fetch).pages())
        assert asked == MAX_EMPTY_PAGES

    async def test_a_few_empty_pages_in_between_are_nothing(self) -> None:
        async def fetch(params: PaginationParams) -> Page[int]:
            number = int(params.page_token or 0)
            items = [number] if number % 50 == 0 else []
            return Page(items, str(number + 1) if number < 300 else None)

        found = [item for items in await gather(Listing(fetch).pages()) for item in items]
        assert found == [0, 50, 100, 150, 200, 250, 300]

    async def test_a_page_of_bad_items_is_not_empty(self) -> None:
        async def fetch(params: PaginationParams) -> Page[int]:
            number = int(params.page_token or 0)
            return Page([], str(number + 1) if number < 150 else None, bad_items=[BadItem(0, "odd")])

        assert len(await gather(Listing(fetch).pages())) == 151

    async def test_an_endless_listing_can_be_cancelled(self) -> None:
        async def fetch(params: PaginationParams) -> Page[int]:
            await anyio.sleep(0)
            return Page([1], str(int(params.page_token or 0) + 1))

        with anyio.move_on_after(0.05) as scope:
            await gather(Listing(fetch).pages())
        assert scope.cancelled_caught


class TestSync:
    def test_it_is_its_first_page(self) -> None:
        response = Shelf(25).response()
        assert response.items == list(range(10))
        assert len(response) == 10
        assert response[0] == 0
        assert response[-1] == 9
        assert response.next_page == "10"

    def test_one_page_is_handed_out_as_it_is(self) -> None:
        shelf = Shelf(5)
        response = shelf.response()
        assert list(response) == [response]
        assert shelf.sizes == [10]

    def test_iterating_everything_uses_large_pages(self) -> None:
        shelf = Shelf(2500)
        assert [len(page) for page in shelf.response()] == [1000, 1000, 500]
        assert shelf.sizes == [10, 1000, 1000, 1000]

    def test_a_page_size_that_was_given_is_kept(self) -> None:
        shelf = Shelf(25)
        response = shelf.response(PaginationParams(page_size=10))
        pages = list(response)
        assert pages[0] is response
        assert [page.items for page in pages] == [list(range(10)), list(range(10, 20)), list(range(20, 25))]
        assert len(shelf.asked) == 3

    @pytest.mark.parametrize("pagination", [None, PaginationParams(page_size=10), PaginationParams(page_size=1000)])
    def test_every_item_once_and_twice_the_same(self, pagination: PaginationParams | None) -> None:
        response = Shelf(1234).response(pagination)
        for _ in range(2):
            assert list(response.all_items()) == list(range(1234))

    def test_it_is_true_even_when_empty(self) -> None:
        """`if assets:` must not depend on how many there are: an answer came."""
        response = Shelf(0).response()
        assert response
        assert len(response) == 0

    def test_tokens_that_go_in_circles_end_with_an_error(self) -> None:
        async def fetch(params: PaginationParams) -> Page[int]:
            return Page([1], "same")

        for pagination in (None, PaginationParams(page_size=5)):
            listing = Listing(fetch, pagination)
            response = PaginatedResponse.of(listing, asyncio.run(listing.first()), run)
            with pytest.raises(ViOperationError, match="same page token twice"):
                list(response)

    def test_its_repr_is_short(self) -> None:
        assert "fetch" not in repr(Shelf(5).response())


class TestTokenTrail:
    def test_an_absurdly_long_token_is_refused(self) -> None:
        trail = TokenTrail()
        trail.follow("x" * MAX_TOKEN_LENGTH, empty=False)
        with pytest.raises(ViOperationError, match="page token of 8388608 characters"):
            trail.follow("x" * (8 << 20), empty=False)

    def test_its_memory_is_bounded_and_a_circle_still_found(self) -> None:
        trail = TokenTrail()
        for number in range(REMEMBERED_TOKENS * 2 + 10):
            trail.follow(f"t{number}", empty=False)
            assert len(trail._seen) <= REMEMBERED_TOKENS
        for number in range(5):
            trail.follow(f"loop{number}", empty=False)
        with pytest.raises(ViOperationError, match="twice"):
            trail.follow("loop0", empty=False)


class TestParams:
    def test_defaults(self) -> None:
        assert (PaginationParams().page_size, PaginationParams().page_token) == (10, None)

    @pytest.mark.parametrize("size", [1, 10, 1000])
    def test_good_sizes(self, size: int) -> None:
        assert PaginationParams(page_size=size).page_size == size

    @pytest.mark.parametrize("size", [0, -1, 1001, 10.0, "10", None, True])
    def test_bad_sizes_are_refused_by_name(self, size: Any) -> None:
        with pytest.raises(ViInvalidParameterError) as raised:
            PaginationParams(page_size=size)
        assert raised.value.parameter == "page_size"


@given(tokens=st.lists(st.text(max_size=3)))
def test_whatever_the_tokens_the_first_that_comes_back_ends_it(tokens: list[str]) -> None:
    trail, seen = TokenTrail(), set[str]()
    for token in tokens:
        if token in seen:
            with pytest.raises(ViOperationError, match="twice"):
                trail.follow(token, empty=False)
            return
        trail.follow(token, empty=False)
        seen.add(token)
