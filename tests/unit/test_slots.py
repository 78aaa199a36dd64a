"""The slots that bound what is in flight: never too many, never a lost wake-up, and a level that suits the line."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.clock import Clock
from vi import _pacing
from vi._pacing import START, Slots

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_pacing, "time", clock)
    return clock


# What holds whatever happens


@given(
    limit=st.integers(1, 12),
    weights=st.lists(st.integers(1, 20), min_size=1, max_size=40),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=150, deadline=None)
def test_whatever_is_cancelled_places_add_up_and_everybody_gets_one(limit: int, weights: list[int], seed: int) -> None:
    """Random holds, releases and cancellations: never above the level, no place lost, nobody waits for ever."""

    async def play() -> None:
        chance = random.Random(seed)
        slots = Slots(limit, start=chance.randint(1, limit))
        held: dict[int, int] = {}
        gates = [asyncio.Event() for _ in weights]

        async def use(number: int, weight: int) -> None:
            await slots.acquire(weight)
            held[number] = weight
            try:
                assert slots.in_use >= sum(held.values()), "a slot may have been given to one that has not woken up"
                assert slots.in_use <= limit or len(held) == 1, "only one that is larger than all may exceed the limit"
                await gates[number].wait()
            finally:
                del held[number]
                slots.release(weight)

        tasks = [asyncio.create_task(use(number, weight)) for number, weight in enumerate(weights)]
        pending = list(range(len(weights)))
        while pending:
            for _ in range(chance.randint(0, 3)):
                await asyncio.sleep(0)
            move = chance.random()
            if move < 0.2:
                tasks[chance.choice(pending)].cancel()
            elif move < 0.3:
                slots.ease()
            elif held:
                gates[chance.choice(list(held))].set()
            pending = [number for number in pending if not tasks[number].done()]
            if not held and pending:
                # Nobody holds a place: whoever waits at the head must get one within a few turns.
                for _ in range(5):
                    await asyncio.sleep(0)
                    pending = [number for number in pending if not tasks[number].done()]
                assert held or not pending, "a wake-up was lost"
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends), ends
        assert slots.in_use == 0
        await asyncio.wait_for(slots.acquire(limit), 1)

    asyncio.run(play())


async def test_a_weight_above_the_level_goes_alone_and_those_behind_it_keep_their_turn() -> None:
    slots = Slots(4)
    order: list[str] = []

    async def use(name: str, weight: int) -> None:
        await slots.acquire(weight)
        order.append(name)
        assert slots.in_use <= 4 or slots.in_use == weight
        await asyncio.sleep(0)
        slots.release(weight)

    await asyncio.wait_for(asyncio.gather(use("a", 1), use("large", 100), use("b", 1), use("c", 1)), 5)
    assert order == ["a", "large", "b", "c"]


async def test_one_that_is_cancelled_at_the_head_lets_the_next_through() -> None:
    slots = Slots(4)
    await slots.acquire(3)
    large = asyncio.create_task(slots.acquire(4))
    small = asyncio.create_task(slots.acquire(1))
    await asyncio.sleep(0)
    assert not small.done()
    large.cancel()
    await asyncio.wait_for(small, 1)
    assert slots.in_use == 4


# The level on three kinds of lines, by a clock that is set by hand


Finish = Callable[[float], float]
"""When a transfer that begins now will have ended."""


def far(round_trip: float) -> Finish:
    return lambda now: now + round_trip


def saturated(each: float, round_trip: float) -> Finish:
    free = [0.0]

    def finish(now: float) -> float:
        free[0] = max(free[0], now) + each
        return max(free[0], now + round_trip)

    return finish


class Line:
    """Transfers over a line of which only the clock is real: each ends when *finish* says."""

    def __init__(self, clock: Clock, slots: Slots, finish: Finish) -> None:
        self._clock = clock
        self._slots = slots
        self._finish = finish
        self._flying: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()
        self.most = 0

    async def run(self, seconds: float) -> list[int]:
        """Keep every place busy for *seconds*, then drain; returns the level after each transfer."""
        began, levels = self._clock.now, []
        submitter = asyncio.create_task(self._submit())
        while self._clock.now < began + seconds:
            await self._settle()
            self.most = max(self.most, self._slots.in_use)
            assert self._slots.in_use <= max(self._slots.level, self.most)
            self._land()
            levels.append(self._slots.level)
        submitter.cancel()
        while self._flying or self._slots.in_use:
            await self._settle()
            if self._flying:
                self._land()
        return levels

    def _land(self) -> None:
        self._clock.now, _, landing = heapq.heappop(self._flying)
        landing.set_result(None)

    async def _submit(self) -> None:
        while True:
            await self._slots.acquire()
            task = asyncio.create_task(self._fly())
            task.add_done_callback(lambda _: self._slots.release())

    async def _fly(self) -> None:
        landing = asyncio.get_running_loop().create_future()
        heapq.heappush(self._flying, (self._finish(self._clock.now), next(self._count), landing))
        await landing

    async def _settle(self) -> None:
        flying = -1
        while flying != len(self._flying):
            flying = len(self._flying)
            for _ in range(4):
                await asyncio.sleep(0)


async def test_on_a_long_line_the_level_grows_to_the_limit_within_some_round_trips(clock: Clock) -> None:
    slots = Slots(256)
    levels = await Line(clock, slots, far(0.1)).run(1.2)
    assert levels[0] == START
    assert levels[-1] == 256, "twelve round trips of 100 ms"


async def test_the_limit_is_never_exceeded(clock: Clock) -> None:
    slots = Slots(50)
    line = Line(clock, slots, far(0.1))
    assert max(await line.run(3)) == 50
    assert line.most == 50


@pytest.mark.parametrize("each", [0.001, 0.01], ids=["1000 a second", "100 a second"])
async def test_on_a_line_that_is_full_the_level_stays_near_the_start(clock: Clock, each: float) -> None:
    levels = await Line(clock, Slots(256), saturated(each, each * 4)).run(15)
    assert max(levels) <= 2 * START
    assert sum(levels) / len(levels) <= START * 1.3


async def test_a_line_that_becomes_free_is_noticed(clock: Clock) -> None:
    """From time to time a little more is tried, so a level found on a busy line is not kept for ever."""
    slots = Slots(256)
    await Line(clock, slots, saturated(0.01, 0.02)).run(5)
    assert slots.level <= 2 * START
    await Line(clock, slots, far(0.1)).run(15)
    assert slots.level > 100


async def test_trouble_halves_the_level_once_a_second_and_it_recovers(clock: Clock) -> None:
    slots = Slots(256)
    line = Line(clock, slots, far(0.1))
    await line.run(2)
    assert slots.level == 256
    slots.ease()
    slots.ease()
    assert slots.level == 128, "trouble that comes in bunches counts once"
    clock.now += _pacing.CALM_SECONDS
    slots.ease()
    assert slots.level == 64
    levels = await line.run(0.9)
    assert set(levels) == {64}, "no growth before it is calm"
    await line.run(12)
    assert slots.level == 256


async def test_trouble_without_end_leaves_one_place(clock: Clock) -> None:
    slots = Slots(256)
    for _ in range(20):
        slots.ease()
        clock.now += _pacing.CALM_SECONDS
    assert slots.level == 1
    await Line(clock, slots, far(0.1)).run(30)
    assert slots.level > START, "one slot is enough to grow again"


@pytest.mark.parametrize("before", [0.35, 0.45, 0.55, 0.65])
async def test_a_pause_between_two_transfers_is_not_taken_for_slowness(clock: Clock, before: float) -> None:
    slots = Slots(256)
    line = Line(clock, slots, far(0.1))
    await line.run(before)
    assert START < slots.level < 256, "in the middle of growing"
    clock.now += 600
    await line.run(1.2)
    assert slots.level == 256
