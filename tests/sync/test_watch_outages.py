"""Watching a folder while files are half written, watchers end and the service goes away."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import vi
from tests.support.counting_service import digests, stored
from tests.support.pictures import tiny
from tests.support.recorded_service import RecordedService
from vi._transfer import settled
from vi.api.resources.datasets.assets import watching as watching_files
from vi.server import ServiceConfig
from vi.testing import TestedService

pytest.importorskip("watchfiles")


def again(service: RecordedService) -> RecordedService:
    """The same service after an outage."""
    return RecordedService(service.data, port=int(service.url.rpartition(":")[2]))


def drop(folder: Path, number: int) -> None:
    """Write a file in three writes."""
    data = tiny(number)
    for start in range(0, len(data), len(data) // 3 + 1):
        with (folder / f"{number:03}.png").open("ab") as file:
            file.write(data[start : start + len(data) // 3 + 1])


def test_a_file_is_tried_again_after_an_outage(tmp_path: Path, images: Path) -> None:
    service = RecordedService(tmp_path / "data")
    with service.client(retries=0) as client:
        dataset = client.datasets.create(name="watched").dataset_id
        with client.assets.watch(dataset, images, settle=0.1) as watching:
            assert [next(watching).kind for _ in range(4)] == ["stored"] * 4
            service.stop()
            drop(images, 1)
            event = next(watching)
            assert (event.kind, event.filename) == ("retry", "001.png")
            service = again(service)
            assert {event.kind for event in [next(watching)]} <= {"stored"}
        assert stored(client, dataset) == digests(images)
    service.stop()


@pytest.mark.parametrize("status", [None, 503], ids=["cut", "503"])
def test_an_absent_network_uses_up_no_tries_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int | None
) -> None:
    monkeypatch.setattr(settled, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(watching_files, "TRIES", 2)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "1.png").write_bytes(tiny(1))
    code, tries = ("ENETWORK", 3) if status is None else ("EREFUSED", 1)
    puts = 0

    @web.middleware
    async def break_puts(request: web.Request, handler: Any) -> web.StreamResponse:
        nonlocal puts
        puts += request.method == "PUT"
        if request.method != "PUT" or puts > tries:
            answer: web.StreamResponse = await handler(request)
            return answer
        if status is None and request.transport is not None:
            request.transport.abort()
        return web.Response(status=status or 500)

    service = TestedService(tmp_path / "data", ServiceConfig(), middlewares=[break_puts])
    with service.client(retries=0) as client:
        dataset = client.datasets.create(name="watched").dataset_id
        seen: list[tuple[str, str | None]] = []
        with client.assets.watch(dataset, folder, settle=0.1) as watching:
            while not seen or seen[-1][0] == "retry":
                event = next(watching)
                seen.append((event.kind, event.code))
    service.stop()
    assert seen == [("retry", code)] * tries + [("stored", None)]


@pytest.mark.parametrize("half", [40, 3], ids=["taken", "refused"])
@pytest.mark.parametrize("more", [tiny(2), b""], ids=["written", "removed"])
def test_a_file_that_changes_in_hand_is_no_failure(tmp_path: Path, more: bytes, half: int) -> None:
    service = RecordedService(tmp_path / "data")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "1.png").write_bytes(tiny(2)[:half])
    (folder / "2.png").write_bytes(tiny(4))

    async def read() -> list[vi.WatchEvent]:
        async with service.async_client() as client:
            watching = client.assets.watch(dataset, folder, settle=0.1)
            with service.hold("PUT", "/up/") as hold:
                first = asyncio.create_task(watching.next())
                assert await asyncio.to_thread(hold.reached.wait, 30)
                (folder / "1.png").write_bytes(more)
                if not more:
                    (folder / "1.png").unlink()
                drop(folder, 3)
            events = [await first]
            events += [await watching.next() for _ in range(2 if more else 1)]
            watching.stop()
            events += [event async for event in watching]
        return [event for event in events if event]

    with service.client() as client:
        dataset = client.datasets.create(name="watched").dataset_id
        events = asyncio.run(read())
        assert Counter((event.kind, event.filename) for event in events) == Counter(
            [("stored", "2.png"), ("stored", "003.png"), *([("stored", "1.png")] if more else [])]
        )
        held = stored(client, dataset)
        assert {name: held[name] for name in digests(folder)} == digests(folder)
    service.stop()


async def watch_once(service: RecordedService, dataset: str, folder: Path, *, cut: bool) -> RecordedService:
    """Watch until the fourth file is on its way; then the watcher ends, or with *cut* the service goes and returns."""
    async with service.async_client(retries=0) as client:
        watching = client.assets.watch(dataset, folder, settle=0.1)
        with service.hold("PUT", "/up/", after=3) as hold:
            task = asyncio.create_task(watching.next())
            assert await asyncio.to_thread(hold.reached.wait, 30)
            if not cut:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                return service
        stopping = asyncio.create_task(asyncio.to_thread(service.stop))
        kinds = [event.kind for event in [await task] if event]
        await stopping
        drop(folder, 100 + len(list(folder.iterdir())))
        while "retry" not in kinds:
            kinds += [event.kind for event in [await watching.next()] if event]
        service = await asyncio.to_thread(again, service)
        while kinds[-1] != "stored":
            kinds += [event.kind for event in [await watching.next()] if event]
        assert set(kinds) <= {"stored", "retry"}
        await watching.aclose()
    return service


def test_watchers_end_and_the_service_goes_and_each_file_is_stored_once(tmp_path: Path) -> None:
    service = RecordedService(tmp_path / "data")
    folder = tmp_path / "folder"
    folder.mkdir()
    with service.client() as client:
        dataset = client.datasets.create(name="watched").dataset_id
    for number in range(5):
        for one in range(8):
            drop(folder, 8 * number + one)
        service = asyncio.run(watch_once(service, dataset, folder, cut=number in (1, 3)))
    there = digests(folder)
    assert len(there) == 42
    with service.client() as client:
        with client.assets.watch(dataset, folder, settle=0.1) as watching:
            events = [next(watching) for _ in there]
        assert {event.kind for event in events} == {"stored"}
        assert sorted(event.filename for event in events) == sorted(there)
        assert stored(client, dataset) == there
    service.stop()
