"""What one bad file means for the others, and whether the account of it is true."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from vi.server.inspection.inspector import Inspector

GOOD = 6
Spoil = Callable[[Path], None]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.write_bytes(data)


def mislabel(path: Path) -> None:
    path.write_text("not an image at all")


def video(path: Path) -> None:
    path.write_bytes(b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def grow(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate((256 << 20) + 1)


SPOILT = [
    (truncate, "ECORRUPT"),
    (flip, "ECORRUPT"),
    (mislabel, "EBADMIME"),
    (video, "EBADMIME"),
    (empty, "EBADSIZE"),
    (grow, "EBADSIZE"),
]
spoilt = pytest.mark.parametrize(("spoil", "code"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])


@pytest.fixture
def files(folder: Any) -> list[Path]:
    """Six good images and, last, one to spoil; named singly, so that none is left out in silence."""
    return sorted(folder(GOOD + 1).iterdir())


@spoilt
def test_fail_after_all_tries_every_file_and_stores_all_but_the_bad_one(
    client: vi.Client, dataset: str, files: list[Path], contents: Any, stored: Any, spoil: Spoil, code: str
) -> None:
    bad = files[-1]
    whole = contents(bad.parent)
    spoil(bad)
    result = client.assets.upload(dataset, files, failure_mode="FailAfterAll")
    assert [(f.path, f.filename, f.code) for f in result.failures] == [(str(bad), bad.name, code)]
    assert bad.name in result.failures[0].message
    assert (result.total_files, result.total_succeeded, result.total_cancelled) == (GOOD + 1, GOOD, 0)
    assert stored(dataset) == {path.name: whole[path.name] for path in files[:-1]}


@spoilt
def test_fail_after_one_raises_with_a_result_that_is_true(
    client: vi.Client, service: Any, dataset: str, files: list[Path], stored: Any, spoil: Spoil, code: str
) -> None:
    bad = files[-1]
    spoil(bad)
    with pytest.raises(vi.ViUploadError) as raised:
        client.assets.upload(dataset, files)
    error = raised.value
    assert bad.name in error.message
    if spoil is grow:
        assert isinstance(error, vi.ViFileTooLargeError)
        assert (error.file_size, error.max_size) == ((256 << 20) + 1, 256 << 20)
        assert service.requests() == []
        return
    result = error.result
    assert (str(error.error_code), error.path) == (code, str(bad))
    assert [(f.path, f.code) for f in result.failures] == [(str(bad), code)]
    assert result.total_succeeded + result.total_failed + result.total_cancelled == result.total_files == GOOD + 1
    assert len(result.cancelled) == result.total_cancelled
    unstored = {entry.filename for entry in [*result.failures, *result.cancelled]}
    assert set(stored(dataset)) == {path.name for path in files} - unstored


@pytest.mark.parametrize("mode", ["FailAfterOne", "FailAfterAll"])
def test_when_every_file_is_bad_nothing_is_stored_and_all_are_named(
    client: vi.Client, dataset: str, files: list[Path], stored: Any, mode: str
) -> None:
    for path in files:
        truncate(path)
    try:
        result = client.assets.upload(dataset, files, failure_mode=mode)
    except vi.ViUploadError as error:
        assert mode == "FailAfterOne"
        result = error.result
    else:
        assert mode == "FailAfterAll"
        assert len(result.failures) == len(files)
    assert (result.total_succeeded, result.success_rate, stored(dataset)) == (0, 0.0, {})
    assert {f.code for f in result.failures} == {"ECORRUPT"}
    assert result.total_failed + result.total_cancelled == result.total_files == len(files)


def test_all_kinds_of_bad_files_at_once_are_told_apart(
    client: vi.Client, dataset: str, folder: Any, stored: Any
) -> None:
    images = folder(20)
    files = sorted(images.iterdir())
    for path, (spoil, _) in zip(files, SPOILT, strict=False):
        spoil(path)
    result = client.assets.upload(dataset, files, failure_mode="FailAfterAll")
    assert {f.path: f.code for f in result.failures} == {
        str(path): code for path, (_, code) in zip(files, SPOILT, strict=False)
    }
    assert len(stored(dataset)) == result.total_succeeded == 20 - len(SPOILT)


def test_fail_after_one_sends_nothing_when_a_named_file_cannot_be_sent(
    client: vi.Client, service: Any, dataset: str, files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(vi.ViUploadError, match=r"notes\.txt.*Make the same call again"):
        client.assets.upload(dataset, [*files, tmp_path / "notes.txt"])
    assert service.requests("POST") == []


def test_quota_is_reported_file_by_file(start_service: Any, folder: Any) -> None:
    images = folder(4)
    size = max(path.stat().st_size for path in images.iterdir())
    with start_service(quota_bytes=int(size * 2.5)).client() as client:
        dataset = client.datasets.create(name="small").dataset_id
        result = client.assets.upload(dataset, images, failure_mode="FailAfterAll")
        assert client.assets.count(dataset) == result.total_succeeded == 2
    assert [f.code for f in result.failures] == ["ENOQUOTA", "ENOQUOTA"]


def test_a_file_is_not_taken_for_another_that_was_stored(
    client: vi.Client, service: Any, dataset: str, folder: Any, png: Any, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file is stored and its answer lost, the other acknowledged and not looked at yet, when the time is up."""
    images = folder(0)
    (images / "lost.png").write_bytes(png(1))
    (images / "slow.png").write_bytes(png(2, side=40))
    inspect = Inspector.inspect

    async def inspect_all_but_one(self: Inspector, jobs: Any, found: Any = None, **_options: Any) -> Any:
        if any(job.size == (images / "slow.png").stat().st_size for job in jobs):
            await released()
        return await inspect(self, jobs, found)

    over = threading.Event()

    async def released() -> None:
        import asyncio

        while not over.is_set():
            await asyncio.sleep(0.01)

    monkeypatch.setattr(Inspector, "inspect", inspect_all_but_one)
    with (
        service.hold("PUT", "/slow.png") as slow,
        service.hold("PUT", "/lost.png", answers=True),
        service.client() as other,
    ):

        def release_when_stored() -> None:
            assert slow.reached.wait(10)
            while not other.assets.count(dataset):
                pass
            slow.release()

        thread = threading.Thread(target=release_when_stored)
        thread.start()
        with pytest.raises(vi.ViTimeoutError) as raised:
            client.assets.upload(dataset, images, failure_mode="FailAfterAll", timeout=1.5)
        thread.join()
    result = raised.value.result
    over.set()
    assert [entry.filename for entry in result.cancelled] == ["slow.png"]
    assert result.total_succeeded == 1
    assert list(stored(dataset)) == ["lost.png"]


def test_an_answer_that_is_lost_after_the_session_has_ended_does_not_lose_the_file(
    client: vi.Client, service: Any, dataset: str, folder: Any, stored: Any
) -> None:
    """The repeated PUT meets 410, because the file is stored already."""
    with service.cut("PUT", "/up/", until=lambda: bool(stored(dataset))):
        result = client.assets.upload(dataset, folder(1))
    assert result.total_succeeded == 1 == len(stored(dataset))
