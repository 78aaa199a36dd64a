"""The reading checks against recorded answers: the same list, without the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import vi
import vi.contract
from tests.contract.differences import READING
from tests.contract.different import DifferentService
from tests.contract.recording import FOLDER, KEY, ORGANIZATION, RecordedService
from vi.contract import RULES

RECORDINGS = sorted(FOLDER.glob("*.json"))


@pytest.fixture(params=RECORDINGS, ids=lambda path: path.stem)
def recorded(request: pytest.FixtureRequest) -> Iterator[RecordedService]:
    service = RecordedService(request.param)
    yield service
    service.stop()


def check(url: str, dataset: str) -> vi.contract.Report:
    with vi.Client(KEY, ORGANIZATION, url, allow_http=True) as client:
        return vi.contract.check(client, dataset)


def test_recorded_answers_keep_every_rule(recorded: RecordedService) -> None:
    report = check(recorded.url, recorded.dataset_id)
    assert recorded.unknown == []
    reading = {rule for rule, one in RULES.items() if not one.writes} - {"answer.retry_after"}
    assert {one.rule for one in report.findings if one.outcome in ("holds", "measured")} == reading


def test_a_difference_from_a_recording_is_found(recorded: RecordedService) -> None:
    different = [one for one in READING if one.rule in ("download.etag", "refuse.key", "dataset.id")]
    proxy = DifferentService(recorded.url, different)
    try:
        report = check(proxy.url, recorded.dataset_id)
    finally:
        proxy.stop()
    assert {one.rule for one in different} <= {one.rule for one in report.differing()}


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_holds_no_secret(path: Path) -> None:
    text = path.read_text()
    assert "dtvi_" not in text
    assert "ignature" not in text
