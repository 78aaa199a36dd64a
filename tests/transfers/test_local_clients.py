"""Several clients of one folder: whoever runs the service may end first, and the others' next requests work."""

from __future__ import annotations

import asyncio
import copy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vi
from vi.server import serve

OWNER = """
import sys, vi
client = vi.Client.local(sys.argv[1])
print(client.datasets.create(name="kept").dataset_id, flush=True)
sys.stdin.read()
"""


def local(folder: Path, **more: Any) -> vi.Client:
    return vi.Client.local(folder / "data", **more)


@pytest.mark.parametrize("retries", [None, 0])
def test_the_next_request_of_a_joined_client_works_after_the_owner_has_closed(
    tmp_path: Path, folder: Any, retries: int | None
) -> None:
    owner = local(tmp_path)
    with local(tmp_path, retries=retries) as joined, local(tmp_path, retries=retries) as third:
        dataset = owner.datasets.create(name="kept").dataset_id
        assert joined.assets.upload(dataset, folder(3)).total_succeeded == 3  # its connections are open
        address = joined.settings.endpoint
        owner.close()
        assert joined.assets.count(dataset) == third.assets.count(dataset) == 3
        assert joined.settings.endpoint == third.settings.endpoint == address
        joined.close()
        assert third.assets.count(dataset) == 3
        with local(tmp_path) as fresh:
            assert fresh.settings.endpoint == address
            with pytest.raises(vi.ViOperationError, match="closed"):
                joined.assets.count(dataset)


def test_a_joined_client_follows_the_next_owner_to_another_address(tmp_path: Path) -> None:
    first = local(tmp_path)
    with local(tmp_path) as joined:
        dataset = first.datasets.create(name="kept").dataset_id
        first.close()
        with local(tmp_path) as second:
            assert joined.datasets.get(dataset).name == "kept"
            assert joined.settings.endpoint == second.settings.endpoint
            assert second.settings.endpoint in repr(joined)


def test_the_service_of_a_killed_owner_is_started_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path / "data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        dataset = owner.stdout.readline().strip()
        with local(tmp_path) as joined:
            assert joined.datasets.get(dataset).name == "kept"
            owner.kill()
            owner.wait()
            assert joined.datasets.get(dataset).name == "kept"


@pytest.mark.anyio
async def test_files_on_their_way_arrive_although_the_owner_closes(tmp_path: Path, folder: Any) -> None:
    owner = await vi.AsyncClient.local(tmp_path / "data")
    closing: list[asyncio.Task[None]] = []

    def close_owner(progress: vi.TransferProgress) -> None:
        if not closing and progress.files_done >= 5:
            closing.append(asyncio.create_task(owner.aclose()))

    async with vi.AsyncClient.local(tmp_path / "data") as joined:
        dataset = (await joined.datasets.create(name="kept")).dataset_id
        result = await joined.assets.upload(dataset, folder(60), on_progress=close_owner)
        assert closing
        await closing[0]
        assert (result.total_succeeded, result.total_failed) == (60, 0)
        several = await asyncio.gather(*(joined.assets.count(dataset) for _ in range(20)))
        assert set(several) == {60}


@pytest.mark.anyio
async def test_a_service_that_others_end_and_start_is_followed_but_not_started(tmp_path: Path) -> None:
    once = vi.RetryPolicy(max_attempts=1)
    service = await serve(tmp_path / "data")
    async with vi.AsyncClient.local(tmp_path / "data", retries=once) as joined:
        dataset = (await joined.datasets.create(name="kept")).dataset_id
        await service.aclose()
        with pytest.raises(vi.ViNetworkError):
            await joined.datasets.get(dataset)
        async with await serve(tmp_path / "data") as again:
            assert (await joined.datasets.get(dataset)).name == "kept"
            assert joined.settings.endpoint == again.url


@pytest.mark.anyio
async def test_a_copy_of_a_client_starts_no_service(tmp_path: Path) -> None:
    once = vi.RetryPolicy(max_attempts=1)
    owner = await vi.AsyncClient.local(tmp_path / "data", retries=once)
    async with copy.copy(owner) as copied:
        dataset = (await copied.datasets.create(name="kept")).dataset_id
        await owner.aclose()
        with pytest.raises(vi.ViNetworkError):
            await copied.datasets.get(dataset)
        async with vi.AsyncClient.local(tmp_path / "data") as second:
            assert (await copied.datasets.get(dataset)).name == "kept"
            assert copied.settings.endpoint == second.settings.endpoint


@pytest.mark.anyio
@pytest.mark.parametrize("turns", [1, 5, 100])
async def test_a_client_that_is_closed_while_it_starts_the_service_leaves_none(tmp_path: Path, turns: int) -> None:
    owner = await vi.AsyncClient.local(tmp_path / "data")
    joined = await vi.AsyncClient.local(tmp_path / "data")
    await owner.aclose()
    asking = asyncio.ensure_future(joined.datasets.get("any"))
    for _ in range(turns):
        await asyncio.sleep(0)
    await joined.aclose()
    await asyncio.gather(asking, return_exceptions=True)
    async with await serve(tmp_path / "data") as free:
        assert free.owned


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    owner = local(tmp_path)
    with local(tmp_path) as joined:
        owner.close()
        shutil.rmtree(tmp_path / "data")
        with pytest.raises(vi.ViNetworkError, match=r"cannot be started again here\. The folder .*data is gone"):
            joined.datasets.list()
        assert not (tmp_path / "data").exists()
