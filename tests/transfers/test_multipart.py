"""Large files: up in parts, down in ranges."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import vi
from tests.support import engines
from vi import TransferLimits
from vi.server import ServiceConfig
from vi.testing import TestedService

# A store takes no parts below 5 MiB from clients.
SCALE = 52 if engines.CHOSEN == "direct" else 1
KIB = SCALE << 10
SIZE = SCALE * 1_000_000
THRESHOLD = 512 * KIB
LIMITS = TransferLimits(multipart_threshold=THRESHOLD, range_size=100 * KIB)


@pytest.fixture(scope="module")
def shared_service(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.support.recorded_service import RecordedService

    running = RecordedService(tmp_path_factory.mktemp("parts") / "data", ServiceConfig(part_bytes=128 * KIB))
    yield running
    running.stop()


@pytest.fixture
def client(service: Any) -> Iterator[vi.Client]:
    with service.client(limits=LIMITS) as client:
        yield client


Film = Callable[..., Path]


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """Makes a file that begins as MP4 films do, of exactly *size* bytes."""

    def make(size: int, name: str = "film.mp4", seed: int = 0) -> Path:
        path = tmp_path / name
        head = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
        path.write_bytes(head + random.Random(seed).randbytes(size - len(head)))
        return path

    return make


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("size", "parts"),
    [(THRESHOLD - 1, 0), (THRESHOLD, 4), (THRESHOLD + 1, 5), (SIZE + 3, 8)],
    ids=["below", "at", "above", "odd"],
)
def test_a_file_from_the_threshold_on_goes_in_parts_and_ranges(
    client: vi.Client, service: Any, dataset: str, film: Film, tmp_path: Path, stored: Any, size: int, parts: int
) -> None:
    path = film(size)
    result = client.assets.upload(dataset, path)
    assert (result.total_succeeded, result.bytes_sent) == (1, size)
    assert stored(dataset) == {"film.mp4": digest(path)}
    assert len([seen for seen in service.requests("PUT") if seen.path.startswith("/part/")]) == parts
    assert len([seen for seen in service.requests("PUT") if seen.path.startswith("/up/")]) == (not parts)
    service.forget()
    client.assets.download(dataset, tmp_path / "out")
    assert digest(tmp_path / "out" / "film.mp4") == digest(path)
    ranges = [seen.headers.get("Range") for seen in service.requests("GET", storage=True)]
    if parts:
        starts = range(0, size, 100 * KIB)
        assert sorted(map(str, ranges)) == sorted(f"bytes={at}-{min(at + 100 * KIB, size) - 1}" for at in starts)
    else:
        assert ranges == [None]


def test_ranges_after_the_first_are_pinned_to_the_object(
    client: vi.Client, service: Any, dataset: str, film: Film, tmp_path: Path
) -> None:
    client.assets.upload(dataset, film(THRESHOLD))
    service.forget()
    client.assets.download(dataset, tmp_path / "out")
    first, *others = service.requests("GET", storage=True)
    assert "If-Match" not in first.headers
    assert others
    assert len({seen.headers["If-Match"] for seen in others}) == 1


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_parts_are_cut_from_any_source_that_can_be_read_again(
    client: vi.Client, service: Any, dataset: str, film: Film, stored: Any, kind: str
) -> None:
    path = film(THRESHOLD + 77)
    with path.open("rb") as file:
        client.assets.upload(dataset, ("film.mp4", path.read_bytes()) if kind == "bytes" else file)
    assert stored(dataset) == {"film.mp4": digest(path)}
    assert any(seen.path.startswith("/part/") for seen in service.requests("PUT"))


def test_large_and_small_files_go_together(
    client: vi.Client, dataset: str, film: Film, folder: Any, contents: Any, stored: Any, tmp_path: Path
) -> None:
    images = folder(20)
    film(THRESHOLD + 5, "images/a.mp4")
    film(THRESHOLD + 9, "images/b.mp4", seed=1)
    client.assets.upload(dataset, images)
    assert stored(dataset) == contents(images)
    client.assets.download(dataset, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(images)


def test_a_file_that_changes_between_its_parts_is_not_stored_and_its_parts_are_dropped(
    client: vi.Client, service: Any, dataset: str, film: Film, stored: Any
) -> None:
    path = film(SIZE)
    with service.hold("PUT", "/part/", after=1) as hold:

        def change() -> None:
            assert hold.reached.wait(10)
            with path.open("r+b") as file:
                file.seek(SIZE - 100_000)
                file.write(b"other")
            hold.release()

        thread = threading.Thread(target=change)
        thread.start()
        with pytest.raises(vi.ViUploadError) as raised:
            client.assets.upload(dataset, path)
        thread.join()
    assert [f.code for f in raised.value.result.failures] == ["ECHANGED"]
    assert stored(dataset) == {}
    assert [seen.status for seen in service.requests("DELETE")] == [204]


def test_a_timeout_between_parts_stores_nothing(
    client: vi.Client, service: Any, dataset: str, film: Film, stored: Any
) -> None:
    with service.hold("PUT", "/part/", after=1), pytest.raises(vi.ViTimeoutError) as raised:
        client.assets.upload(dataset, film(SIZE), timeout=0.5)
    assert raised.value.result.total_cancelled == 1
    assert stored(dataset) == {}


def test_a_download_that_is_stopped_between_ranges_leaves_nothing(
    client: vi.Client, service: Any, dataset: str, film: Film, tmp_path: Path
) -> None:
    client.assets.upload(dataset, film(SIZE))
    with service.hold("GET", "/dl/", after=2), pytest.raises(vi.ViTimeoutError) as raised:
        client.assets.download(dataset, tmp_path / "out", timeout=0.5)
    assert raised.value.result.total_cancelled == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_an_object_that_is_replaced_between_ranges_never_becomes_a_mixture(
    client: vi.Client, service: Any, dataset: str, film: Film, tmp_path: Path
) -> None:
    client.assets.upload(dataset, film(SIZE))
    second = film(SIZE, seed=2)
    with service.hold("GET", "/dl/", after=2) as hold:

        def replace() -> None:
            assert hold.reached.wait(10)
            with service.client() as other:
                other.assets.upload(dataset, second)
            hold.release()

        thread = threading.Thread(target=replace)
        thread.start()
        result = client.assets.download(dataset, tmp_path / "out", raise_on_failure=False)
        thread.join()
    assert [f.code for f in result.failures] == ["ECHANGED"]
    assert list((tmp_path / "out").iterdir()) == []


def test_progress_counts_the_parts_of_a_large_file(
    client: vi.Client, dataset: str, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vi._transfer.progress.EVENTS_PER_SECOND", 1_000_000)
    size, part, stretch = SIZE, SIZE // 8, 100 * KIB
    up: list[int] = []
    client.assets.upload(dataset, film(size), on_progress=lambda event: up.append(event.bytes_done))
    assert sorted(set(up)) == [part * number for number in range(9)]
    down: list[int] = []
    client.assets.download(dataset, tmp_path / "out", on_progress=lambda event: down.append(event.bytes_done))
    rest = size % stretch
    whole = {stretch * number for number in range(size // stretch + 1)}
    assert set(down) <= whole | {reached + rest for reached in whole}
    assert len(set(down)) == size // stretch + 1 + (0 in down)
    assert up == sorted(up)
    assert down == sorted(down)
    assert up[-1] == down[-1] == size


@pytest.mark.parametrize("threshold", [1 << 20, 1 << 30], ids=["parts", "whole"])
def test_a_storage_that_answers_before_it_has_read_a_file_has_not_stored_it(
    tmp_path: Path, film: Film, threshold: int
) -> None:
    early = [0]

    @web.middleware
    async def hasty(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "PUT" and early[0]:
            early[0] -= 1
            return web.Response(headers={"ETag": '"x"'})
        return await handler(request)

    path = film(48 << 20)
    limits = TransferLimits(multipart_threshold=threshold, parts_per_file=1)
    running = TestedService(tmp_path / "data", ServiceConfig(part_bytes=24 << 20), middlewares=[hasty])
    retries = vi.RetryPolicy(max_attempts=3, backoff=0.01, backoff_max=0.01)
    with ExitStack() as stack:
        stack.callback(running.stop)
        client = stack.enter_context(running.client(limits=limits, retries=retries))
        dataset = client.datasets.create(name="hasty").dataset_id
        early[0] = 100
        result = client.assets.upload(dataset, path, failure_mode="FailAfterAll", show_progress=False)
        (failure,) = result.failures
        assert (failure.code, "answered before it had" in failure.message) == ("ENETWORK", True), failure.message
        early[0] = 2
        assert client.assets.upload(dataset, path, show_progress=False).total_succeeded == 1
        assert client.assets.verify(dataset, path.parent, include=["*.mp4"]).ok
