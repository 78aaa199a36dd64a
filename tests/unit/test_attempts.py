"""The loop around a repeated request: what a failure costs, whom it slows down, and what is raised at the end."""

from __future__ import annotations

import logging
from typing import Any, Literal

import pytest

import vi
from vi import RetryEvent
from vi._attempts import AGAIN, Again, Attempts, Failed
from vi._events import Hooks
from vi._pacing import START, Pacing
from vi._retry import FailureKind, RetryBudget

pytestmark = pytest.mark.anyio
ORIGIN = "https://one.test"


class Refused(Exception):
    """What is raised when no attempt is left."""


class World:
    """One client's attempts, with everything that they touch."""

    def __init__(self, kind: Literal["api", "storage"] = "api", **policy: Any) -> None:
        self.pacing, self.budget, self.hooks = Pacing(64), RetryBudget(10), Hooks()
        self.told: list[Any] = []
        self.hooks.add(self.told.append)
        policy = {"backoff": 0.0001, "max_attempts": 3, **policy}
        logger = logging.getLogger("vi.test")
        self.attempts = Attempts(kind, vi.RetryPolicy(**policy), self.pacing, self.budget, self.hooks, logger)
        self.numbers: list[int] = []

    async def run(self, *outcomes: Failed | Again | str, method: str = "GET") -> str:
        left = iter(outcomes)

        async def attempt(number: int) -> Failed | Again | str:
            self.numbers.append(number)
            return next(left)

        return await self.attempts.make(attempt, method=method, request="GET /x")

    def left(self) -> int:
        count = 0
        while self.budget.spend():
            count += 1
        return count


def failed(**what: Any) -> Failed:
    return Failed(Refused(), "it was refused", ORIGIN, **what)


async def test_what_comes_is_returned() -> None:
    world = World()
    assert await world.run(failed(status=500), failed(kind=FailureKind.CUT), "it") == "it"
    assert world.numbers == [1, 2, 3]
    assert [type(event) for event in world.told] == [RetryEvent, RetryEvent]
    assert (world.told[0].kind, world.told[0].request, world.told[0].reason) == ("api", "GET /x", "it was refused")
    assert world.left() == 8


async def test_the_last_failure_is_raised() -> None:
    world = World()
    errors = [failed(status=500) for _ in range(3)]
    with pytest.raises(Refused) as raised:
        await world.run(*errors)
    assert raised.value is errors[2].error
    assert len(world.told) == 2, "the last is no retry"


async def test_no_time_left_is_the_end() -> None:
    world = World()
    with pytest.raises(Refused):
        await world.run(failed(status=503, final=True))
    assert world.numbers == [1]


async def test_a_spent_budget_is_the_end_and_what_was_never_sent_costs_nothing() -> None:
    world = World(connect_patience=60.0)
    assert await world.run(failed(kind=FailureKind.STALE), failed(kind=FailureKind.NEVER_SENT), "it") == "it"
    assert world.left() == 10
    with pytest.raises(Refused):
        await world.run(failed(status=500), "it")


async def test_a_fresh_url_costs_nothing_and_is_not_told() -> None:
    world = World()
    assert await world.run(AGAIN, AGAIN, "it") == "it"
    assert (world.numbers, world.told, world.left()) == ([1, 2, 3], [], 10)


async def test_only_a_repeatable_post_is_repeated() -> None:
    with pytest.raises(Refused):
        await World().run(failed(status=500), "it", method="POST")
    assert await World().run(failed(status=500, repeatable=True), "it", method="POST") == "it"


@pytest.mark.parametrize("kind", ["api", "storage"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("what", "slower"),
    [
        ({"status": 429}, True),
        ({"status": 503}, True),
        ({"kind": FailureKind.TIMED_OUT}, True),
        ({"status": 500}, False),
        ({"status": 502}, False),
        ({"kind": FailureKind.CUT}, False),
        ({"kind": FailureKind.NEVER_SENT}, False),
    ],
)
async def test_who_asks_for_less_gets_less(
    kind: Literal["api", "storage"], what: dict[str, Any], slower: bool, last: bool
) -> None:
    """The API's refusals too: transfers make requests to the API. So does a call with a limit of its own."""
    world = World(kind)
    own = world.pacing.slots(32)
    if last:
        with pytest.raises(Refused):
            await world.run(failed(**what, final=True))
    else:
        assert await world.run(failed(**what), "it") == "it"
    expected = START // 2 if slower else START
    assert (world.pacing.slots().level, own.level) == (expected, expected)


@pytest.mark.parametrize(("status", "held"), [(429, True), (503, True), (500, False)])
async def test_a_wait_that_was_asked_for_holds_its_origin(status: int, held: bool) -> None:
    world = World()

    held_while_waiting: list[tuple[bool, bool]] = []

    def look(_: object) -> None:
        held_while_waiting.append((world.pacing.of(ORIGIN).closed, world.pacing.of("https://two.test").closed))

    world.hooks.add(look)
    assert await world.run(failed(status=status, retry_after=0.05), "it") == "it"
    assert held_while_waiting == [(held, False)]
