"""Row A20: a run that somebody else has made, or changed, makes no worker send, replace or delete anything."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.attacks.victims import untouched, victim  # noqa: F401 - a fixture
from tests.cli.conftest import filled, home, run, samples  # noqa: F401 - fixtures
from tests.cli.outcomes import Outcome

Run = Callable[..., Outcome]
Edit = Callable[[dict[str, Any], Path], None]


def lines(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change the lines of a document, and let its own count be right."""
    read = [json.loads(line) for line in path.read_text().splitlines()]
    change(read)
    if "entries" in read[0]:
        read[0]["entries"] = len(read) - 1
    path.write_text("".join(json.dumps(line) + "\n" for line in read))


def head(run_folder: Path, **changes: Any) -> None:
    path = run_folder / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_A20_an_upload_sends_nothing_that_was_not_planned(
    run: Run, dataset: str, client: vi.Client, home: Path, victim: Path
) -> None:
    assert run("plan", "split", "run", dataset, "images", "--shards", "1").code == 0
    shard = home / "run" / "shard-00000.jsonl"
    lines(shard, lambda read: [entry.update(path=str(victim / "holiday.jpg"), size=8) for entry in read[1:]])
    refused = run("plan", "run", "run", "--shard", "0")
    assert (refused.code, "was not written with this secret key" in refused.err) == (2, True)
    assert run("plan", "run", "run", "--processes", "1").code == 1
    assert client.assets.count(dataset) == 0


def deletion(home: Path, victim: Path) -> dict[str, Any]:
    one = (victim / "holiday.jpg").stat()
    named = {"action": "delete_file", "filename": "holiday.jpg", "path": str(victim / "holiday.jpg"), "size": 8}
    return named | {"reason": "", "mtime_ns": one.st_mtime_ns}


EDITS: dict[str, Edit] = {
    "another folder in the head": lambda read, victim: read.update(folder=str(victim)),
    "another dataset": lambda read, victim: read.update(dataset_id="acme_other"),
    "no seal": lambda read, victim: read.pop("seal"),
    "a seal of its own": lambda read, victim: read.update(seal="0" * 64),
    "a seal that is no text": lambda read, victim: read.update(seal=["\ud800"]),
    "a seal of odd text": lambda read, victim: read.update(seal="\ud800\xe4"),
    "fewer lists of deletions": lambda read, victim: read.update(deletion_lists=0),
}


@pytest.mark.parametrize("what", EDITS)
def test_A20_a_changed_head_makes_every_shard_refuse(
    run: Run, filled: str, home: Path, victim: Path, what: str
) -> None:
    (home / "copy").mkdir()
    (home / "copy" / "surplus.png").write_bytes(b"x")
    assert run("plan", "split", "run", filled, "copy", "--down", "--delete", "--shards", "1").code == 0
    path = home / "run" / "plan.json"
    read = json.loads(path.read_text())
    EDITS[what](read, victim)
    path.write_text(json.dumps(read))
    assert run("plan", "run", "run", "--shard", "0").code == 2
    assert untouched(victim)
    assert [one.name for one in (home / "copy").iterdir()] == ["surplus.png"]


def test_A20_a_download_writes_and_finish_deletes_nothing_that_was_not_planned(
    run: Run, filled: str, home: Path, victim: Path
) -> None:
    (home / "copy").mkdir()
    (home / "copy" / "surplus.png").write_bytes(b"x")
    assert run("plan", "split", "run", filled, "copy", "--down", "--delete", "--shards", "1").code == 0
    shard, deletions = home / "run" / "shard-00000.jsonl", home / "run" / "deletions-00000.jsonl"
    kept = shard.read_text(), deletions.read_text()
    lines(shard, lambda read: [entry.update(path=str(victim / entry["filename"])) for entry in read[1:]])
    assert run("plan", "run", "run", "--shard", "0").code == 2
    # Documents with a good seal, in the place of another.
    shard.write_text(kept[1])
    assert run("plan", "run", "run", "--shard", "0").code == 2
    assert (home / "copy" / "surplus.png").exists()
    shard.write_text(kept[0])
    assert run("plan", "run", "run", "--shard", "0").code == 0
    lines(deletions, lambda read: read.append(deletion(home, victim)))
    assert run("plan", "finish", "run", "--yes").code == 2
    assert untouched(victim)
    assert (home / "copy" / "surplus.png").exists()
    deletions.write_text(kept[1])
    assert run("plan", "finish", "run", "--yes").code == 0
    assert not (home / "copy" / "surplus.png").exists()


