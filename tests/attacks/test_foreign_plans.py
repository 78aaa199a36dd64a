"""Row A7: a plan of somebody else, or of another place, touches nothing outside the folder of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.attacks.victims import untouched, victim  # noqa: F401 - a fixture
from tests.cli.conftest import filled, home, run, samples  # noqa: F401 - fixtures
from tests.cli.outcomes import Outcome

Run = Callable[..., Outcome]


def edit(plan: Path, change: Callable[[dict[str, Any]], None], *, head: bool = False) -> None:
    """Change the head of a saved plan, or each of its entries."""
    first, *rest = map(json.loads, plan.read_text().splitlines())
    for line in [first] if head else rest:
        change(line)
    plan.write_text("".join(json.dumps(line) + "\n" for line in [first, *rest]))


@pytest.mark.parametrize("verb", [["download"], ["sync", "--direction", "down", "--delete"]])
def test_A7_a_plan_for_another_folder_is_refused(
    run: Run, filled: str, home: Path, victim: Path, verb: list[str]
) -> None:
    name, *options = verb
    extra = ["--overwrite"] if name == "download" else []
    assert run("assets", name, filled, str(victim), *options, *extra, "--plan", "p.jsonl").code == 0
    applied = [option for option in options if option != "--delete"] + (["--yes"] if name == "sync" else [])
    refused = run("assets", name, filled, "copy", *applied, "--apply", "p.jsonl")
    assert refused.code == 2
    assert "p.jsonl is a plan for the folder" in refused.err
    assert untouched(victim)
    assert not (home / "copy").exists()


@pytest.mark.parametrize(
    "place", ["../victim/bridge.png", "{victim}/bridge.png", "copy/../../victim/bridge.png", "link/bridge.png"]
)
def test_A7_an_entry_outside_of_the_folder_is_refused(
    run: Run, filled: str, home: Path, victim: Path, place: str
) -> None:
    (home / "link").symlink_to(victim)
    assert run("assets", "download", filled, "copy", "--plan", "p.jsonl").code == 0
    edit(home / "p.jsonl", lambda entry: entry.update(path=place.format(victim=victim)))
    refused = run("assets", "download", filled, "copy", "--apply", "p.jsonl")
    assert (refused.code, "which is not below copy" in refused.err) == (2, True)
    assert untouched(victim)


def test_A7_an_upload_sends_nothing_from_outside(
    run: Run, dataset: str, client: vi.Client, home: Path, victim: Path
) -> None:
    assert run("assets", "upload", dataset, "images", "--plan", "p.jsonl").code == 0
    edit(home / "p.jsonl", lambda entry: entry.update(path=str(victim / "holiday.jpg"), size=8))
    refused = run("assets", "upload", dataset, "--apply", "p.jsonl")
    assert (refused.code, "name its folder" in refused.err) == (2, True)
    assert client.assets.count(dataset) == 0


def test_A7_a_named_folder_may_be_anywhere(run: Run, dataset: str, client: vi.Client, home: Path) -> None:
    elsewhere = home.parent / "elsewhere"
    (home / "images").rename(elsewhere)
    assert run("assets", "upload", dataset, str(elsewhere), "--plan", "p.jsonl").code == 0
    assert run("assets", "upload", dataset, "--apply", "p.jsonl").code == 2
    assert run("assets", "upload", dataset, str(elsewhere), "--apply", "p.jsonl").code == 0
    assert client.assets.count(dataset) == 4


def test_A7_what_is_there_is_not_replaced_unless_asked(run: Run, filled: str, home: Path) -> None:
    (home / "copy").mkdir()
    (home / "copy" / "bridge.png").write_bytes(b"mine")
    assert run("assets", "download", filled, "copy", "--overwrite", "--plan", "p.jsonl").code == 0
    refused = run("assets", "download", filled, "copy", "--apply", "p.jsonl")
    assert (refused.code, "add --overwrite" in refused.err) == (2, True)
    assert (home / "copy" / "bridge.png").read_bytes() == b"mine"
    assert run("assets", "download", filled, "copy", "--overwrite", "--apply", "p.jsonl").code == 0


def test_A7_deleting_asks_as_sync_does(run: Run, filled: str, home: Path) -> None:
    (home / "copy").mkdir()
    (home / "copy" / "mine.png").write_bytes((home / "images" / "bridge.png").read_bytes())
    assert run("assets", "sync", filled, "copy", "--direction", "down", "--delete", "--plan", "p.jsonl").code == 0
    refused = run("assets", "sync", filled, "copy", "--direction", "down", "--apply", "p.jsonl")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert (home / "copy" / "mine.png").exists()


@pytest.mark.parametrize("field", ["path", "filename", "reason"])
def test_A7_a_null_in_a_plan_is_a_clean_error(run: Run, dataset: str, home: Path, field: str) -> None:
    assert run("assets", "upload", dataset, "images", "--plan", "p.jsonl").code == 0
    edit(home / "p.jsonl", lambda entry: entry.update({field: "a\0b"}))
    refused = run("assets", "upload", dataset, "--apply", "p.jsonl")
    assert (refused.code, "Traceback" in refused.err) == (2, False)
    assert "Line 2" in refused.err
