"""The service is killed at any request and started again over its folder: the client continues or is called again."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import vi
from tests.support.counting_service import LIMITS, PART_BYTES, RETRIES, digests, journals, make_files, stored
from tests.support.service_process import ServiceProcess
from tests.support.systems import KILLED

ROOT = Path(__file__).parents[2]
FILES = 400

GATE = range(1)
ALL = range(1, 10)


def client_of(mortal: ServiceProcess) -> vi.Client:
    """Return a client that waits for a service which takes long to start."""
    return mortal.client(limits=LIMITS, retries=attrs.evolve(RETRIES, connect_patience=60))


def restarted_when_dead(mortal: ServiceProcess) -> threading.Thread:
    """Start the service again as soon as it is dead."""

    def again() -> None:
        mortal.wait(None)
        mortal.start()

    thread = threading.Thread(target=again)
    thread.start()
    return thread


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path / "data", part_bytes=PART_BYTES)
    yield service
    service.stop()


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_files(tmp_path_factory.mktemp("several") / "files", FILES)


def dying(mortal: ServiceProcess, chance: random.Random) -> None:
    """Start the service anew so that it dies somewhere in the upload that follows."""
    mortal.stop()
    mortal.start(chance.randint(3, FILES), chance.choice(["before", "after"]))
    mortal.ready()


seeds = pytest.mark.parametrize("seed", [*GATE, *(pytest.param(seed, marks=pytest.mark.faults) for seed in ALL)])


@seeds
def test_killed_and_started_again_the_client_carries_on(
    mortal: ServiceProcess, cache: Path, several: Path, seed: int
) -> None:
    """Whatever it cannot carry over it names, and the same call again completes."""
    chance = random.Random(seed)
    with client_of(mortal) as client:
        dataset = client.datasets.create(name="mortal").dataset_id
        dying(mortal, chance)
        restart = restarted_when_dead(mortal)
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
    mortal: ServiceProcess, cache: Path, several: Path, seed: int
) -> None:
    chance = random.Random(1000 + seed)
    hurried = vi.RetryPolicy(max_attempts=2, backoff=0.01, backoff_max=0.02, connect_patience=1.0)
    with client_of(mortal) as client:
        dataset = client.datasets.create(name="mortal").dataset_id
        dying(mortal, chance)
        with mortal.client(limits=LIMITS, retries=hurried) as failing, pytest.raises(vi.errors.ViError) as caught:
            failing.assets.upload(dataset, several, show_progress=False)
        assert mortal.process.wait(10) == KILLED, "it died"
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
