"""The semaphore-bounded task pool: `submit` waits for a place, so what is in flight, and its memory, is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, Self

import anyio

P = ParamSpec("P")


class TaskPool:
    """Runs submitted calls as tasks of one group, each holding a place of *places* while it runs.

    Several pools may share the places, so that they bound all transfers of a client. Leaving the block waits for every
    task. The first exception cancels the others and is raised, bare, when the block is left.
    """

    def __init__(self, places: anyio.Semaphore) -> None:
        self._places = places
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        first: BaseException | None = None
        try:
            await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            first = first_error(group)
        if first is not None:
            raise first

    async def submit(self, call: Callable[P, Coroutine[Any, Any, None]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Start *call* as soon as there is a place."""
        await self._places.acquire()
        try:
            task = self._tasks.create_task(call(*args, **kwargs))
        except BaseException:
            self._places.release()
            raise
        task.add_done_callback(self._release)

    def _release(self, _: asyncio.Task[None]) -> None:
        self._places.release()


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first exception inside a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
