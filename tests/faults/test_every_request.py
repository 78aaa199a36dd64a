"""Row W14: each request of a run fails once, in turn, until a run has fewer requests than that."""

from __future__ import annotations

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