def test_A20_a_forged_report_lets_nothing_be_deleted(
    run: Run, filled: str, home: Path, client: vi.Client, tmp_path: Path
) -> None:
    """Renamed files: the old names are the only copies in the dataset until the shards are done."""
    for path in [*(home / "images").iterdir()]:
        path.rename(path.with_name(f"new-{path.name}"))
    assert run("plan", "split", "run", filled, "images", "--delete", "--shards", "2").code == 0
    other = client.datasets.create(name="other").dataset_id
    assert run("plan", "split", "other", other, "images", "--shards", "2").code == 0
    assert run("plan", "run", "other", "--processes", "1").code == 0
    own = json.loads((home / "run" / "plan.json").read_text())["run_id"]
    for name in ("report-00000.json", "report-00001.json"):
        forged = json.loads((home / "other" / name).read_text()) | {"run_id": own}
        (home / "run" / name).write_text(json.dumps(forged))
    told = run("plan", "status", "run", "--quiet")
    assert (told.code, told.out) == (1, "0-1\n")
    assert run("plan", "finish", "run", "--yes").code == 1
    assert client.assets.count(filled) == 4
    assert run("plan", "run", "run", "--shard", "0").code == 0
    (home / "run" / "report-00001.json").write_text((home / "run" / "report-00000.json").read_text())
    assert run("plan", "finish", "run", "--yes").code == 1, "a good report in the place of another"
    assert run("plan", "run", "run", "--shard", "1").code == run("plan", "finish", "run", "--yes").code == 0
    assert {asset.filename[:4] for asset in client.assets.list(filled).all_items()} == {"new-"}


FILE = "is not a regular file"


def test_A20_a_head_that_tells_of_a_million_million_shards_is_refused(run: Run, dataset: str, home: Path) -> None:
    assert run("plan", "split", "run", dataset, "images", "--shards", "1").code == 0
    head(home / "run", shards=10**12)
    for command in (["status", "run"], ["run", "run", "--processes", "1"], ["finish", "run", "--yes"]):
        refused = run("plan", *command)
        assert (refused.code, "tells of 1000000000000 shards, which are not there" in refused.err) == (2, True)


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices are no files there")
@pytest.mark.parametrize("name", ["plan.json", "shard-00000.jsonl", "report-00000.json"])
@pytest.mark.parametrize(("kind", "reason"), [("pipe", FILE), ("device", FILE), ("endless", "is longer than")])
def test_A20_a_pipe_or_device_in_a_run_holds_nobody_up(
    run: Run, dataset: str, home: Path, name: str, kind: str, reason: str
) -> None:
    assert run("plan", "split", "run", dataset, "images", "--shards", "1").code == 0
    path = home / "run" / name
    path.unlink(missing_ok=True)
    if kind == "endless":
        path.touch()
        os.truncate(path, 1 << 40)  # takes no place on the disk
    else:
        os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    refused = run("plan", "run", "run", "--shard", "0")
    assert (refused.code, reason in refused.err) == (2, True)


ODD = "a\x1b]0;x\x07\x1b[2J\u202eb\r\nc"


def test_A20_nothing_of_a_run_controls_a_terminal(run: Run, dataset: str, home: Path) -> None:
    assert run("plan", "split", "run", dataset, "images", "--shards", "2").code == 0
    assert run("plan", "run", "run", "--shard", "0").code == 0
    report = home / "run" / "report-00000.json"
    read = json.loads(report.read_text())
    read["error"], read["host"], read["ok"] = ODD, ODD, False
    read["result"]["notes"] = [ODD]
    read["result"]["upload"]["failures"] = [{"path": ODD, "filename": ODD, "code": ODD, "message": ODD}]
    report.write_text(json.dumps(read))
    head(home / "run", counts={ODD: 2}, skipped={ODD: 1}, notes=[ODD], dataset_id=ODD, folder=ODD)
    for options in ([], ["--json"], ["--quiet"]):
        told = run("plan", "status", "run", *options)
        assert told.code == 1
        assert not {"\x1b", "\x07", "\u202e", "\r"} & {*told.out, *told.err}
    assert run("plan", "run", "run", "--shard", "1").code == 2
