"""A counting service, and the calls of `client.assets` in both forms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.counting_service import CountingService, counting, service  # noqa: F401 - fixtures
from tests.support.pictures import tiny

Do = Callable[..., Any]


@pytest.fixture
def client(service: CountingService) -> Iterator[vi.Client]:
    with service.client() as client:
        yield client


@pytest.fixture
def dataset(client: vi.Client) -> str:
    return client.datasets.create(name="synced").dataset_id


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest, service: CountingService) -> Do:
    """Calls a method of `assets` by name, in one form and in the other."""

    def blocking(name: str, *args: Any, **kwargs: Any) -> Any:
        with service.client() as client:
            return getattr(client.assets, name)(*args, **kwargs)

    def waiting(name: str, *args: Any, **kwargs: Any) -> Any:
        async def go() -> Any:
            async with service.async_client() as client:
                return await getattr(client.assets, name)(*args, **kwargs)

        return asyncio.run(go())

    return blocking if request.param == "sync" else waiting


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six tiny files."""
    made = tmp_path / "folder"
    made.mkdir()
    for number in range(6):
        (made / f"{number}.png").write_bytes(tiny(number))
    return made


@pytest.fixture
def both(client: vi.Client, dataset: str, folder: Path, service: CountingService) -> Path:
    """The folder, whose files are all in the dataset too; nothing of that is counted."""
    assert client.assets.upload(dataset, folder, show_progress=False).total_succeeded == 6
    service.reset()
    return folder
