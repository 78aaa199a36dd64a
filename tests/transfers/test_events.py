"""A transfer that is watched: its events, its result, its failure, and its end by leaving the block."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from vi import TransferProgress

pytestmark = pytest.mark.anyio

Folder = Callable[..., Path]


async def test_events_lead_to_the_result(service: Any, dataset: str, folder: Folder) -> None:
    async with service.async_client() as client:
        async with client.assets.upload_events(dataset, folder(20)) as upload:
            events = [event async for event in upload]
        result = await upload.result()
    assert result.total_succeeded == 20
    assert all(isinstance(event, TransferProgress) for event in events)
    assert events[-1].finished
    assert events[-1].files_done == 20
    assert [e.files_done for e in events] == sorted(e.files_done for e in events)


async def test_the_callers_own_function_is_told_too(service: Any, dataset: str, folder: Folder) -> None:
    told: list[TransferProgress] = []
    async with (
        service.async_client() as client,
        client.assets.upload_events(dataset, folder(3), on_progress=told.append) as upload,
    ):
        seen = [event async for event in upload]
    assert told[-1] is seen[-1]


async def test_a_watcher_that_looks_away_sees_the_last_word(service: Any, dataset: str, folder: Folder) -> None:
    async with service.async_client() as client, client.assets.upload_events(dataset, folder(50)) as upload:
        assert (await upload.result()).total_succeeded == 50
        events = [event async for event in upload]
    assert [event.finished for event in events] == [True]


async def test_a_failure_comes_out_of_the_loop_with_its_result(service: Any, dataset: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    async with service.async_client() as client:
        with pytest.raises(vi.ViUploadError) as caught:  # noqa: PT012
            async with client.assets.upload_events(dataset, tmp_path / "bad.png") as upload:
                async for _ in upload:
                    pass
                pytest.fail("the loop ended well")
        assert caught.value.result.total_failed == 1
        with pytest.raises(vi.ViUploadError):
            await upload.result()


async def test_a_failure_that_nobody_looked_at_is_raised_at_the_end(service: Any, dataset: str) -> None:
    async with service.async_client() as client:
        with pytest.raises(vi.ViPathError):  # noqa: PT012
            async with client.assets.upload_events(dataset, "missing.png") as upload:
                assert upload._task is not None
                await asyncio.wait([upload._task], timeout=60)


async def test_leaving_the_block_cancels_the_transfer(service: Any, dataset: str, folder: Folder) -> None:
    async with service.async_client() as client:
        with service.hold("PUT", "/up/") as hold:
            async with client.assets.upload_events(dataset, folder(3)) as upload:
                async for _ in upload:
                    break
                while not hold.reached.is_set():
                    await asyncio.sleep(0.005)
            assert upload._task is not None
            assert upload._task.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await upload.result()
        cancelled = [seen for seen in service.requests("POST") if seen.path.endswith(":cancel")]
        assert cancelled
        assert await client.assets.count(dataset) == 0


async def test_cancelling_the_watcher_cancels_the_transfer(service: Any, dataset: str, folder: Folder) -> None:
    async with service.async_client() as client:
        upload = client.assets.upload_events(dataset, folder(3))

        async def watch() -> None:
            async with upload:
                async for _ in upload:
                    pass

        with service.hold("PUT", "/up/") as hold:
            watching = asyncio.create_task(watch())
            while not hold.reached.is_set():
                await asyncio.sleep(0.005)
            watching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await watching
            assert upload._task is not None
            assert upload._task.cancelled()


async def test_it_is_started_once_and_by_its_block(service: Any, dataset: str, folder: Folder) -> None:
    async with service.async_client() as client:
        upload = client.assets.upload_events(dataset, folder(1))
        with pytest.raises(vi.ViOperationError, match="async with"):
            await upload.result()
        assert (await upload).total_succeeded == 1
        with pytest.raises(vi.ViOperationError, match="once"):
            await upload


async def test_a_download_is_watched_alike(service: Any, dataset: str, folder: Folder, tmp_path: Path) -> None:
    async with service.async_client() as client:
        await client.assets.upload(dataset, folder(5), show_progress=False)
        async with client.assets.download_events(dataset, tmp_path / "copy") as download:
            events = [event async for event in download]
        assert (await download.result()).total_downloaded == 5
    assert (events[-1].operation, events[-1].files_done) == ("download", 5)


def test_the_sync_form(client: vi.Client, dataset: str, folder: Folder) -> None:
    with client.assets.upload_events(dataset, folder(5)) as upload:
        events = list(upload)
        result = upload.result()
    assert (events[-1].finished, result.total_succeeded) == (True, 5)


def test_leaving_the_sync_block_cancels(service: Any, client: vi.Client, dataset: str, folder: Folder) -> None:
    with service.hold("PUT", "/up/") as hold:
        with client.assets.upload_events(dataset, folder(3)) as upload:
            next(iter(upload))
            assert hold.reached.wait(10)
        assert upload._events._task is not None
        assert upload._events._task.cancelled()
    assert client.assets.count(dataset) == 0


def test_the_parameters_are_those_of_the_call() -> None:
    for name in ("upload", "download"):
        for assets in (
            type(vi.Client("dtvi_" + "k" * 98, "o").assets),
            type(vi.AsyncClient("dtvi_" + "k" * 98, "o").assets),
        ):
            plain, watched = (inspect.signature(getattr(assets, each)) for each in (name, f"{name}_events"))
            assert plain.parameters == watched.parameters
            assert watched.return_annotation == f"TransferEvents[{plain.return_annotation}]"
