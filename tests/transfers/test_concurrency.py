"""Several clients, threads and transfers at a time, each with its own right answer."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import vi


def test_two_clients_and_four_threads_never_get_each_others_answers(
    service: Any, folder: Any, contents: Any, tmp_path: Path
) -> None:
    started = threading.Barrier(4)

    def work(client: vi.Client, number: int) -> None:
        images = folder(12, name=f"images-{number}", seed=number + 1)
        expected = contents(images)
        dataset = client.datasets.create(name=f"worker {number}").dataset_id
        started.wait(20)
        client.assets.upload(dataset, images, custom_metadata={"worker": number})
        assets = list(client.assets.list(dataset).all_items())
        assert {asset.filename: asset.metadata.hash.contents for asset in assets} == expected
        assert {asset.metadata.custom_metadata["worker"] for asset in assets} == {number}
        assert {asset.dataset_id for asset in assets} == {dataset}
        for asset in random.Random(number).sample(assets, 4):
            assert client.assets.get(dataset, asset.asset_id) == asset
        gone = assets[number]
        client.assets.rename(dataset, f"renamed-{number}.png", asset_id=assets[-1].asset_id)
        client.assets.delete(dataset, gone.asset_id)
        assert client.assets.count(dataset) == 11
        client.assets.download(dataset, tmp_path / f"out-{number}")
        arrived = contents(tmp_path / f"out-{number}")
        expected.pop(gone.filename)
        expected[f"renamed-{number}.png"] = expected.pop(assets[-1].filename)
        assert arrived == expected
        assert client.datasets.get(dataset).name == f"worker {number}"

    with service.client() as first, service.client() as second, ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, (first, second)[number % 2], number) for number in range(4)]:
            done.result(60)


@pytest.mark.parametrize("clients", [1, 2], ids=["one client", "two clients"])
def test_two_uploads_of_one_folder_at_once_give_one_asset_per_name(
    service: Any, dataset: str, folder: Any, contents: Any, stored: Any, clients: int
) -> None:
    images = folder(30)
    with service.client() as first, service.client() as second, ThreadPoolExecutor(2) as pool:
        using = [first, second if clients == 2 else first]
        results = list(pool.map(lambda client: client.assets.upload(dataset, images), using))
        assert stored(dataset) == contents(images)
        assert first.assets.count(dataset) == 30
    for result in results:
        assert result.total_succeeded + result.total_existing == result.total_files == 30
        assert result.total_failed == result.total_cancelled == 0


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_downloads_into_one_folder_at_once_both_end_right(
    service: Any, client: vi.Client, dataset: str, folder: Any, contents: Any, tmp_path: Path, overwrite: bool
) -> None:
    images, out = folder(40), tmp_path / "out"
    client.assets.upload(dataset, images)
    with service.client() as other, ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda one: one.assets.download(dataset, out, overwrite=overwrite), [client, other]))
    assert contents(out) == contents(images)
    for result in results:
        assert result.total_failed == result.total_cancelled == result.total_conflicts == 0
        assert result.total_downloaded + result.total_existing == result.total_files == 40


@pytest.mark.anyio
async def test_many_transfers_share_one_client(service: Any, folder: Any, contents: Any, tmp_path: Path) -> None:
    async with service.async_client() as client:

        async def work(number: int) -> None:
            images = folder(6, name=f"images-{number}", seed=number + 1)
            dataset = (await client.datasets.create(name=f"task {number}")).dataset_id
            await client.assets.upload(dataset, images)
            await client.assets.download(dataset, tmp_path / f"out-{number}")
            assert contents(tmp_path / f"out-{number}") == contents(images)

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(work(number))
    assert service.storage_at_once <= client.settings.limits.max_concurrency


def test_uploads_of_different_bytes_under_one_name_leave_one_of_them_whole(
    service: Any, dataset: str, png: Any, stored: Any
) -> None:
    import hashlib

    bodies = [png(number, side=20 + number) for number in range(6)]
    with service.client() as client, ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda body: client.assets.upload(dataset, ("same.png", body)), bodies))
    assert [result.total_succeeded for result in results] == [1] * 6
    assert stored(dataset)["same.png"] in {hashlib.sha256(body).hexdigest() for body in bodies}
