"""``vi-sdk doctor --contract``: rows, exit codes and the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.differences import READING
from tests.contract.different import DifferentService
from vi.cli import main
from vi.contract import RULES
from vi.testing import TestedService


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestedService]:
    started = TestedService.start(tmp_path / "data")
    for name, value in started.environment.items():
        monkeypatch.setenv(name, value)
    yield started
    started.stop()


def test_a_good_service_ends_with_0_and_a_report(
    service: TestedService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--contract", "--write", "--report", str(tmp_path / "contract.jsonl")]) == 0
    told = capsys.readouterr()
    assert "holds" in told.out
    assert "risk" not in told.out
    assert "Contract: " in told.err
    lines = (tmp_path / "contract.jsonl").read_text().splitlines()
    assert {json.loads(line)["rule"] for line in lines[1:-1]} == set(RULES)
    text = (tmp_path / "contract.jsonl").read_text() + (tmp_path / "contract.jsonl.md").read_text()
    for secret in (service.secret_key, service.organization_id):
        assert secret not in text + told.out + told.err


def test_a_risk_ends_with_1(
    service: TestedService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy = DifferentService(service.url, [one for one in READING if one.rule == "refuse.key"])
    monkeypatch.setenv("DATATURE_VI_API_ENDPOINT", proxy.url)
    try:
        assert main(["doctor", "--contract", "--json"]) == 1
    finally:
        proxy.stop()
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["rule"] for row in rows if row["means"] == "risk"] == ["refuse.key"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--write"], "--write needs --contract"),
        (["--report", "x"], "--report needs --contract"),
        (["--contract", "--slow"], "--slow needs --write"),
        (["--contract", "--report", "/nowhere/at/all.jsonl"], "--report /nowhere/at/all.jsonl"),
    ],
)
def test_options_that_do_not_go_together(
    service: TestedService, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *arguments]) == 2
    assert message in capsys.readouterr().err
