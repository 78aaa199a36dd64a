"""What a run that ended early leaves to the next one, and what the next one does not take on trust."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import vi
import vi.transfers
from tests.resume.stage import (
    PART_BYTES,
    RETRIES,
    CountingService,
    digests,
    journals,
    left_behind,
    make_files,
    other_content,
    picture,
    stored,
)
from vi import _checksums
from vi._transfer.plan import parts
from vi.api.resources.datasets.assets import resumption

SCRIPT = Path(__file__).with_name("upload.py")
ROOT = Path(__file__).parents[2]
PARTS = 12
"""Of the large file that `some` holds."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are said to be acknowledged and never come are not waited for long."""
    monkeypatch.setattr(resumption, "INGESTION_PATIENCE", 0.5)


def at_the(
    count: int, part: str, method: str = "PUT"
) -> Callable[[Callable[[], Any]], Callable[[int, web.Request], None]]:
    """A hook that calls once, at the *count*-th request of *method* with *part* in its path."""

    def make(call: Callable[[], Any]) -> Callable[[int, web.Request], None]:
        left = [count]

        def hook(number: int, request: web.Request) -> None:
            if request.method == method and part in request.path:
                left[0] -= 1
                if not left[0]:
                    call()

        return hook

    return make


async def cancelled(
    service: CountingService, dataset: str, folder: Path, count: int, part: str, **settings: Any
) -> None:
    """Upload, cancelled when the *count*-th answer to a PUT of *part* has been made."""
    loop = asyncio.get_running_loop()
    async with service.async_client(**settings) as client:
        task = asyncio.create_task(client.assets.upload(dataset, folder, show_progress=False))
        service.after = at_the(count, part)(lambda: loop.call_soon_threadsafe(task.cancel))
        with pytest.raises(asyncio.CancelledError):
            await task
    service.after = lambda number, request: None


def stop(
    service: CountingService, dataset: str, folder: Path, count: int = 5, part: str = "/part/", **settings: Any
) -> None:
    """End an upload of *folder* early, and start counting anew."""
    asyncio.run(cancelled(service, dataset, folder, count, part, **settings))
    service.reset()


def go_on(client: vi.Client, dataset: str, folder: Path, cache: Path) -> vi.AssetUploadResult:
    """The same call again; whatever happened, it leaves the dataset like the folder and no journal."""
    result = client.assets.upload(dataset, folder, show_progress=False)
    assert result.total_succeeded + result.total_existing == len([*folder.iterdir()]), result.summary()
    assert stored(client, dataset) == digests(folder)
    assert not journals(cache)
    return result


def ingested(client: vi.Client, dataset: str, names: Collection[str]) -> None:
    """Wait until the dataset holds the files of these *names*: what was acknowledged need not be ingested yet."""
    deadline = time.monotonic() + 60
    while missing := set(names) - stored(client, dataset).keys():
        assert time.monotonic() < deadline, missing
        time.sleep(0.02)


def whole(service: CountingService) -> set[str]:
    """The names of the files that came in one PUT."""
    return {put.name for put in service.puts if "/" not in put.name}


def in_parts(service: CountingService) -> set[str]:
    """The uploads and numbers of the parts that came."""
    return {put.name for put in service.puts if "/" in put.name}


# An early end


