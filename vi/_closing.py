"""The ends of a block, for whatever is closed at its end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar


class Closing:
    """What a ``with`` block closes."""

    def close(self) -> None:
        """Release what is held. Closing twice is allowed."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClosing:
    """What an ``async with`` block closes."""

    async def aclose(self) -> None:
        """Release what is held. Closing twice is allowed."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


C = TypeVar("C", bound=AsyncClosing)


class Opening(Generic[C]):
    """What is about to be opened: to be entered, or awaited and then closed by the caller."""

    def __init__(self, open_it: Callable[[], Coroutine[Any, Any, C]]) -> None:
        self._open = open_it
        self._opened: C | None = None

    def __await__(self) -> Generator[Any, Any, C]:
        return self._open().__await__()

    async def __aenter__(self) -> C:
        self._opened = await self._open()
        return self._opened

    async def __aexit__(self, *exc: object) -> None:
        if self._opened is not None:
            await self._opened.aclose()
