"""The semaphore-bounded task pool: `submit` waits for a slot, so what is in flight, and its memory, is bounded."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, Self, TypeVarTuple

Ts = TypeVarTuple("Ts")


class Bound(Protocol):
    """What limits a pool: slots to take and to give back."""

    async def acquire(self, count: int = 1) -> None: ...

    def release(self, count: int = 1) -> None: ...


class FixedBound:
    """A plain semaphore of *count* slots, for a pool of its own."""

    def __init__(self, count: int) -> None:
        self._semaphore = asyncio.Semaphore(count)

    async def acquire(self, count: int = 1) -> None:
        """Take a slot."""
        await self._semaphore.acquire()

    def release(self, count: int = 1) -> None:
        """Give a slot back."""
        self._semaphore.release()


class TaskPool:
    """Runs submitted calls as tasks of one group, each holding slots while it runs.

    Several pools may share a bound, which then holds for all transfers of a client. Leaving the block waits for every
    task. The first exception cancels the others and is raised, bare, when the block is left.
    """

    def __init__(self, bound: Bound | int) -> None:
        self._bound: Bound = FixedBound(bound) if isinstance(bound, int) else bound
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

    async def submit(self, call: Callable[[*Ts], Coroutine[Any, Any, None]], *args: *Ts, slots: int = 1) -> None:
        """Start *call* as soon as there are that many *slots*."""
        await self._bound.acquire(slots)
        try:
            task = self._tasks.create_task(call(*args))
        except BaseException:
            self._bound.release(slots)
            raise
        task.add_done_callback(functools.partial(self._release, slots))

    def _release(self, slots: int, _: asyncio.Task[None]) -> None:
        self._bound.release(slots)


HELD_PER_PLACE = 256 << 10
PLACES_OF_A_LARGE_FILE = 8


def slots_for(size: int) -> int:
    """Return how many slots a file of *size* bytes takes: what waits in memory for them stays bounded."""
    return min(PLACES_OF_A_LARGE_FILE, 1 + size // HELD_PER_PLACE)


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first exception inside a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