def test_cancelled_in_a_large_file_it_goes_on_with_its_parts(
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


def test_interrupted_by_the_user_it_goes_on(
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
    few = vi.RetryPolicy(max_attempts=2, backoff=0.01, backoff_max=0.02, connect_patience=0.2)
    with service.client(retries=few) as failing, pytest.raises(vi.errors.ViError) as caught:
        failing.assets.upload(dataset, some, show_progress=False)
    service.reset()
    left = left_behind(cache)
    assert len(left.multiparts) == 1, (caught.value, caught.value.result)
    (upload,) = left.multiparts.values()
    assert len(upload.parts) >= 3
    go_on(client, dataset, some, cache)
    assert not in_parts(service) & {f"{upload.upload_id}/{number}" for number in upload.parts}


def test_after_a_failed_file_the_same_call_sends_that_one(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    broken = some / "broken.png"
    broken.write_bytes(picture(7)[:-20])
    result = client.assets.upload(dataset, some, failure_mode="FailAfterAll", show_progress=False)
    assert result.failed_files == [str(broken)]
    assert vi.transfers.unfinished()
    service.reset()
    broken.write_bytes(picture(7))
    go_on(client, dataset, some, cache)
    assert whole(service) == {"broken.png"}
    assert not in_parts(service)


def test_another_folder_in_between_costs_nothing(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path, tmp_path: Path
) -> None:
    stop(service, dataset, some)
    left = left_behind(cache)
    (upload,) = left.multiparts.values()
    other = tmp_path / "other"
    other.mkdir()
    (other / "other.png").write_bytes(picture(777))
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
        (some / name).write_bytes(picture(12345, side=5))
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
    service.ahead_ms += 16 * 60_000
    result = go_on(client, dataset, some, cache)
    assert not whole(service) & left.sent.keys()
    assert len(in_parts(service)) == PARTS
    assert result.total_existing == len(left.sent)
    assert not service.open_sessions(dataset)


def test_a_session_that_expires_while_it_is_gone_on_with_costs_no_file(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some)

    def expire() -> None:
        service.ahead_ms += 16 * 60_000

    service.at = at_the(1, "/parts/", "POST")(expire)
    go_on(client, dataset, some, cache)


# A journal that is wrong


def append(cache: Path, *lines: dict[str, Any]) -> None:
    (path,) = journals(cache)
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, _checksums.crc32c_of_file(path)]


def test_files_that_it_says_were_sent_and_the_service_does_not_have_are_sent(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    asyncio.run(cancelled(service, dataset, some, 3, "/up/", limits=vi.TransferLimits(max_concurrency=1)))
    arrived = whole(service)  # the last of them without the client's knowledge
    service.reset()
    left = left_behind(cache)
    missing = sorted(path.name for path in some.glob("*.png") if path.name not in left.sent.keys() | arrived)
    assert len(missing) > 20
    session = next(iter(left.sessions), "s404")
    append(cache, *({"sent": name, "in": "", "id": identity(some / name)} for name in missing[::2]))
    append(cache, *({"sent": name, "in": session, "id": identity(some / name)} for name in missing[1::2]))
    go_on(client, dataset, some, cache)
    assert set(missing) <= whole(service)


def test_a_file_that_does_not_come_in_an_open_session_is_not_waited_for_long(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path, impatient: None
) -> None:
    stop(service, dataset, some)
    (session,) = left_behind(cache).sessions
    (some / "late.png").write_bytes(picture(4321))
    append(cache, {"sent": "late.png", "in": session, "id": identity(some / "late.png")})
    go_on(client, dataset, some, cache)
    assert "late.png" in whole(service)


def test_sessions_that_never_were_are_passed_over(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some)
    append(cache, {"session": "s404"}, {"session": "../../../workspaces"}, {"session": "."}, {"session": 7})
    go_on(client, dataset, some, cache)


def part_count(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        if "multipart" in line:
            line["parts"] = 7


def wrong_checksum(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        if "part" in line:
            line["crc"] ^= 1


def unknown_upload(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        for field in ("multipart", "of"):
            if field in line:
                line[field] = "m404"


def too_many_parts(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        if "multipart" in line:
            line["parts"] = 999_999


@pytest.mark.parametrize("lie", [part_count, wrong_checksum, unknown_upload, too_many_parts])
def test_a_multipart_upload_that_is_not_as_it_says_starts_over(
    service: CountingService,
    client: vi.Client,
    dataset: str,
    cache: Path,
    some: Path,
    lie: Callable[[list[dict[str, Any]]], None],
) -> None:
    stop(service, dataset, some)
    (path,) = journals(cache)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lie(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = go_on(client, dataset, some, cache)
    assert any(put.name.endswith("/1") and put.size <= PART_BYTES for put in service.puts)
    assert not result.failures


def test_parts_that_it_says_are_there_and_the_service_lacks_are_sent(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    """Told apart by the checksum of the whole, and by the service's refusal to join them."""
    stop(service, dataset, some)
    (upload,) = left_behind(cache).multiparts.values()
    data = (some / upload.filename).read_bytes()
    append(
        cache,
        *(
            {"part": part.number, "of": upload.upload_id, "crc": _checksums.crc32c(data[part.start : part.end])}
            for part in parts(len(data), PARTS)
        ),
    )
    go_on(client, dataset, some, cache)
    assert in_parts(service)


# Where the journal is


def test_without_a_place_for_it_the_upload_works_and_says_so_once(
    service: CountingService,
    client: vi.Client,
    dataset: str,
    tmp_path: Path,
    some: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, logger="vi"):
        result = client.assets.upload(dataset, some, show_progress=False)
    assert result.total_succeeded == 41
    assert [record.getMessage() for record in caplog.records] == [
        "No journal can be kept (Not a directory): a run that dies will be repeated in full"
    ]


def test_it_holds_no_url_and_no_key(service: CountingService, dataset: str, cache: Path, some: Path) -> None:
    stop(service, dataset, some)
    (path,) = journals(cache)
    text = path.read_text()
    assert service.environment["DATATURE_VI_SECRET_KEY"] not in text
    assert "dtvi_" not in text
    assert "Signature" not in text
    head, *lines = text.splitlines()
    assert "://" in head, "the endpoint"
    assert not any("://" in line or "/up/" in line for line in lines)


def test_what_is_unfinished_is_listed_and_can_be_forgotten(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, some: Path
) -> None:
    stop(service, dataset, some)
    (found,) = vi.transfers.unfinished()
    assert (found.dataset_id, found.running, found.multipart_uploads) == (dataset, False, 1)
    assert found.files_sent == len(left_behind(cache).sent)
    assert vi.transfers.forget(found.id)
    assert go_on(client, dataset, some, cache).total_existing == 0


def test_files_whose_urls_expired_get_sessions_of_the_size_allowed(
    service: CountingService, client: vi.Client, dataset: str, cache: Path, tmp_path: Path
) -> None:
    """A machine that slept through the life of its URLs: the files of several sessions are sent again in several."""
    folder = make_files(tmp_path / "slept", 30, large=0)
    slept = threading.Event()

    def sleep() -> None:
        service.ahead_ms += 16 * 60_000
        slept.set()

    service.at = at_the(1, "/up/")(sleep)
    limits = vi.TransferLimits(max_concurrency=2, session_files=5)
    with service.client(limits=limits, retries=RETRIES) as sleeper:
        result = sleeper.assets.upload(dataset, folder, show_progress=False)
    assert slept.is_set()
    assert result.total_succeeded == 30
    assert stored(client, dataset) == digests(folder)
    assert max(session.status.progressCount.total for session in result.sessions) <= 5
