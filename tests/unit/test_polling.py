"""The pauses of a wait: short at first, long in the end, and over about when what is waited for is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clock import Clock
from vi.api.resources.datasets.assets import polling
from vi.api.resources.datasets.assets.polling import FIRST, LAST, SHARE, SOON, Polling


def wait(done_at: Callable[[float], int], total: int, most: float = 10_000) -> tuple[float, int]:
    """Play a wait; returns when the end was noticed, or *most*, and how often was asked."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(polling, "time", clock)
        pauses, began, asked, before = Polling(), clock.now, 0, 0
        while clock.now - began < most:
            asked += 1
            done = done_at(clock.now - began)
            if done >= total:
                break
            pause = pauses.pause(done, total)
            assert (SOON if done > before else FIRST) <= pause <= LAST
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
