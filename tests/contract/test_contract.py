"""The contract, walked against the local service as it is, and against services that differ on purpose."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
import vi.contract
from tests.contract.conftest import assert_safe
from tests.contract.differences import NEVER_BROKEN, READING, WRITING, groups
from tests.contract.different import Difference, DifferentService
from vi.contract import RULES, Report
from vi.testing import TestedService

Serve = Callable[..., vi.Client]


@pytest.fixture
def serve(service: TestedService) -> Iterator[Serve]:
    """Makes clients of services that differ."""
    open_ones: list[Any] = []

    def start(*differences: Difference, host: str = "127.0.0.1") -> vi.Client:
        proxy = DifferentService(service.url, differences, host)
        client = vi.Client(service.secret_key, service.organization_id, proxy.url, allow_http=True)
        open_ones.extend((client.close, proxy.stop))
        return client

    yield start
    for end in open_ones:
        end()


def differing(report: Report) -> set[str]:
    return {one.rule for one in report.differing()}


def test_each_kind_of_service_keeps_every_rule(each_service: TestedService, each_dataset: str) -> None:
    with each_service.client() as client:
        before = client.datasets.list().items
        report = vi.contract.check(client, each_dataset, write=True)
        assert [one.to_dict() for one in report.findings if one.outcome not in ("holds", "measured")] == [
            one.to_dict() for one in report.findings if one.rule in ("write.expired", "answer.retry_after")
        ]
        assert {one.rule for one in report.findings} == set(RULES)
        assert report.ok
        assert [one.dataset_id for one in client.datasets.list().items] == [one.dataset_id for one in before]


@pytest.mark.anyio
async def test_an_async_client_checks_too(service: TestedService, dataset: str) -> None:
    async with service.async_client() as client:
        report = await vi.contract.check(client)
    assert report.ok
    assert not report.wrote
    assert report.counts()["skipped"] == sum(rule.writes for rule in RULES.values()) + 1


def test_each_rule_can_be_broken() -> None:
    assert {one.rule for one in READING + WRITING} | set(NEVER_BROKEN) | {"write.expired"} == set(RULES)


@pytest.mark.parametrize("group", groups(READING), ids=lambda group: group[0].rule)
def test_a_service_that_answers_otherwise_is_found(group: list[Difference], serve: Serve, dataset: str) -> None:
    client = serve(*group)
    report = vi.contract.check(client, dataset)
    assert {one.rule for one in group} <= differing(report)


@pytest.mark.parametrize("group", groups(WRITING), ids=lambda group: group[0].rule)
def test_a_service_that_writes_otherwise_is_found(group: list[Difference], serve: Serve, dataset: str) -> None:
    client = serve(*group)
    report = vi.contract.check(client, dataset, write=True)
    assert {one.rule for one in group} <= differing(report)
    client_of_the_service_itself = serve()
    vi.contract.check(client_of_the_service_itself, dataset, write=True)  # removes what was left
    assert [one.name for one in client_of_the_service_itself.datasets.list().items] == ["signs"]


@pytest.mark.parametrize("seed", range(3))
def test_twenty_differences_are_found_and_none_ends_the_check(seed: int, serve: Serve, dataset: str) -> None:
    drawn = list(READING)
    random.Random(seed).shuffle(drawn)
    chosen = max(groups(tuple(drawn)), key=len)[:20]
    assert len(chosen) == 20
    client = serve(*chosen)
    report = vi.contract.check(client, dataset)
    assert {one.rule for one in chosen} <= differing(report)


def test_plain_http_to_another_machine_is_a_risk(serve: Serve, dataset: str) -> None:
    report = vi.contract.check(serve(host="0.0.0.0"), dataset)
    (row,) = [one for one in report.findings if one.rule == "answer.tls"]
    assert (row.outcome, row.means) == ("differs", "risk")


def test_a_service_that_is_gone_is_a_report(service: TestedService, dataset: str) -> None:
    proxy = DifferentService(service.url)
    proxy.stop()
    with vi.Client(service.secret_key, service.organization_id, proxy.url, allow_http=True) as client:
        report = vi.contract.check(client, dataset, write=True)
    assert not report.ok
    assert {one.rule for one in report.findings} == set(RULES)


def test_secrets_that_a_service_echoes_are_not_told(serve: Serve, service: TestedService, dataset: str) -> None:
    key = service.secret_key
    letters = max("".join(one if one.isalpha() else " " for one in key).split(), key=len)

    def echo(passing: Any) -> None:
        passing.edit(lambda document: document.update({key: 1, letters: 2, "type": key, "name": 5}))

    client = serve(Difference("dataset.document", "GET", r"/workspaces/[^/]+/datasets/[^/]+", echo))
    report = vi.contract.check(client, dataset)
    assert "dataset.document" in differing(report)
    assert_safe(report, client, letters if len(letters) >= 14 else key)


def test_a_report_is_json_lines_and_a_table(serve: Serve, dataset: str) -> None:
    (one,) = [one for one in READING if one.rule == "download.etag"]
    report = vi.contract.check(serve(one), dataset)
    head, *rows, end = [json.loads(line) for line in report.lines()]
    assert head["vi"] == vi.__version__
    assert {row["rule"] for row in rows} == set(RULES)
    assert end["counts"] == report.counts()
    assert "| download.etag | 11 |" in report.markdown()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"dataset_id": "a b"}, "not a dataset id"), ({"slow": True}, "needs write=True")],
)
def test_wrong_arguments_are_refused(service: TestedService, arguments: dict[str, Any], message: str) -> None:
    with service.client() as client, pytest.raises(vi.ViInvalidParameterError, match=message):
        vi.contract.check(client, **arguments)


def test_an_expired_url_is_waited_for(tmp_path: Path) -> None:
    from vi.server import ServiceConfig

    service = TestedService.start(tmp_path / "data", ServiceConfig(upload_url_seconds=2))
    try:
        with service.client() as client:
            report = vi.contract.check(client, write=True, slow=True)
    finally:
        service.stop()
    (row,) = [one for one in report.findings if one.rule == "write.expired"]
    assert row.outcome == "holds"
