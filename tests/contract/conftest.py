"""The service that the contract is held against, with a dataset of pictures of several sizes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vi import _samples
from vi.testing import TestedService


@pytest.fixture(scope="module", params=["embedded"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    """Each kind of service that must keep the contract."""
    started = TestedService.start(tmp_path_factory.mktemp(request.param) / "data")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def dataset(service: TestedService) -> str:
    with service.client() as client:
        dataset_id = client.datasets.create(name="signs").dataset_id
        files = [(f"p{side}.png", _samples.encode(side, ".png", (side, side))) for side in (16, 20, 24, 28, 40)]
        client.assets.upload(dataset_id, files, show_progress=False)
    return dataset_id
