"""The service is killed at any request and started again over its folder: the client continues or is called again."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.resume.stage import LIMITS, RETRIES, digests, journals, make_files, stored

SCRIPT = Path(__file__).with_name("serve.py")
ROOT = Path(__file__).parents[2]
FILES = 400

GATE = range(1)
ALL = range(1, 10)


class MortalService:
    """A service in a process of its own, always on the same port and folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.start()
        assert self.process.stdout is not None
        self.settings: dict[str, str] = json.loads(self.process.stdout.readline())

    def start(self, at: int = 0, when: str = "before") -> None:
        """Start it, to die at its *at*-th request; without waiting until it listens."""
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self._data), str(self._port), str(at), when],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> None:
        """Wait until it listens."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline()

    def restart_when_dead(self) -> threading.Thread:
        """Start it again as soon as it is dead."""
        dying = self.process

        def again() -> None:
            dying.wait()
            self._let_go(dying)
            self.start()

        thread = threading.Thread(target=again)
        thread.start()
        return thread

    def client(self, **settings: Any) -> vi.Client:
        chosen = {"limits": LIMITS, "retries": RETRIES, **settings}
        return vi.Client(self.settings["secret_key"], self.settings["organization_id"], self.settings["url"], **chosen)

    def stop(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(30)
        self._let_go(self.process)

    def _let_go(self, process: subprocess.Popen[str]) -> None:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[MortalService]:
    service = MortalService(tmp_path / "data")
    yield service
    service.stop()


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_files(tmp_path_factory.mktemp("several") / "files", FILES)


def dying(mortal: MortalService, chance: random.Random) -> None:
    """Start the service anew so that it dies somewhere in the upload that follows."""
    mortal.stop()
    mortal.start(chance.randint(3, FILES), chance.choice(["before", "after"]))
    mortal.ready()


seeds = pytest.mark.parametrize("seed", [*GATE, *(pytest.param(seed, marks=pytest.mark.faults) for seed in ALL)])


@seeds
def test_killed_and_started_again_the_client_carries_on(
    mortal: MortalService, cache: Path, several: Path, seed: int
) -> None:
    """Whatever it cannot carry over it names, and the same call again completes."""
    chance = random.Random(seed)
    with mortal.client() as client:
        dataset = client.datasets.create(name="mortal").dataset_id
        dying(mortal, chance)
        restart = mortal.restart_when_dead()
        try:
            result = client.assets.upload(dataset, several, failure_mode="FailAfterAll", show_progress=False)
        finally:
            restart.join(60)
        wanted = digests(several)
        assert result.total_succeeded + result.total_failed + result.total_cancelled == len(wanted)
        there = stored(client, dataset)
        named = {failure.filename for failure in [*result.failures, *result.cancelled]}
        assert wanted.items() - there.items() <= {(name, wanted[name]) for name in named}, "lost in silence"
        complete(client, dataset, several, cache)


@seeds
def test_killed_for_longer_the_same_call_again_completes(
    mortal: MortalService, cache: Path, several: Path, seed: int
) -> None:
    chance = random.Random(1000 + seed)
    hurried = vi.RetryPolicy(max_attempts=2, backoff=0.01, backoff_max=0.02, connect_patience=0.2)
    with mortal.client() as client:
        dataset = client.datasets.create(name="mortal").dataset_id
        dying(mortal, chance)
        with mortal.client(retries=hurried) as failing, pytest.raises(vi.errors.ViError) as caught:
            failing.assets.upload(dataset, several, show_progress=False)
        assert mortal.process.wait(10) == -9, "it died"
        assert caught.value.result is None or caught.value.result.total_succeeded < len(digests(several))
        mortal.stop()
        mortal.start()
        mortal.ready()
        complete(client, dataset, several, cache)


def complete(client: vi.Client, dataset: str, folder: Path, cache: Path) -> None:
    """The same call once more leaves the dataset like the folder, and no journal."""
    wanted = digests(folder)
    result = client.assets.upload(dataset, folder, show_progress=False)
    assert result.total_succeeded + result.total_existing == len(wanted)
    assert stored(client, dataset) == wanted
    assert not journals(cache)
