"""Row W14: plans of several faults by chance. Seeds play at the same time, each with an own proxy and folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.faults import breaks
from tests.faults.conftest import PATIENCE
from tests.faults.invariants import Listener
from tests.faults.proxy import Break, Proxy
from tests.faults.scenarios import SCENARIOS, play
from tests.faults.stage import Scene
from tests.support.service_process import ServiceProcess

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
    lambda chance: breaks.answer(chance.choice((429, 503)), [("Retry-After", "0.6")]),
    lambda chance: breaks.raw(b"nonsense\r\n\r\n"),
    lambda chance: breaks.answer(200, [("Content-Type", "text/html")], b"<html>busy</html>"),
]

# About how many requests a run has when nothing fails.
REQUESTS = {"upload": 25, "download": 16, "list": 3, "delete_many": 9}

GATE = range(int(os.environ.get("VI_GATE_SEEDS", "200")))
BATCH = 25


def read_seeds(text: str) -> range:
    """Read ``VI_FAULT_SEEDS``: a number of seeds, or first and end of them."""
    first, _, end = text.rpartition(":")
    return range(int(first or 0), int(end))


def batches(seeds: range) -> list[range]:
    return [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]


CHOSEN = read_seeds(os.environ.get("VI_FAULT_SEEDS", "200"))
"""What the gate does not run of these, the session `faults` does."""


def plan_of(seed: int) -> tuple[str, list[tuple[Break, dict[str, Any]]]]:
    """Draw a scenario and a plan of several faults; the same seed draws the same."""
    chance = random.Random(seed)
    name = chance.choice(sorted(SCENARIOS))
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
    return name, plan


async def play_seed(scene: Scene, seed: int) -> None:
    name, plan = plan_of(seed)
    await play(scene, SCENARIOS[name](scene), *plan)
    deadline = time.monotonic() + PATIENCE
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        assert time.monotonic() < deadline, f"tasks were left behind: {left}"
        await asyncio.sleep(0.01)


def play_all(seeds: range, lanes: list[Proxy], service: ServiceProcess, admin: vi.Client, folder: Path) -> None:
    """Play every seed, a few at a time; at the end, report each broken promise and how to replay it."""
    idle: queue.SimpleQueue[Scene] = queue.SimpleQueue()
    for number, proxy in enumerate(lanes):
        (folder / str(number)).mkdir()
        idle.put(Scene(proxy, service, admin, folder / str(number), on_its_way=0.4))

    def one(seed: int) -> str | None:
        scene = idle.get()
        try:
            scene.proxy.reset()
            asyncio.run(play_seed(scene, seed))
            scene.check_end()
        except (Exception, pytest.fail.Exception) as error:
            wire = scene.wire.show()
            with contextlib.suppress(AssertionError):
                scene.check_end()
            return f"seed {seed} broke a promise: {error!r}\n{wire}\nVI_FAULT_SEEDS={seed}:{seed + 1} replays it\n"
        finally:
            idle.put(scene)
        return None

    with ThreadPoolExecutor(len(lanes)) as pool:
        broken = [told for told in pool.map(one, seeds) if told]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("seeds", batches(GATE), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_W14_plans_by_chance_break_no_promise(
    lanes: list[Proxy],
    stage: ServiceProcess,
    admin: vi.Client,
    tmp_path: Path,
    quiet_lanes: None,
    no_trace: Listener,
    seeds: range,
) -> None:
    play_all(seeds, lanes, stage, admin, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize(
    "seeds",
    batches(range(max(CHOSEN.start, GATE.stop if not CHOSEN.start else 0), CHOSEN.stop)),
    ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}",
)
def test_W14_more_plans_by_chance_break_no_promise(
    lanes: list[Proxy],
    stage: ServiceProcess,
    admin: vi.Client,
    tmp_path: Path,
    quiet_lanes: None,
    no_trace: Listener,
    seeds: range,
) -> None:
    play_all(seeds, lanes, stage, admin, tmp_path)
