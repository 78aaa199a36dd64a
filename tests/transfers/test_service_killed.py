"""A service is killed in the middle and comes back: nothing acknowledged is lost, nothing false is reported."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
import vi.api.types
from tests.support.service_process import ServiceProcess
from vi import RetryPolicy, Timeouts

FILES = 600
PATIENT = RetryPolicy(max_attempts=8, backoff=0.2, backoff_max=1.0, connect_patience=20.0)
# Each file of an open session waits so long for the service; under load, a connection takes a while.
HASTY = RetryPolicy(max_attempts=2, backoff=0.05, connect_patience=0.4)


def restart(process: ServiceProcess) -> None:
    process.start()
    process.ready()


def client_of(process: ServiceProcess, retries: RetryPolicy) -> vi.Client:
    return process.client(retries=retries, timeouts=Timeouts(request=30, stall=10))


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path / "served")
    yield running
    running.stop()


def held_by(client: vi.Client, dataset: str) -> dict[str, str]:
    return {a.filename: a.metadata.hash.contents for a in client.assets.list(dataset).all_items()}


class Killer:
    """A listener that kills the service in the middle of a transfer, and has *then* called once it is dead."""

    def __init__(self, process: ServiceProcess, at: int, then: Callable[[], None]) -> None:
        self._process = process
        self._at = at
        self._then = then
        self._struck = threading.Event()
        self.in_time: bool | None = None
        self._thread = threading.Thread(target=self._bury)
        self._thread.start()

    def __call__(self, event: vi.TransferProgress) -> None:
        if self.in_time is None and event.bytes_done >= self._at:
            self.in_time = not event.finished
            self._process.kill()
            self._struck.set()

    def _bury(self) -> None:
        assert self._struck.wait(30)
        self._process.wait()
        self._then()

    def check(self) -> None:
        """Fail if the transfer was over before the service was killed."""
        self._thread.join(60)
        assert self.in_time


@pytest.mark.parametrize("move", ["upload", "download"])
def test_a_service_that_comes_back_at_once_is_carried_on_with(
    process: ServiceProcess, folder: Any, contents: Any, tmp_path: Path, move: str
) -> None:
    images = folder(FILES)
    size = sum(path.stat().st_size for path in images.iterdir())
    with client_of(process, PATIENT) as client:
        dataset = client.datasets.create(name="killed").dataset_id
        if move == "download":
            client.assets.upload(dataset, images)
        killer = Killer(process, size // 10, lambda: restart(process))
        if move == "upload":
            result = client.assets.upload(
                dataset, images, failure_mode="FailAfterAll", on_progress=killer, max_concurrency=2
            )
        else:
            result = client.assets.download(dataset, tmp_path / "out", on_progress=killer, max_concurrency=2)
        killer.check()
        assert result.total_files == FILES
        assert result.total_failed == result.total_cancelled == 0
        assert held_by(client, dataset) == contents(images)
        assert client.datasets.get(dataset).statistic.asset_total == FILES
    if move == "download":
        assert contents(tmp_path / "out") == contents(images)


@pytest.mark.parametrize("mode", ["FailAfterOne", "FailAfterAll"])
def test_a_service_that_stays_away_is_an_error_with_a_true_account_and_a_way_to_go_on(
    process: ServiceProcess, folder: Any, contents: Any, mode: str
) -> None:
    images = folder(FILES)
    size = sum(path.stat().st_size for path in images.iterdir())
    with client_of(process, HASTY) as client:
        dataset = client.datasets.create(name="killed").dataset_id
        killer = Killer(process, size // 10, lambda: None)
        began = time.monotonic()
        with pytest.raises(vi.ViError) as raised:
            client.assets.upload(dataset, images, failure_mode=mode, on_progress=killer, max_concurrency=8)
        assert time.monotonic() - began < 30
        killer.check()
        result = raised.value.partial_result
        assert result.total_files == FILES
        assert result.total_succeeded + result.total_existing + result.total_failed + result.total_cancelled == FILES
        assert len(result.failures) == result.total_failed
    restart(process)
    with client_of(process, PATIENT) as client:
        held = held_by(client, dataset)
        named = {entry.filename for entry in [*result.failures, *result.cancelled]}
        assert len(held) >= result.total_succeeded
        assert {path.name for path in images.iterdir()} - named <= held.keys()
        assert held.items() <= contents(images).items()
        again = client.assets.upload(dataset, images)
        assert again.total_succeeded + again.total_existing == FILES
        assert held_by(client, dataset) == contents(images)


def test_a_service_that_is_away_while_being_listed_is_waited_for(process: ServiceProcess, folder: Any) -> None:
    with client_of(process, PATIENT) as client:
        dataset = client.datasets.create(name="listed").dataset_id
        client.assets.upload(dataset, folder(12))
        pages = iter(client.assets.list(dataset, vi.api.types.PaginationParams(page_size=5)))
        names = [asset.filename for asset in next(pages).items]
        process.kill()
        process.wait()
        restart(process)
        names += [asset.filename for page in pages for asset in page.items]
    assert sorted(names) == [f"image-{number:03d}.png" for number in range(12)]
