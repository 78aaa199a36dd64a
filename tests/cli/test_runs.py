"""``vi-sdk plan``: a run that is split, carried out as the tasks of an array, looked at and finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import vi
from tests.cli.outcomes import Outcome

Run = Callable[..., Outcome]


def test_tasks_of_an_array_carry_out_a_run(
    run: Run, client: vi.Client, dataset: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run("plan", "split", "./run", dataset, "./images", "--shards", "3", "--metadata", "lot=7", "--quiet")
    assert (made.code, made.out) == (0, "3\n")
    assert run("plan", "run", "./run").code == 2
    assert run("plan", "status", "./run").err.splitlines()[0] == "3 shards: 3 missing"  # not "nothing to do"
    nowhere = run("plan", "status", "./nowhere")
    assert (nowhere.code, nowhere.err.endswith("is missing. Make one with: vi-sdk plan split.\n")) == (2, True)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "9")
    first = run("plan", "run", "./run", "--offset", "1", "--json")
    assert (first.code, json.loads(first.out)["shard"], json.loads(first.out)["ok"]) == (0, 1, True)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    beyond = run("plan", "run", "./run")
    assert (beyond.code, "--shard must be from 0 to 2, got 9. vi-sdk plan status lists" in beyond.err) == (2, True)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "x")
    assert run("plan", "run", "./run").err.startswith("error: JOB_COMPLETION_INDEX: expected a number from 0")
    left = run("plan", "status", "./run", "--quiet")
    assert (left.code, left.out) == (1, "0,2\n")
    unfinished = run("plan", "finish", "./run", "--yes")
    assert unfinished.code == 1
    assert "Nothing was deleted: shards 0,2 of 3 are not done. Run them again, then finish" in unfinished.err
    assert "RunStatus" not in unfinished.err
    lost = home / "images" / "bridge.png"
    content = lost.read_bytes()
    lost.unlink()
    codes = {run("plan", "run", "./run", "--shard", shard).code for shard in "02"}
    assert codes == {0, 1}
    status = json.loads(run("plan", "status", "./run", "--json").out)
    assert (len(status["done"]), len(status["failed"]), status["missing"]) == (2, 1, [])
    lost.write_bytes(content)
    whole = run("plan", "run", "./run", "--processes", "1")
    assert (whole.code, "3 shards: 3 done" in whole.err) == (0, True)
    assert run("plan", "status", "./run").code == run("plan", "finish", "./run").code == 0
    assert {asset.metadata.custom_metadata["lot"] for asset in client.assets.list(dataset).all_items()} == {7}


def test_deletions_are_asked_about_when_a_run_is_finished(
    run: Run, client: vi.Client, filled: str, home: Path, tmp_path: Path
) -> None:
    (home / "images" / "bridge.png").unlink()
    address = str(tmp_path / "run")
    made = run("plan", "split", address, filled, "./images", "--delete", "--json")
    assert json.loads(made.out)["counts"] == {"delete_asset": 1}
    assert run("plan", "finish", address).code == 2, "without a terminal nobody agrees"
    assert client.assets.count(filled) == 4
    done = run("plan", "finish", address, "--yes", "--json")
    assert (done.code, json.loads(done.out)["deleted"], client.assets.count(filled)) == (0, 1, 3)
    assert run("plan", "split", address, filled, "./images").code == 2, "a run is there"
    assert run("plan", "split", "x", filled, "./images", "./images", "--delete").code == 2
