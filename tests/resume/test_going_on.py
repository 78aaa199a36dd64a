"""What a run that ended early leaves to the next one, whatever has changed between the two."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web

import vi
import vi.transfers
from tests.support.counting_service import (
    LIMITS,
    LONGER_THAN_SESSIONS,
    PARTS,
    RETRIES,
    CountingService,
    at_the,
    digests,
    go_on,
    in_parts,
    ingested,
    journals,
    left_behind,
    make_files,
    other_content,
    stop,
    stored,
    whole,
)
from tests.support.pictures import tiny
from tests.support.systems import needs_signals
from vi._transfer.journals.uploads import JournalKey
from vi.config import Settings

SCRIPT = Path(__file__).with_name("upload.py")
ROOT = Path(__file__).parents[2]


# An early end


def test_an_upload_cancelled_in_a_large_file_resumes_its_parts(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some, count=5)
    left = left_behind(cache)
    (upload,) = left.multiparts.values()
    assert 3 <= len(upload.parts) < PARTS
    result = go_on(client, dataset, some, cache)
    assert not whole(service) & left.sent.keys()
    assert in_parts(service) == {f"{upload.upload_id}/{n}" for n in range(1, PARTS + 1) if n not in upload.parts}
    assert result.total_existing == len(left.sent)
    assert not service.open_sessions(dataset)


def test_cancelled_among_small_files_it_sends_the_others(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some, count=25, part="/up/")
    kept = left_behind(cache).sent.keys() & stored(client, dataset).keys()
    service.reset()
    go_on(client, dataset, some, cache)
    assert not whole(service) & kept
    assert not service.open_sessions(dataset)


@needs_signals
def test_an_upload_interrupted_by_the_user_resumes(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    process: subprocess.Popen[str]
    service.after = at_the(6, "/part/")(lambda: process.send_signal(signal.SIGINT))
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(some), dataset],
        env={**os.environ, **service.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    service.reset()
    left = left_behind(cache)
    assert left.multiparts
    go_on(client, dataset, some, cache)
    assert not whole(service) & left.sent.keys()
    (upload,) = left.multiparts.values()
    assert not in_parts(service) & {f"{upload.upload_id}/{number}" for number in upload.parts}


@needs_signals
@pytest.mark.parametrize("count", [20, 700, 1300])
def test_after_ctrl_c_only_what_was_in_flight_is_sent_again(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, many: Path, count: int
) -> None:
    process: subprocess.Popen[str]
    service.after = at_the(count, "/up/")(lambda: process.send_signal(signal.SIGINT))
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(many), dataset],
        env={**os.environ, **service.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, errors = process.communicate(timeout=100)
    assert "KeyboardInterrupt\nInterrupted: " in errors
    first = sum(put.size for put in service.puts)
    largest = max(put.size for put in service.puts)
    service.reset()
    left = left_behind(cache)
    go_on(client, dataset, many, cache)
    assert not whole(service) & left.sent.keys()
    total = sum(path.stat().st_size for path in many.iterdir())
    assert first + sum(put.size for put in service.puts) <= total * 1.01 + LIMITS.max_concurrency * largest
    assert not service.open_sessions(dataset)


@pytest.mark.parametrize("count", [1, 2])
def test_a_session_answered_just_as_the_upload_ends_does_not_stay_open(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path, count: int
) -> None:
    limits = attrs.evolve(LIMITS, session_files=30)
    stop(service, dataset, some, count, "/assetIngestionSessions", method="POST", limits=limits)
    assert set(service.open_sessions(dataset)) <= left_behind(cache).sessions.keys()
    go_on(client, dataset, some, cache)
    assert not service.open_sessions(dataset)


def test_an_upload_to_a_folder_resumes_when_its_service_has_another_port(
    tmp_path: Path, cache: Path, some: Path
) -> None:
    """As `Client.local` has after each start."""
    first = CountingService(tmp_path / "data")
    with first.client() as client:
        dataset = client.datasets.create(name="moved").dataset_id
    stop(first, dataset, some)
    left = left_behind(cache)
    first.stop()
    second = CountingService(tmp_path / "data")
    assert second.url != first.url
    with second.client() as client:
        result = go_on(client, dataset, some, cache)
    second.stop()
    assert result.total_existing == len(left.sent) > 10
    assert not whole(second) & left.sent.keys()
    assert len(in_parts(second)) < PARTS
    assert vi.transfers.unfinished() == []


@pytest.mark.parametrize(
    ("endpoint", "same"),
    [
        ("http://localhost:2", True),
        ("http://[::1]:2", True),
        ("http://127.0.0.1:2/vi", False),
        ("https://127.0.0.1:1", False),
        ("http://vi.example:1", False),
    ],
)
def test_a_port_tells_services_apart_only_on_other_machines(endpoint: str, same: bool) -> None:
    local, other = (JournalKey.of(Settings("k", "acme", one), "ds1") for one in ("http://127.0.0.1:1", endpoint))
    assert (local == other) is same
    remote = {JournalKey.of(Settings("k", "acme", f"https://vi.example:{port}"), "ds1") for port in (1, 2)}
    assert len(remote) == 2


def test_a_time_out_leaves_the_same_to_go_on_with(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    hold = threading.Event()
    service.at = at_the(5, "/part/")(lambda: hold.wait(2))
    with pytest.raises(vi.errors.ViTimeoutError) as caught:
        client.assets.upload(dataset, some, timeout=0.9, show_progress=False)
    hold.set()
    assert caught.value.result is not None
    service.reset()
    left = left_behind(cache)
    go_on(client, dataset, some, cache)
    assert not whole(service) & left.sent.keys()


def test_a_service_that_goes_away_in_a_large_file_costs_no_part(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    """A cut of the network says nothing of the file, so what was sent of it is kept."""
    gone = threading.Event()
    trip = at_the(7, "/part/")(gone.set)

    def cut(number: int, request: web.Request) -> None:
        if gone.is_set() and request.transport is not None:
            request.transport.abort()
            raise ConnectionResetError

    def cut_after_seven(number: int, request: web.Request) -> None:
        cut(number, request)
        trip(number, request)

    service.at, service.after = cut, cut_after_seven
    few = vi.RetryPolicy(max_attempts=2, backoff=0.01, backoff_max=0.02)
    with service.client(retries=few) as failing, pytest.raises(vi.errors.ViError) as caught:
        failing.assets.upload(dataset, some, show_progress=False)
    service.reset()
    left = left_behind(cache)
    assert len(left.multiparts) == 1, (caught.value, caught.value.result)
    (upload,) = left.multiparts.values()
    assert len(upload.parts) >= 3
    go_on(client, dataset, some, cache)
    assert not in_parts(service) & {f"{upload.upload_id}/{number}" for number in upload.parts}


def test_an_upload_that_tried_every_file_is_over_also_when_one_was_refused(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    """The same call does the same again; with skip_existing it sends what was refused and is mended."""
    broken = some / "broken.png"
    broken.write_bytes(tiny(7)[:-20])
    for _ in range(2):
        result = client.assets.upload(dataset, some, failure_mode="FailAfterAll", show_progress=False)
        assert result.failed_files == [str(broken)]
        assert result.total_existing == 0
        assert vi.transfers.unfinished() == []
        assert not list(cache.rglob("*.jsonl"))
    service.reset()
    broken.write_bytes(tiny(7))
    result = client.assets.upload(dataset, some, skip_existing=True, show_progress=False)
    assert (result.total_succeeded, result.total_failed) == (1, 0)
    assert whole(service) == {"broken.png"}
    assert not in_parts(service)


@pytest.mark.parametrize("mode", ["FailAfterOne", "FailAfterAll"])
def test_uploads_from_memory_that_are_refused_leave_nothing(
    client: vi.Client, dataset: str, cache: Path, mode: str
) -> None:
    broken = tiny(7)[:-20]
    for number in range(3):
        paths = [("broken.png", broken), (f"{number}.png", tiny(number))]
        try:
            client.assets.upload(dataset, paths, failure_mode=mode, show_progress=False)
        except vi.ViUploadError:
            assert mode == "FailAfterOne"
    assert vi.transfers.unfinished() == []
    assert not list(cache.rglob("*.jsonl"))


def test_another_folder_in_between_costs_nothing(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path, tmp_path: Path
) -> None:
    stop(service, dataset, some)
    left = left_behind(cache)
    (upload,) = left.multiparts.values()
    other = tmp_path / "other"
    other.mkdir()
    (other / "other.png").write_bytes(tiny(777))
    assert client.assets.upload(dataset, other, show_progress=False).total_succeeded == 1
    assert whole(service) == {"other.png"}
    kept = left_behind(cache)
    assert (kept.sent, kept.multiparts) == (left.sent, left.multiparts)
    service.reset()
    result = client.assets.upload(dataset, some, show_progress=False)
    assert result.total_existing == len(left.sent)
    assert not whole(service) & left.sent.keys()
    assert not in_parts(service) & {f"{upload.upload_id}/{number}" for number in upload.parts}
    assert not journals(cache)
    assert not service.open_sessions(dataset)


def test_two_runs_at_once_both_end_well(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with service.client() as another:
                result = another.assets.upload(dataset, some, show_progress=False)
            assert result.total_succeeded + result.total_existing == 41
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert stored(client, dataset) == digests(some)
    assert not journals(cache)


# Changes between the runs


@pytest.mark.parametrize("grow", [False, True], ids=["same size and time", "longer"])
def test_a_file_changed_since_is_sent_anew(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path, grow: bool
) -> None:
    stop(service, dataset, some)
    name = sorted(left_behind(cache).sent)[3]
    if grow:
        (some / name).write_bytes(tiny(12345, side=5))
    else:
        other_content(some / name)
    go_on(client, dataset, some, cache)
    assert name in whole(service)


def test_a_large_file_changed_since_starts_over_and_its_old_session_ends(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some)
    (upload,) = left_behind(cache).multiparts.values()
    path = some / upload.filename
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    go_on(client, dataset, some, cache)
    sent = in_parts(service)
    assert len(sent) == PARTS
    assert not any(name.startswith(upload.upload_id) for name in sent)
    assert not service.open_sessions(dataset)


def test_an_asset_deleted_since_is_sent_anew(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some)
    name = sorted(left_behind(cache).sent)[0]
    ingested(client, dataset, {name})
    asset = next(asset for asset in client.assets.list(dataset).all_items() if asset.filename == name)
    client.assets.delete(dataset, asset.asset_id)
    go_on(client, dataset, some, cache)
    assert name in whole(service)


def test_an_asset_overwritten_since_is_sent_anew(
    service: CountingService,
    client: vi.Client,
    dataset: str,
    cache: Path,
    some: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop(service, dataset, some)
    name = sorted(left_behind(cache).sent)[0]
    ingested(client, dataset, {name})
    other = tmp_path / "other" / name
    other.parent.mkdir()
    other.write_bytes((some / name).read_bytes())
    other_content(other)
    # By another machine, which knows nothing of the journal here.
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "elsewhere"))
    assert client.assets.upload(dataset, other, show_progress=False).total_succeeded == 1
    monkeypatch.setenv("VI_CACHE_DIR", str(cache))
    service.reset()
    go_on(client, dataset, some, cache)
    assert name in whole(service)


def test_a_session_that_expired_since_costs_its_parts_and_no_file(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some)
    left = left_behind(cache)
    # A session that expires before it has ingested what it took fails as a whole, and all of it is sent again.
    ingested(client, dataset, left.sent.keys())
    service.ahead_ms += LONGER_THAN_SESSIONS
    result = go_on(client, dataset, some, cache)
    assert not whole(service) & left.sent.keys()
    assert len(in_parts(service)) == PARTS
    assert result.total_existing == len(left.sent)
    assert not service.open_sessions(dataset)


def test_a_file_that_expired_is_not_counted_as_one_that_was_acknowledged(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    """The last of those may not be ingested yet: it is waited for, and not sent again."""
    stop(service, dataset, some)
    ((session, names),) = left_behind(cache).sessions.items()
    ingested(client, dataset, names)
    said = 0

    def behind(request: web.Request, document: Any) -> Any:
        nonlocal said
        if request.path.endswith(session) and said < 2:
            said += 1
            document["status"]["progressCount"] |= {"succeeded": len(names) - 1, "errored": 1}
            event = {"kind": "Error", "files": {"expired.bmp": "ETIMEOUT"}, "corrections": {}, "time": 1}
            document["status"]["events"].append(event)
        return document

    service.rewrite = behind
    go_on(client, dataset, some, cache)
    before = itertools.takewhile(lambda request: request.startswith("GET "), service.asked)
    assert sum(request.endswith(session) for request in before) == 3, "what it says twice is not all"


def test_a_file_whose_acknowledgement_was_lost_is_not_counted_as_one_that_was_acknowledged(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    """A session counts both, and one that is cancelled drops what it has not ingested yet."""
    stop(service, dataset, some)
    ((_, names),) = left_behind(cache).sessions.items()
    ingested(client, dataset, names)
    late, listed = min(names), 0

    def behind(request: web.Request, document: Any) -> Any:
        nonlocal listed
        if request.path.endswith("/assets") and listed < 2:
            listed += 1
            for item in document["items"]:
                item["filename"] = {late: "lost.png"}.get(item["filename"], item["filename"])
        return document

    service.rewrite = behind
    client.assets.upload(dataset, some, show_progress=False)
    assert late not in whole(service)
    assert listed == 2


def test_a_session_that_expires_while_it_is_resumed_costs_no_file(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some)

    def expire() -> None:
        service.ahead_ms += LONGER_THAN_SESSIONS

    service.at = at_the(1, "/parts/", "POST")(expire)
    go_on(client, dataset, some, cache)


def test_files_whose_urls_expired_get_sessions_of_the_size_allowed(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, tmp_path: Path
) -> None:
    """A machine that slept through the life of its URLs: the files of several sessions are sent again in several."""
    folder = make_files(tmp_path / "slept", 30, large=0)
    slept = threading.Event()

    def sleep() -> None:
        service.ahead_ms += LONGER_THAN_SESSIONS
        slept.set()

    service.at = at_the(1, "/up/")(sleep)
    limits = vi.TransferLimits(max_concurrency=2, session_files=5)
    with service.client(limits=limits, retries=RETRIES) as sleeper:
        result = sleeper.assets.upload(dataset, folder, show_progress=False)
    assert slept.is_set()
    assert result.total_succeeded == 30
    assert stored(client, dataset) == digests(folder)
    assert max(session.status.progressCount.total for session in result.sessions) <= 5
