"""The pytest plugin: a local service, clients of it, a dataset, small images, and faults on demand.

Installed with the package and loaded by pytest as ``vi``; nothing is imported or started before a test uses a fixture.
The service keeps its data in the session's temporary folder, one for each worker of pytest-xdist. ``vi_async_client``
needs a plugin that runs async tests: anyio's, with ``anyio_backend`` set to ``"asyncio"``, or pytest-asyncio in its
auto mode.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..api.resources.datasets.responses import Dataset
    from ..client import AsyncClient, Client
    from .faults import Fault, Faults
    from .images import ImageFactory
    from .service import TestedService

__all__ = ["Fault", "Faults", "ImageFactory", "TestedService"]

_running: list[TestedService] = []


_HOMES = {"Fault": "faults", "Faults": "faults", "ImageFactory": "images", "TestedService": "service"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


@pytest.fixture(scope="session")
def vi_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    """A local service for the session; `vi_service.faults` makes it fail on demand, until the test ends."""
    from .service import TestedService

    folder = tmp_path_factory.mktemp("vi")
    with pytest.MonkeyPatch.context() as patch:
        # Uploads keep a journal, which does not belong in the user's own cache.
        patch.setenv("VI_CACHE_DIR", str(folder / "cache"))
        service = TestedService.start(folder / "data")
        _running.append(service)
        try:
            yield service
        finally:
            _running.remove(service)
            service.stop()


def pytest_runtest_teardown() -> None:
    for service in _running:
        service.faults.clear()


@pytest.fixture
def vi_client(vi_service: TestedService) -> Iterator[Client]:
    """A client of `vi_service`, closed after the test."""
    with vi_service.client() as client:
        yield client


@pytest.fixture
async def vi_async_client(vi_service: TestedService) -> AsyncIterator[AsyncClient]:
    """An async client of `vi_service`, closed after the test."""
    async with vi_service.async_client() as client:
        yield client


@pytest.fixture
def vi_dataset(vi_service: TestedService, request: pytest.FixtureRequest) -> Dataset:
    """An empty dataset of `vi_service`, private to this test."""
    with vi_service.client() as client:
        return client.datasets.create(name=request.node.name[:100])


@pytest.fixture
def vi_images(tmp_path: Path) -> ImageFactory:
    """Makes small valid images: ``vi_images()`` is a folder with one of every format."""
    from .images import ImageFactory

    return ImageFactory(tmp_path)
