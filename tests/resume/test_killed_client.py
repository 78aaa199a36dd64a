"""The client is killed at any request; the same call again sends what is missing, and nothing else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

import vi
from tests.support.counting_service import LIMITS, CountingService, digests, journals, left_behind, stored
from tests.support.serve import kill
from tests.support.systems import KILLED

SCRIPT = Path(__file__).with_name("upload.py")
ROOT = Path(__file__).parents[2]

GATE = range(3)
ALL = range(3, 20)


@pytest.mark.parametrize("seed", [*GATE, *(pytest.param(seed, marks=pytest.mark.faults) for seed in ALL)])
def test_an_upload_killed_at_a_request_resumes(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, many: Path, seed: int
) -> None:
    chance = random.Random(seed)
    wanted = digests(many)
    total = sum(path.stat().st_size for path in many.iterdir())
    sent_before: set[str] = set()
    known: set[str] = set()
    parts_before: set[str] = set()
    sent = 0
    # Now and then the second run is killed as well, which goes on from what the first one left.
    for last in (1500,) if seed % 3 else (1500, 300):
        run_and_kill(service, dataset, many, at=chance.randint(4, last), before=chance.random() < 0.5)
        again = {put.name for put in service.puts} & (sent_before | parts_before)
        assert not again, f"seed {seed}: sent again: {sorted(again)[:10]}"
        sent += sum(put.size for put in service.puts)
        left = left_behind(cache)
        sent_before |= left.sent.keys()
        known |= left.sessions.keys()
        parts_before |= {f"{one.upload_id}/{number}" for one in left.multiparts.values() for number in one.parts}
        service.reset()

    result = client.assets.upload(dataset, many, show_progress=False)

    assert result.total_succeeded + result.total_existing == len(wanted), result.summary()
    assert stored(client, dataset) == wanted
    again = {put.name for put in service.puts} & (sent_before | parts_before)
    assert not again, f"seed {seed}: sent again: {sorted(again)[:10]}"
    assert result.total_existing >= len(sent_before) - LIMITS.max_concurrency
    sent += sum(put.size for put in service.puts)
    in_flight = 2 * LIMITS.max_concurrency * max(put.size for put in service.puts)
    assert sent <= total * 1.01 + in_flight
    assert not journals(cache)
    # One whose opening was being answered when the client died is nobody's, and ends with its URLs.
    assert not known & set(service.open_sessions(dataset))


def run_and_kill(service: CountingService, dataset: str, folder: Path, *, at: int, before: bool) -> None:
    """Upload in a process that dies at the *at*-th request: before the service has acted on it, or after."""
    process: subprocess.Popen[str]

    def end(number: int, request: web.Request) -> None:
        if number == at:
            kill(process.pid)

    if before:
        service.at = end
    else:
        service.after = end
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), dataset],
        env={**os.environ, **service.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output, errors = process.communicate(timeout=100)
    assert process.returncode == KILLED, f"the kill never came: {output}{errors}"
