"""Row W14: each request of a run fails once, in turn, until a run has fewer requests than that; and plans by chance."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults import breaks
from tests.faults.proxy import Break
from tests.faults.scenarios import SCENARIOS, play
from tests.faults.stage import Scene

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_tasks")]

WAYS: dict[str, Callable[[], tuple[Break, dict[str, Any]]]] = {
    "reset": lambda: (breaks.reset_after_body(), {}),
    "503": lambda: (breaks.answer(503), {}),
    "stall": lambda: (breaks.stall_after_body(), {}),
    "cut": lambda: (breaks.cut_answer(20), {}),
    "stale": lambda: (breaks.reset_at_head(), {"reused": True}),
}

# What the gate runs of each scenario; the session `faults` runs every request.
GATE = {"upload": (1, 2, 7, 15), "download": (1, 2, 9), "list": (1, 2, 3), "delete_many": (1, 5, 7)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_W14_some_requests_fail_once(scene: Scene, name: str, way: str) -> None:
    # Few requests of a short scenario go out on a kept connection.
    for number in GATE[name] if way != "stale" else (1,):
        assert await fail_nth(scene, name, way, number) is not None


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_W14_every_request_fails_once_in_turn(scene: Scene, name: str, way: str) -> None:
    number = 1
    while await fail_nth(scene, name, way, number) is not None:
        number += 1
    assert number > (1 if way == "stale" else 3), "the scenario has hardly any request"


async def fail_nth(scene: Scene, name: str, way: str, number: int) -> bool | None:
    """Fail the *number*-th request once. One failure is always survived; None when the run had no such request."""
    scene.proxy.reset()
    run = SCENARIOS[name](scene)
    fault, choice = WAYS[way]()
    fired: list[int] = []

    async def noted(x: Any) -> None:
        fired.append(x.seen.number)
        await fault(x)

    whole = await play(scene, run, (breaks.named(way, noted), {"at": number, "may_rest": True, **choice}))
    assert whole, f"request {number} of {name} failed once ({way}) and the run did not survive it\n{scene.wire.show()}"
    return True if fired else None


FAULTS: list[Callable[[random.Random], Break]] = [
    lambda chance: breaks.reset_at_head(),
    lambda chance: breaks.reset_inside_body(chance.choice((1, 100, 30_000))),
    lambda chance: breaks.reset_after_body(),
    lambda chance: breaks.lose_answer(close=chance.random() < 0.5),
    lambda chance: breaks.cut_head(chance.randrange(1, 60)),
    lambda chance: breaks.cut_answer(chance.choice((0, 1, 50, 500, 40_000)), close=chance.random() < 0.5),
    lambda chance: breaks.stall_after_body(),
    lambda chance: breaks.stall_in_answer(chance.choice((0, 10, 1000))),
    lambda chance: breaks.answer(chance.choice((500, 502, 503, 504, 408)), forward=chance.random() < 0.3),
    lambda chance: breaks.answer(chance.choice((429, 503)), [("Retry-After", "0.3")]),
    lambda chance: breaks.raw(b"nonsense\r\n\r\n"),
    lambda chance: breaks.answer(200, [("Content-Type", "text/html")], b"<html>busy</html>"),
]

# About how many requests a run has when nothing fails.
REQUESTS = {"upload": 25, "download": 16, "list": 3, "delete_many": 9}

SEEDS = int(os.environ.get("VI_FAULT_SEEDS", "20"))
GATE_SEEDS = 20


async def play_seed(scene: Scene, seed: int) -> None:
    """Draw a scenario and a plan of several faults; the same seed draws the same."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    name = chance.choice(sorted(SCENARIOS))
    run = SCENARIOS[name](scene)
    # The first one comes for sure, the others if there are so many requests.
    plan: list[tuple[Break, dict[str, Any]]] = [(chance.choice(FAULTS)(chance), {"at": 1})]
    for _ in range(chance.randint(0, 5)):
        fault = chance.choice(FAULTS)(chance)
        many = chance.random() < 0.2
        first = chance.randint(1, REQUESTS[name])
        choice: dict[str, Any] = {"at": range(first, first + 4) if many else first, "may_rest": True}
        if chance.random() < 0.3:
            choice["method"] = chance.choice(("GET", "PUT", "POST"))
        plan.append((fault, choice))
    await play(scene, run, *plan)


@pytest.mark.parametrize("seed", range(GATE_SEEDS))
async def test_W14_plans_by_chance_break_no_promise(scene: Scene, seed: int) -> None:
    await play_seed(scene, seed)


@pytest.mark.faults
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(GATE_SEEDS, max(SEEDS, 200)))
async def test_W14_more_plans_by_chance_break_no_promise(scene: Scene, seed: int) -> None:
    await play_seed(scene, seed)
