"""Progress: one stream of events, few, never backwards, and never on stdout."""

from __future__ import annotations

import io
import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.recorded_service import RecordedService
from vi import TransferProgress


def moves(client: vi.Client, dataset: str, images: Path, out: Path, **options: Any) -> None:
    client.assets.upload(dataset, images, **options)
    client.assets.download(dataset, out, **options)


def test_events_never_go_back_and_end_with_the_whole(
    client: vi.Client, dataset: str, folder: Any, tmp_path: Path
) -> None:
    images = folder(60)
    size = sum(path.stat().st_size for path in images.iterdir())
    events: list[TransferProgress] = []
    moves(client, dataset, images, tmp_path / "out", on_progress=events.append)
    for operation in ("upload", "download"):
        seen = [event for event in events if event.operation == operation]
        for name in ("files_done", "files_failed", "files_sent", "bytes_done", "seconds"):
            values = [getattr(event, name) for event in seen]
            assert values == sorted(values), name
        assert [event.finished for event in seen] == [False] * (len(seen) - 1) + [True]
        assert (seen[-1].files_done, seen[-1].files_failed, seen[-1].bytes_done) == (60, 0, size)
        assert (seen[-1].files_total, seen[-1].bytes_total) == (60, size)
        assert all(event.files_total == 60 for event in seen)
        assert all(event.files_done <= event.files_sent <= 60 for event in seen)
        assert seen[-1].last_sent is not None
        assert (seen[-1].last_checked is not None) is (operation == "upload")


def test_sending_is_told_apart_from_checking(
    client: vi.Client, service: RecordedService, dataset: str, folder: Any
) -> None:
    """All is sent, and nothing is checked as long as the service keeps the verdicts to itself."""
    events: list[TransferProgress] = []
    with ThreadPoolExecutor(1) as pool, service.hold("GET", "/assetIngestionSessions/") as hold:
        upload = pool.submit(client.assets.upload, dataset, folder(4), on_progress=events.append)
        assert hold.reached.wait(30)
        assert all(event.files_done == 0 for event in events)
        hold.release()
        assert upload.result(30).total_succeeded == 4
    assert (events[-1].files_sent, events[-1].files_done) == (4, 4)
    assert events[-1].last_sent is not None
    assert events[-1].last_checked is not None
    assert events[-1].last_sent <= events[-1].last_checked


def test_what_is_there_already_is_not_to_be_sent(client: vi.Client, dataset: str, folder: Any) -> None:
    images = folder(3)
    client.assets.upload(dataset, images)
    events: list[TransferProgress] = []
    client.assets.upload(dataset, images, skip_existing=True, on_progress=events.append)
    assert (events[-1].files_sent, events[-1].bytes_done, events[-1].bytes_total) == (3, 0, 0)


def test_events_come_at_most_ten_times_a_second(client: vi.Client, dataset: str, folder: Any, tmp_path: Path) -> None:
    events: list[TransferProgress] = []
    moves(client, dataset, folder(100), tmp_path / "out", on_progress=events.append)
    for operation in ("upload", "download"):
        times = [event.seconds for event in events if event.operation == operation and not event.finished]
        assert all(later - earlier > 0.099 for earlier, later in itertools.pairwise(times))


def test_failures_are_counted(client: vi.Client, dataset: str, folder: Any) -> None:
    images = folder(3)
    (images / "broken.png").write_bytes((images / "image-000.png").read_bytes()[:40])
    (images / "text.png").write_text("x")
    events: list[TransferProgress] = []
    client.assets.upload(dataset, images, failure_mode="FailAfterAll", on_progress=events.append)
    assert (events[-1].files_total, events[-1].files_done, events[-1].files_failed) == (5, 5, 2)


def test_a_stopped_upload_still_tells_its_end(client: vi.Client, dataset: str, folder: Any) -> None:
    images = folder(2)
    (images / "text.png").write_text("x")
    events: list[TransferProgress] = []
    with pytest.raises(vi.ViUploadError):
        client.assets.upload(dataset, images, on_progress=events.append)
    assert events[-1].finished
    assert events[-1].files_failed == 1


@pytest.mark.parametrize("how", ["argument", "variable", "callback", "short"])
def test_nothing_is_printed(
    client: vi.Client,
    dataset: str,
    folder: Any,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    options: dict[str, Any] = {}
    if how != "short":
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    if how == "argument":
        options["show_progress"] = False
    elif how == "variable":
        monkeypatch.setenv("VI_PROGRESS", "0")
    elif how == "callback":
        options["on_progress"] = lambda event: None
    moves(client, dataset, folder(5), tmp_path / "out", **options)
    assert capfd.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_on_stderr_alone(
    client: vi.Client,
    dataset: str,
    folder: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    images, before = folder(5), {thread.name for thread in threading.enumerate()}
    moves(client, dataset, images, tmp_path / "out")
    assert "tqdm_monitor" not in {thread.name for thread in threading.enumerate()} - before
    assert capsys.readouterr().out == ""
    text = terminal.getvalue()
    assert "upload: 100%" in text
    assert "download" in text
    assert "5/5" in text


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(
    client: vi.Client, dataset: str, folder: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vi._show.progress.LINE_SECONDS", 0.0)
    client.assets.upload(dataset, folder(40))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("upload: checked 40/40, sent 40/40 files, ")


@pytest.mark.parametrize("move", ["upload", "download"])
def test_a_listener_that_raises_stops_the_transfer_with_its_own_error(
    client: vi.Client, service: Any, dataset: str, folder: Any, tmp_path: Path, move: str
) -> None:
    images = folder(3)
    client.assets.upload(dataset, images)
    service.forget()

    def listen(event: TransferProgress) -> None:
        raise LookupError("the display is gone")

    source = images if move == "upload" else tmp_path / "out"
    with pytest.raises(LookupError, match="the display is gone"):
        getattr(client.assets, move)(dataset, source, on_progress=listen)
    opened = service.requests("POST", "/assetIngestionSessions")
    assert len(service.requests("POST", ":cancel")) == len(opened)


def test_a_listener_must_be_callable(client: vi.Client, service: Any, dataset: str, folder: Any) -> None:
    with pytest.raises(vi.ViInvalidParameterError) as raised:
        client.assets.upload(dataset, folder(1), on_progress="print")  # type: ignore[arg-type]
    assert raised.value.parameter == "on_progress"
    assert service.requests() == []
