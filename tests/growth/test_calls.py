"""Twice the files cost twice the work, in the client and in the service, whatever is done with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import attrs
import pytest

import vi
from tests.growth.counting import Operations, in_new_threads
from vi.api.resources.datasets.assets.upload import opening
from vi.api.types import PaginationParams
from vi.server import ServiceConfig
from vi.testing import TestedService

FEW, MANY = 250, 500
MOST = 2.1
"""Twice, and what batches add. One line for each pair of files would make it 2.4 and more."""
TIMES = 2
"""How often each is counted. The least counts: the more groups files happen to come in, the more is done for them."""

OF_SERVICE = ("vi-tested-service", "vi-database", "vi-bytes", "asyncio_")
"""How the names of its threads begin."""

Work = Callable[[vi.AsyncClient, str, Path, Path], Awaitable[object]]


@attrs.define
class Counted:
    """What a call took on both sides, by the number of files."""

    client: dict[int, int] = attrs.Factory(dict)
    service: dict[int, int] = attrs.Factory(dict)

    def add(self, count: int, client: int, service: int) -> None:
        """Keep the least that *count* files took."""
        self.client[count] = min(client, self.client.get(count, client))
        self.service[count] = min(service, self.service.get(count, service))

    @property
    def ratios(self) -> tuple[float, float]:
        """How many times the work of few files that of many is, in the client and in the service."""
        return self.client[MANY] / self.client[FEW], self.service[MANY] / self.service[FEW]


async def upload(client: vi.AsyncClient, dataset: str, folder: Path, target: Path) -> None:
    result = await client.assets.upload(dataset, folder, show_progress=False)
    assert result.total_succeeded == len(list(folder.iterdir()))


async def list_all(client: vi.AsyncClient, dataset: str, folder: Path, target: Path) -> None:
    pages = PaginationParams(page_size=20)
    count = 0
    async for page in client.assets.list(dataset, pages):
        count += len(page.items)
    assert count == len(list(folder.iterdir()))


async def plan(client: vi.AsyncClient, dataset: str, folder: Path, target: Path) -> None:
    found = await client.assets.sync(dataset, folder, dry_run=True, show_progress=False)
    assert found.plan is not None


async def upload_again(client: vi.AsyncClient, dataset: str, folder: Path, target: Path) -> None:
    result = await client.assets.upload(dataset, folder, skip_existing=True, show_progress=False)
    assert result.total_existing == len(list(folder.iterdir()))


async def download(client: vi.AsyncClient, dataset: str, folder: Path, target: Path) -> None:
    result = await client.assets.download(dataset, target, show_progress=False)
    assert result.total_downloaded == len(list(folder.iterdir()))


async def verify(client: vi.AsyncClient, dataset: str, folder: Path, target: Path) -> None:
    await client.assets.verify(dataset, target)


CALLS: tuple[Work, ...] = (upload, list_all, plan, upload_again, download, verify)


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[dict[str, Counted]]:
    """Each call made with few files and with twice as many, in one service; a first round warms everything up."""
    found = {call.__name__: Counted() for call in CALLS}
    at_service, at_client = Operations(), Operations()
    with (
        pytest.MonkeyPatch.context() as patch,
        in_new_threads(lambda name: at_service if name.startswith(OF_SERVICE) else at_client),
    ):
        patch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
        patch.setattr(opening, "FIRST_SESSION_FILES", MANY)  # what grows within a session shows in a large one
        # What it does by the clock is no matter of files.
        service = TestedService.start(tmp_path / "data", ServiceConfig(sweep_seconds=3600))
        try:
            for round_, count in enumerate([10, *[FEW, MANY] * TIMES]):
                folder, target = make_pictures(tmp_path / f"{round_}", count), tmp_path / f"{round_}-down"
                with service.client() as client:
                    dataset = client.datasets.create(name=f"{round_}").dataset_id
                for call in CALLS:
                    before = at_client.count, at_service.count
                    with at_client.here():
                        asyncio.run(_run(service, call, dataset, folder, target))
                    found[call.__name__].add(count, at_client.count - before[0], at_service.count - before[1])
            yield found
        finally:
            service.stop()


async def _run(service: TestedService, call: Work, dataset: str, folder: Path, target: Path) -> None:
    async with service.async_client() as client:
        await call(client, dataset, folder, target)


def make_pictures(folder: Path, count: int) -> Path:
    """Make small PNG files, told apart by what follows the picture."""
    from vi._samples import encode

    folder.mkdir()
    picture = encode(1, ".png", (16, 16))
    for number in range(count):
        (folder / f"{number:05}.png").write_bytes(picture + number.to_bytes(4, "big"))
    return folder


def test_twice_the_files_take_twice_the_work_in_the_client_and_in_the_service(counted: dict[str, Counted]) -> None:
    ratios = {name: found.ratios for name, found in counted.items()}
    assert max(max(both) for both in ratios.values()) <= MOST, ratios
