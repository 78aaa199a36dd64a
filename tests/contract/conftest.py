"""The service that the contract is held against, with a dataset of pictures of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import vi
import vi.contract
from vi import _samples
from vi.contract import Report
from vi.testing import TestedService


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    """The service as it comes."""
    started = TestedService.start(tmp_path_factory.mktemp("embedded") / "data")
    yield started
    started.stop()


@pytest.fixture(scope="module", params=["embedded", pytest.param("postgresql", marks=pytest.mark.scale)])
def each_service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    """Each kind of service that must keep the contract."""
    if request.param == "embedded":
        yield request.getfixturevalue("service")
        return
    from vi.server import ServiceConfig

    config = ServiceConfig(database=request.getfixturevalue("postgres").create())
    started = TestedService.start(tmp_path_factory.mktemp(request.param) / "data", config)
    yield started
    started.stop()


def fill(service: TestedService) -> str:
    with service.client() as client:
        dataset_id = client.datasets.create(name="signs").dataset_id
        files = [(f"p{side}.png", _samples.encode(side, ".png", (side, side))) for side in (16, 20, 24, 28, 40)]
        client.assets.upload(dataset_id, files, show_progress=False)
    return dataset_id


@pytest.fixture(scope="module")
def dataset(service: TestedService) -> str:
    return fill(service)


@pytest.fixture(scope="module")
def each_dataset(each_service: TestedService, request: pytest.FixtureRequest) -> str:
    found = each_service is request.getfixturevalue("service")
    return str(request.getfixturevalue("dataset")) if found else fill(each_service)


def assert_safe(report: Report, client: vi.Client, *more: str) -> None:
    """No key, organization, id or signature stands in what a report writes."""
    text = "\n".join(report.lines()) + report.markdown() + report.summary()
    ids = [one.dataset_id for one in client.datasets.list().items]
    ids += [asset.asset_id for one in ids for asset in client.assets.list(one).items]
    for secret in (client.settings.secret_key, client.settings.organization_id, *ids, *more):
        assert secret not in text
        assert secret[4:14] not in text
    assert "X-Signature" not in text
    assert "://" not in text


@pytest.fixture(autouse=True)
def every_report_is_safe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No report of any test here holds a secret of a service that it was made of."""
    names = [one for one in ("service", "each_service") if one in request.fixturenames]
    services = [request.getfixturevalue(name) for name in names]
    made: list[Report] = []

    def keep(*values: Any) -> Report:
        made.append(Report(*values))
        return made[-1]

    monkeypatch.setattr(vi.contract, "Report", keep)
    yield
    for one in services:
        with one.client() as client:
            for report in made:
                assert_safe(report, client)
