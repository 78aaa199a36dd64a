"""The pauses of a wait: short at first, long in the end, and over about when what is waited for is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import Clock
from vi.api.resources.datasets.assets import looking, polling
from vi.api.resources.datasets.assets.looking import ASKED_WAIT, SessionLooks
from vi.api.resources.datasets.assets.polling import EARLIEST, FIRST, LAST, SHARE, SOON, Polling


def wait(done_at: Callable[[float], int], total: int, most: float = 10_000) -> tuple[float, int]:
    """Play a wait; returns when the end was noticed, or *most*, and how often was asked."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(polling, "time", clock)
        pauses, began, asked, before, least = Polling(), clock.now, 0, 0, EARLIEST
        while clock.now - began < most:
            asked += 1
            done = done_at(clock.now - began)
            if done >= total:
                break
            pause = pauses.pause(done, total)
            assert (min(SOON, least) if done > before else least) <= pause <= LAST
            least = min(FIRST, 2 * least)
            before = done
            clock.now += pause
        return clock.now - began, asked


@given(st.floats(0.1, 3600), st.floats(0.01, 1000))
def test_at_a_steady_pace_the_end_is_noticed_at_once(seconds: float, pace: float) -> None:
    total = max(1, int(seconds * pace))
    noticed, asked = wait(lambda at: min(total, int(total * at / seconds)), total)
    many = pace > 20  # of a file that is under way nothing is known
    assert noticed <= seconds + (2 * SOON if many else max(FIRST, min(SHARE * seconds, LAST))) * 1.01
    assert asked < 60 + seconds / LAST


@given(st.floats(0.1, 3600))
def test_where_nothing_tells_how_far_it_is_the_end_is_noticed_within_a_share_of_the_wait(seconds: float) -> None:
    noticed, _ = wait(lambda at: 1 if at >= seconds else 0, 1)
    assert seconds <= noticed <= seconds + max(FIRST, min(LAST, SHARE * seconds)) * 1.01


def test_one_that_is_stuck_near_its_end_is_not_asked_for_all_the_time() -> None:
    _, asked = wait(lambda at: min(999, int(at * 100)), 1000, most=1000)
    assert asked < 1000 / LAST + 80


@pytest.mark.parametrize(("seconds", "most"), [(0.025, 2), (0.2, 4), (1.0, 8), (5.0, 21), (60.0, 44)])
def test_looks_that_come_early_are_saved_later(seconds: float, most: int) -> None:
    _, asked = wait(lambda at: 1 if at >= seconds else 0, 1)
    assert asked <= most


class Played:
    """The requests to a service that takes *seconds* for a session, and may announce that it waits and not do it."""

    def __init__(self, clock: Clock, seconds: float, *, announces: bool, waits: bool) -> None:
        self.http = SimpleNamespace(settings=SimpleNamespace(timeouts=SimpleNamespace(request=60.0)))
        self.can_wait = announces
        self.asked = 0
        self.ended = False
        self._clock = clock
        self._end = clock.now + seconds
        self._waits = waits

    async def session(self, session_id: str, *, wait: float = 0.0) -> Any:
        self.asked += 1
        assert wait <= ASKED_WAIT
        if self._waits:
            self._clock.now = max(self._clock.now, min(self._end, self._clock.now + wait))
        self.ended = self._clock.now >= self._end


def looks(seconds: float, total: int, monkeypatch: pytest.MonkeyPatch, **kind: bool) -> tuple[int, float]:
    """Play the readings of a session; returns their number, and how long after its end it was noticed."""
    clock = Clock()

    async def sleep(pause: float) -> None:
        clock.now += pause

    monkeypatch.setattr(polling, "time", clock)
    monkeypatch.setattr(looking, "time", clock)
    monkeypatch.setattr(looking, "anyio", SimpleNamespace(sleep=sleep))
    end = clock.now + seconds
    service = Played(clock, seconds, **kind)
    readings: Any = SessionLooks(service, "a")  # type: ignore[arg-type]

    async def until_ended() -> None:
        while not service.ended:
            await readings.next(0, total)

    asyncio.run(until_ended())
    return service.asked, clock.now - end


@pytest.mark.parametrize("total", [1, 10])
@pytest.mark.parametrize("seconds", [0.02, 0.3, 5.0, 100.0])
def test_a_service_that_waits_is_asked_less_and_one_that_does_not_after_all_no_more(
    seconds: float, total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    polled, _ = looks(seconds, total, monkeypatch, announces=False, waits=False)
    ignored, _ = looks(seconds, total, monkeypatch, announces=True, waits=False)
    asked, late = looks(seconds, total, monkeypatch, announces=True, waits=True)
    assert asked <= polled
    assert ignored <= polled + 1  # its pauses are shorter by the longest wait
    if seconds < ASKED_WAIT and total == 1:
        assert (asked, late) == (1, 0)
