"""Waiting for sessions, giving up on them, and what a stopped transfer leaves behind."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

import vi
from vi import TransferLimits, _samples


def test_an_upload_need_not_be_waited_for(client: vi.Client, dataset: str, folder: Any) -> None:
    result = client.assets.upload(dataset, folder(5), wait_until_done=False)
    assert (result.total_succeeded, len(result.session_ids)) == (5, 1)
    session = client.assets.wait_until_done(dataset, result.session_ids[0])
    assert (session.status.progressCount.succeeded, session.status.progressCount.errored) == (5, 0)
    assert session.status.finished
    assert client.assets.count(dataset) == 5


def test_waiting_returns_a_failed_session_with_its_errors(client: vi.Client, dataset: str, folder: Any) -> None:
    images = folder(1)
    (images / "broken.png").write_bytes((images / "image-000.png").read_bytes()[:40])
    result = client.assets.upload(dataset, images / "broken.png", wait_until_done=False)
    session = client.assets.wait_until_done(dataset, result.session_ids[0])
    assert session.status.failed
    assert session.status.errors == {"broken.png": "ECORRUPT"}


def test_waiting_ends_with_the_timeout_and_the_session_as_last_seen(
    client: vi.Client, service: Any, dataset: str, folder: Any
) -> None:
    with service.hold("PUT", "/up/", after=2) as hold:
        thread = threading.Thread(target=client.assets.upload, args=(dataset, folder(3)))
        thread.start()
        assert hold.reached.wait(10)
        with service.client() as other:
            session_id = other_session(other, dataset)
            began = time.monotonic()
            with pytest.raises(vi.ViTimeoutError) as raised:
                other.assets.wait_until_done(dataset, session_id, timeout=0.5)
            assert 0.4 < time.monotonic() - began < 2
        hold.release()
        thread.join(20)
    assert raised.value.session.status.progressCount.total == 3
    assert isinstance(raised.value, TimeoutError)


def other_session(client: vi.Client, dataset: str) -> str:
    """Ask for the id of the only session of a dataset, as no method of the client tells it."""
    from vi import _routes

    organization = client.settings.organization_id
    path = _routes.fill(
        _routes.SESSIONS, org=organization, dataset=_routes.composite(organization, dataset), **_routes.MANAGED_SOURCE
    )
    document = client.assets._run(lambda: client.assets._resource._http.document("GET", path))
    return str(document["items"][0]["assetIngestionSessionId"])


def test_cancelling_a_session_ends_the_upload_that_uses_it(
    client: vi.Client, service: Any, dataset: str, folder: Any, stored: Any
) -> None:
    results: list[Any] = []
    with service.hold("PUT", "/up/", after=2) as hold:
        thread = threading.Thread(
            target=lambda: results.append(client.assets.upload(dataset, folder(5), failure_mode="FailAfterAll"))
        )
        thread.start()
        assert hold.reached.wait(10)
        with service.client() as other:
            session = other.assets.cancel(dataset, other_session(other, dataset))
            assert session.status.failed
            again = other.assets.cancel(dataset, session.asset_ingestion_session_id)
            assert again.status.reason == session.status.reason == "Cancelled"
        hold.release()
        thread.join(20)
    (result,) = results
    assert result.total_failed == 0
    assert result.total_succeeded + result.total_cancelled == 5
    assert result.total_cancelled >= 3
    assert set(stored(dataset)).isdisjoint(entry.filename for entry in result.cancelled)
    assert len(stored(dataset)) == result.total_succeeded


def test_a_session_that_another_hand_ends_is_an_error_by_default(
    client: vi.Client, service: Any, dataset: str, folder: Any
) -> None:
    def cancel() -> None:
        assert hold.reached.wait(10)
        with service.client() as other:
            other.assets.cancel(dataset, other_session(other, dataset))
        hold.release()

    with service.hold("PUT", "/up/") as hold:
        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(vi.ViUploadError, match="0 of 2 files were stored") as raised:
            client.assets.upload(dataset, folder(2))
        thread.join()
    assert (raised.value.result.total_cancelled, raised.value.result.total_failed) == (2, 0)
    assert raised.value.error_code == "ECANCELLED"


@pytest.mark.parametrize("move", ["upload", "download"])
def test_a_timeout_ends_a_transfer_in_time_and_says_how_far_it_came(
    client: vi.Client, service: Any, dataset: str, folder: Any, tmp_path: Path, move: str, stored: Any
) -> None:
    images = folder(5)
    if move == "download":
        client.assets.upload(dataset, images)
    call = getattr(client.assets, move)
    with service.hold("PUT" if move == "upload" else "GET", "/up/" if move == "upload" else "/dl/", after=2):
        began = time.monotonic()
        with pytest.raises(vi.ViTimeoutError, match="1 s") as raised:
            call(dataset, images if move == "upload" else tmp_path / "out", timeout=1)
        assert 0.9 < time.monotonic() - began < 3.5
    result = raised.value.result
    assert raised.value.__cause__ is None
    assert "Make the same call again" in str(raised.value)
    if move == "upload":
        assert (result.total_succeeded, result.total_cancelled) == (2, 3)
        assert len(stored(dataset)) == 2
        assert not service.requests("POST", ":cancel"), "the next run has the session"
    else:
        assert (result.total_downloaded, result.total_cancelled) == (2, 3)
        assert len(list((tmp_path / "out").iterdir())) == 2


def test_an_upload_that_was_stopped_can_be_made_again(
    client: vi.Client, service: Any, dataset: str, folder: Any, stored: Any, contents: Any
) -> None:
    images = folder(6)
    with service.hold("PUT", "/up/", after=3), pytest.raises(vi.ViTimeoutError):
        client.assets.upload(dataset, images, timeout=0.7)
    result = client.assets.upload(dataset, images)
    assert result.total_succeeded + result.total_existing == 6
    assert stored(dataset) == contents(images)


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["task.cancel", "move_on_after"])
@pytest.mark.parametrize("move", ["upload", "download", "wait"])
async def test_cancelling_returns_within_two_seconds_and_leaves_the_session_to_the_next_run(
    async_client: vi.AsyncClient, service: Any, dataset: str, folder: Any, tmp_path: Path, how: str, move: str
) -> None:
    images = folder(5)
    if move == "download":
        await async_client.assets.upload(dataset, images)
    service.forget()

    async def work() -> None:
        if move == "download":
            await async_client.assets.download(dataset, tmp_path / "out")
        else:
            await async_client.assets.upload(dataset, images, max_concurrency=1)

    held = {"upload": ("PUT", "/up/"), "download": ("GET", "/dl/"), "wait": ("PUT", "/up/")}[move]
    with service.hold(*held, after=2) as hold:
        if how == "task.cancel":
            task = asyncio.create_task(work())
            assert await asyncio.to_thread(hold.reached.wait, 10)
            began = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(work)
                    assert await asyncio.to_thread(hold.reached.wait, 10)
                    began = time.monotonic()
                    scope.cancel()
            assert scope.cancelled_caught
        assert time.monotonic() - began < 2
    if move != "download":
        assert not service.requests("POST", ":cancel")
        service.forget()
        result = await async_client.assets.upload(dataset, images)
        assert (result.total_succeeded, result.total_existing) == (3, 2)
        assert len(service.requests("PUT")) == 3
    else:
        assert all(path.suffix == ".png" for path in (tmp_path / "out").iterdir())


@pytest.mark.anyio
@pytest.mark.parametrize("case", ["in memory", "nothing was sent"])
async def test_a_session_of_no_use_to_another_run_is_cancelled(
    async_client: vi.AsyncClient, service: Any, dataset: str, folder: Any, case: str
) -> None:
    images = folder(5)
    service.forget()
    paths: Any = [(path.name, path.read_bytes()) for path in images.iterdir()] if case == "in memory" else images
    with service.hold("PUT", "/up/", after=2 if case == "in memory" else 0) as hold:
        task = asyncio.create_task(async_client.assets.upload(dataset, paths))
        assert await asyncio.to_thread(hold.reached.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [seen.status for seen in service.requests("POST", ":cancel")] == [200]


@pytest.mark.parametrize("given", [0, -1, float("nan"), True, "5"], ids=repr)
@pytest.mark.parametrize("method", ["upload", "download", "wait_until_done", "delete_many"])
def test_a_timeout_must_be_seconds(
    client: vi.Client, service: Any, dataset: str, folder: Any, tmp_path: Path, method: str, given: Any
) -> None:
    arguments: dict[str, Any] = {
        "upload": {"paths": folder(1)},
        "download": {"save_dir": tmp_path / "out"},
        "wait_until_done": {"asset_ingestion_session_id": "s1"},
        "delete_many": {"all": True},
    }[method]
    with pytest.raises(vi.ViInvalidParameterError) as raised:
        getattr(client.assets, method)(dataset, **arguments, timeout=given)
    assert raised.value.parameter == "timeout"
    assert service.requests() == []


def test_a_transfer_does_not_wait_for_another_one_that_hangs(
    service: Any, dataset: str, folder: Any, stored: Any
) -> None:
    limits = TransferLimits(max_concurrency=4)
    with service.client(limits=limits) as client, service.hold("PUT", "/image-001.png") as hold:
        thread = threading.Thread(target=client.assets.upload, args=(dataset, folder(2)))
        thread.start()
        assert hold.reached.wait(10)
        client.assets.upload(dataset, folder(names=["other.png"], name="others"))
        assert "other.png" in stored(dataset)
        hold.release()
        thread.join(20)
    assert len(stored(dataset)) == 3


def test_a_small_upload_does_not_wait_for_a_large_one(client: vi.Client, dataset: str, folder: Any) -> None:
    large = _samples.encode(3, ".png", (1200, 1200))
    other = client.datasets.create(name="other").dataset_id
    queued = client.assets.upload(
        other, [(f"large-{number:03d}.png", large) for number in range(200)], wait_until_done=False
    )
    assert client.assets.upload(dataset, folder(1)).total_succeeded == 1
    assert client.assets.count(other) < 200
    for session_id in queued.session_ids:
        client.assets.wait_until_done(other, session_id)
    assert client.assets.count(other) == 200
