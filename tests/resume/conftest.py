"""A counting service for all tests of this folder, and a journal folder for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import vi
from tests.support.counting_service import CountingService, counting, make_files, service  # noqa: F401 - fixtures


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's journals are."""
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def client(service: CountingService, cache: Path) -> Iterator[vi.Client]:
    with service.client() as client:
        # Its calls from a test's own loop are short, and meant.
        client._loop_thread._warned = True
        yield client


@pytest.fixture
def dataset(client: vi.Client) -> str:
    return client.datasets.create(name="resumed").dataset_id


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two thousand tiny files with two large ones among them; shared, so only to be read."""
    return make_files(tmp_path_factory.mktemp("many") / "files", 2000, large=2)


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """Forty tiny files and a large one, for the test alone."""
    return make_files(tmp_path / "some", 40)
