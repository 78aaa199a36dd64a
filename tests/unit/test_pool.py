"""The task pool: how much runs at once, what a failure does, and what is given back."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from vi._pacing import Slots
from vi._transfer.threads.pool import FixedBound, TaskPool, first_error, slots_for

pytestmark = pytest.mark.anyio


class Work:
    """Calls that wait to be let go, and how many of them run."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.done: list[Any] = []
        self.cancelled: list[Any] = []
        self.gate = anyio.Event()

    async def __call__(self, name: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            self.done.append(name)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        finally:
            self.running -= 1


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await anyio.sleep(0)


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_no_more_run_than_there_are_places(limit: int) -> None:
    work = Work()
    work.gate.set()
    async with TaskPool(limit) as pool:
        for number in range(50):
            await pool.submit(work, number)
    assert sorted(work.done) == list(range(50))
    assert work.most <= limit


async def test_submitting_waits_for_a_place() -> None:
    """What has not begun is not held: the producer is stopped instead."""
    work = Work()
    produced: list[int] = []

    async def produce() -> None:
        async with TaskPool(2) as pool:
            for number in range(6):
                await pool.submit(work, number)
                produced.append(number)

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await settled()
        assert (produced, work.running) == ([0, 1], 2)
        work.gate.set()
    assert len(produced) == 6


async def test_pools_share_a_bound() -> None:
    work, bound = Work(), FixedBound(3)
    work.gate.set()

    async def fill(first: int) -> None:
        async with TaskPool(bound) as pool:
            for number in range(first, first + 20):
                await pool.submit(work, number)

    async with anyio.create_task_group() as group:
        for first in (0, 100, 200):
            group.start_soon(fill, first)
    assert len(work.done) == 60
    assert work.most <= 3


async def test_the_first_failure_is_raised_bare_and_ends_the_rest() -> None:
    work, bound = Work(), FixedBound(4)

    async def fail() -> None:
        raise OSError("no")

    async def fill() -> None:
        async with TaskPool(bound) as pool:
            for number in range(3):
                await pool.submit(work, number)
            await settled()
            await pool.submit(fail)
            await settled()

    with pytest.raises(OSError, match="no"):
        await fill()
    assert sorted(work.cancelled) == [0, 1, 2]
    with anyio.fail_after(1):  # every place was given back
        for _ in range(4):
            await bound.acquire()


async def test_a_failure_stops_a_producer_that_waits_for_a_place() -> None:
    started, bound = Work(), FixedBound(1)

    async def fail() -> None:
        await settled()
        raise OSError("no")

    async def fill() -> None:
        async with TaskPool(bound) as pool:
            await pool.submit(fail)
            await pool.submit(started, "never")

    with pytest.raises(OSError, match="no"), anyio.fail_after(5):
        await fill()
    assert started.running == 0
    with anyio.fail_after(1):
        await bound.acquire()


async def test_cancelling_ends_every_task_and_gives_every_place_back() -> None:
    work, slots = Work(), Slots(4)

    async def fill() -> None:
        async with TaskPool(slots) as pool:
            for number in range(10):
                await pool.submit(work, number)

    task = asyncio.ensure_future(fill())
    await settled()
    assert work.running == 4
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(work.cancelled) == 4
    assert slots.in_use == 0


async def test_a_large_task_takes_several_places() -> None:
    work, slots = Work(), Slots(4, start=4)
    async with TaskPool(slots) as pool:
        await pool.submit(work, "large", slots=3)
        await pool.submit(work, "small")
        assert slots.in_use == 4
        work.gate.set()
    assert slots.in_use == 0


async def test_one_that_is_larger_than_everything_runs_alone() -> None:
    work, slots = Work(), Slots(2, start=2)
    async with TaskPool(slots) as pool:
        await pool.submit(work, "huge", slots=8)
        waiting = asyncio.ensure_future(pool.submit(work, "next"))
        await settled()
        assert not waiting.done()
        work.gate.set()
        await waiting
    assert work.done == ["huge", "next"]
    assert work.most == 1


async def test_a_place_given_back_while_a_waiter_is_cancelled_is_not_lost() -> None:
    """A cancellation and a release in one turn of the loop: neither may spoil the other."""
    slots = Slots(1)
    await slots.acquire()
    waiters = [asyncio.ensure_future(slots.acquire()) for _ in range(3)]
    await settled()
    waiters[0].cancel()
    slots.release()
    results = await asyncio.gather(waiters[0], return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError]
    with anyio.fail_after(1):
        await waiters[1]
    slots.release()
    with anyio.fail_after(1):
        await waiters[2]
    slots.release()
    assert slots.in_use == 0


async def test_a_waiter_cancelled_after_it_was_given_its_place_gives_it_back() -> None:
    slots = Slots(1)
    await slots.acquire()
    waiter = asyncio.ensure_future(slots.acquire())
    await settled()
    slots.release()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert slots.in_use == 0


async def test_trouble_halves_the_level_once_for_a_bunch() -> None:
    slots = Slots(256)
    level = slots.level
    for _ in range(10):
        slots.ease()
    assert slots.level == level // 2


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 1), (256 << 10, 2), (1 << 20, 5), (1 << 40, 8)])
async def test_a_file_takes_places_for_what_it_holds_in_memory(size: int, count: int) -> None:
    assert slots_for(size) == count


async def test_the_first_error_of_a_nest_of_groups() -> None:
    error = OSError("inner")
    group = BaseExceptionGroup("a", [BaseExceptionGroup("b", [error, ValueError()]), KeyError()])
    assert first_error(group) is error
