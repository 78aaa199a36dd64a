"""Iterators that are closed, asynchronous and blocking: one method, `next`, says what comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Self, TypeVar

from .._closing import AsyncClosing, Closing
from .pagination import Run

T = TypeVar("T")


class AsyncItems(Generic[T]):
    """Base of an async iterator whose `next` returns None at the end."""

    async def next(self) -> T | None:
        """Wait for the next item; None after the last."""
        raise NotImplementedError

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if (item := await self.next()) is None:
            raise StopAsyncIteration
        return item


class ClosingItems(AsyncItems[T], AsyncClosing):
    """Base of one that is closed."""


class BlockingItems(Closing, Generic[T]):
    """Base of its sync twin."""

    def __init__(self, items: ClosingItems[T], run: Run) -> None:
        self._items = items
        self._run = run

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item: T | None = self._run(self._items.next)
        if item is None:
            raise StopIteration
        return item

    def close(self) -> None:
        """Drop what is on its way; nothing more is given. Closing twice is allowed."""
        self._run(self._items.aclose)
