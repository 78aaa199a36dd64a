"""Plans that are saved, cut, given to several workers, and applied when things are no longer as they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import vi
from tests.support.counting_service import CountingService, digests, other_content, stored
from tests.support.pictures import tiny
from vi.api.resources.datasets.assets.plans import PlannedTransfer, TransferPlan
from vi.server import middleware

ROOT = Path(__file__).parents[2]

WORKER = """
import sys, vi
from vi.api.resources.datasets.assets.plans import TransferPlan
plan = TransferPlan.load(sys.argv[1]).shard(int(sys.argv[2]), int(sys.argv[3]))
with vi.Client() as client:
    result = client.assets.apply(plan, show_progress=False)
print(result.upload.total_succeeded if result.upload else 0, result.deleted, result.ok)
"""


def asset_id(client: vi.Client, dataset: str, name: str) -> str:
    return next(asset.asset_id for asset in client.assets.list(dataset).all_items() if asset.filename == name)


def test_a_dry_run_does_nothing_and_its_plan_can_be_applied_later(
    do: Any, client: vi.Client, dataset: str, both: Path, tmp_path: Path, service: CountingService
) -> None:
    (both / "0.png").unlink()
    (both / "new.png").write_bytes(tiny(50))
    other_content(both / "1.png")
    before = stored(client, dataset)
    service.reset()
    result = do("sync", dataset, both, delete=True, dry_run=True)
    assert all(asked.startswith("GET ") for asked in service.asked)
    assert stored(client, dataset) == before
    assert result.plan.counts == {"upload": 2, "delete_asset": 1}
    result.plan.save(tmp_path / "plan.jsonl")
    done = do("apply", TransferPlan.load(tmp_path / "plan.jsonl"), show_progress=False)
    assert (done.ok, done.upload.total_succeeded, done.deleted) == (True, 2, 1)
    assert stored(client, dataset) == digests(both)
    json.dumps(done.to_dict())


def test_shards_applied_by_processes_at_once_give_the_whole(
    client: vi.Client,
    dataset: str,
    both: Path,
    tmp_path: Path,
    service: CountingService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    for number in range(40):
        (both / f"new-{number}.png").write_bytes(tiny(200 + number))
    for name in ("0.png", "1.png", "2.png"):
        (both / name).unlink()
    plan = client.assets.sync(dataset, both, delete=True, dry_run=True).plan
    plan.save(tmp_path / "plan.jsonl")
    service.reset()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "plan.jsonl"), str(index), "3"],
            env={**os.environ, **service.environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(3)
    ]
    told = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert [ok for _, _, ok in told] == ["True"] * 3
    assert all(int(sent) > 0 for sent, _, _ in told), "each had its share"
    assert sum(int(sent) for sent, _, _ in told) == 40
    assert sum(int(deleted) for _, deleted, _ in told) == 0, "a shard does not know what became of the others"
    last = client.assets.apply(TransferPlan.load(tmp_path / "plan.jsonl"), show_progress=False)
    assert last.upload is not None
    assert (last.ok, last.deleted, last.upload.total_existing) == (True, 3, 40)
    assert sorted(put.name for put in service.puts) == sorted(f"new-{number}.png" for number in range(40))
    assert stored(client, dataset) == digests(both)
    assert not [*(tmp_path / "cache" / "transfers").glob("*")]


def test_nothing_is_deleted_while_a_shard_is_not_done(
    client: vi.Client, dataset: str, both: Path, tmp_path: Path, service: CountingService
) -> None:
    """Files that were renamed: the old names are the only copies in the dataset until each new one has arrived."""
    for number in range(5):
        (both / f"{number}.png").rename(both / f"renamed-{number}.png")
    plan = client.assets.sync(dataset, both, delete=True, dry_run=True).plan
    plan.save(tmp_path / "plan.jsonl")
    lost = {entry.filename: Path(entry.path) for entry in plan.shard(0, 2) if entry.action == "upload"}
    assert 0 < len(lost) < 5
    for name, path in lost.items():
        path.rename(tmp_path / name)
    done = [client.assets.apply(plan.shard(index, 2), show_progress=False) for index in range(2)]
    assert [result.ok for result in done] == [False, True]
    assert "5 deletions left to the whole plan" in done[1].summary()
    again = client.assets.apply(plan, show_progress=False)
    assert (again.ok, again.deleted) == (False, 0)
    assert set(stored(client, dataset)) >= {f"{number}.png" for number in range(5)}
    for name, path in lost.items():
        (tmp_path / name).rename(path)
    service.reset()
    last = client.assets.apply(plan, show_progress=False)
    assert (last.ok, last.deleted, len(service.puts)) == (True, 5, len(lost))
    assert stored(client, dataset) == digests(both)


@pytest.mark.parametrize("announced", [True, False])
def test_a_saved_plan_asks_only_for_the_names_that_it_holds(
    client: vi.Client,
    dataset: str,
    both: Path,
    service: CountingService,
    monkeypatch: pytest.MonkeyPatch,
    announced: bool,
) -> None:
    if not announced:
        monkeypatch.setattr(middleware, "ADDITIONS", "X-Other")
    (both / "0.png").unlink()
    other_content(both / "1.png")
    plan = client.assets.sync(dataset, both, "down", dry_run=True).plan
    service.reset()
    with service.client() as fresh:
        result = fresh.assets.apply(plan, show_progress=False)
    assert result.download is not None
    assert (result.ok, result.download.total_downloaded) == (True, 2)
    route, other = ("/assets:lookup", "/assets") if announced else ("/assets", "/assets:lookup")
    assert sum(asked.endswith(route) for asked in service.asked) == 1, "to compare, and for URLs"
    assert not any(asked.endswith(other) for asked in service.asked)
    assert stored(client, dataset) == digests(both)


def test_a_plan_of_downloads_is_applied_again_after_its_shards(client: vi.Client, dataset: str, both: Path) -> None:
    (both / "0.png").unlink()
    other_content(both / "1.png")
    (both / "surplus.png").write_bytes(tiny(91))
    plan = client.assets.sync(dataset, both, "down", delete=True, dry_run=True).plan
    for index in range(2):
        assert client.assets.apply(plan.shard(index, 2), show_progress=False).ok
    assert (both / "surplus.png").exists()
    last = client.assets.apply(plan, show_progress=False)
    assert last.download is not None
    assert (last.ok, last.deleted, last.download.total_existing, last.download.bytes_received) == (True, 1, 2, 0)
    assert stored(client, dataset) == digests(both)


def test_an_asset_that_changed_since_is_not_deleted(
    do: Any, client: vi.Client, dataset: str, both: Path, tmp_path: Path
) -> None:
    for number in range(4):
        (both / f"{number}.png").unlink()
    plan = client.assets.sync(dataset, both, delete=True, dry_run=True).plan
    assert plan.counts == {"delete_asset": 4}
    (tmp_path / "0.png").write_bytes(tiny(60))
    client.assets.upload(dataset, tmp_path / "0.png", show_progress=False)
    client.assets.rename(dataset, "renamed.png", filename="1.png")
    client.assets.delete(dataset, asset_id(client, dataset, "2.png"))
    result = do("apply", plan, show_progress=False)
    assert not result.ok
    assert result.deleted == 1, "3.png; 2.png was gone already"
    assert {(failure.filename, failure.code) for failure in result.failures} == {
        ("0.png", "ECHANGED"),
        ("1.png", "ECHANGED"),
    }
    assert "0.png: the asset has changed since the plan was made" in result.summary()
    assert stored(client, dataset).keys() == {"0.png", "renamed.png", "4.png", "5.png"}


def test_a_local_file_that_changed_since_is_neither_replaced_nor_deleted(
    do: Any, client: vi.Client, dataset: str, both: Path
) -> None:
    (both / "0.png").unlink()
    other_content(both / "1.png")
    other_content(both / "2.png")
    for name in ("surplus-a.png", "surplus-b.png", "surplus-c.png"):
        (both / name).write_bytes(tiny(91))
    plan = client.assets.sync(dataset, both, "down", delete=True, dry_run=True).plan
    assert plan.counts == {"download": 3, "delete_file": 3}
    mine = tiny(4711)
    (both / "0.png").write_bytes(mine)
    (both / "1.png").write_bytes(mine)
    os.utime(both / "1.png", ns=(1, 1))
    result = do("apply", plan, show_progress=False)
    assert not result.ok
    assert (both / "0.png").read_bytes() == mine, "it was not there when the plan was made"
    assert (both / "1.png").read_bytes() == mine
    assert result.download.total_downloaded == 1
    assert {failure.filename for failure in result.failures} >= {"0.png", "1.png"}
    assert result.deleted == 0, "not everything else was done"
    plan.entries = [entry for entry in plan if entry.action == "delete_file"]
    (both / "surplus-a.png").write_bytes(tiny(92))
    (both / "surplus-b.png").unlink()
    result = do("apply", plan, show_progress=False)
    assert result.deleted == 1
    assert [failure.filename for failure in result.failures] == ["surplus-a.png"]
    assert (both / "surplus-a.png").exists()


def test_a_file_that_appears_between_the_look_and_the_download_is_kept(
    client: vi.Client, dataset: str, both: Path, service: CountingService
) -> None:
    """What was not there when the plan was made is not replaced, whenever it came."""
    (both / "0.png").unlink()
    plan = client.assets.sync(dataset, both, "down", dry_run=True).plan
    mine = tiny(4711)
    service.at = lambda number, request: (
        (both / "0.png").write_bytes(mine) if request.path.startswith("/dl/") else None  # type: ignore[func-returns-value]
    )
    result = client.assets.apply(plan, show_progress=False)
    assert (both / "0.png").read_bytes() == mine
    assert not result.ok
    assert result.download is not None
    assert result.download.total_conflicts == 1


def test_an_asset_renamed_since_lands_on_no_other_file(do: Any, client: vi.Client, dataset: str, both: Path) -> None:
    """Its new name may be that of a local file that the plan never looked at."""
    other_content(both / "0.png")
    plan = client.assets.sync(dataset, both, "down", dry_run=True).plan
    client.assets.rename(dataset, "mine.png", filename="0.png")
    mine = tiny(4711)
    (both / "mine.png").write_bytes(mine)
    result = do("apply", plan, show_progress=False)
    assert (both / "mine.png").read_bytes() == mine
    assert [failure.code for failure in result.failures] == ["ECHANGED"]


def test_a_file_that_vanished_since_fails_by_name(do: Any, client: vi.Client, dataset: str, both: Path) -> None:
    for name in ("new-1.png", "new-2.png"):
        (both / name).write_bytes(tiny(50))
    (both / "0.png").unlink()
    plan = client.assets.sync(dataset, both, delete=True, dry_run=True).plan
    (both / "new-1.png").unlink()
    result = do("apply", plan, show_progress=False)
    assert not result.ok
    assert [(failure.filename, failure.code) for failure in result.upload.failures] == [("new-1.png", "ENOENT")]
    assert result.upload.total_succeeded == 1
    assert result.deleted == 0
    assert "0.png" in stored(client, dataset)


def test_a_deletion_that_fails_is_reported_and_the_others_done(
    client: vi.Client, dataset: str, both: Path, service: CountingService
) -> None:
    from aiohttp import web

    for number in range(3):
        (both / f"{number}.png").unlink()
    plan = client.assets.sync(dataset, both, delete=True, dry_run=True).plan
    stuck = asset_id(client, dataset, "1.png")

    def refuse(number: int, request: web.Request) -> None:
        if request.method == "DELETE" and request.path.endswith(stuck):
            raise web.HTTPConflict

    service.at = refuse
    result = client.assets.apply(plan, show_progress=False)
    assert (result.ok, result.deleted) == (False, 2)
    assert [failure.filename for failure in result.failures] == ["1.png"]


def test_a_plan_reaches_no_file_outside_its_folder(client: vi.Client, dataset: str, both: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(tiny(1))
    status = outside.stat()
    plan = TransferPlan(dataset, "down", str(both))
    for path in (outside, both / ".." / "outside.png"):
        plan.entries.append(
            PlannedTransfer("delete_file", "outside.png", str(path), status.st_size, "", mtime_ns=status.st_mtime_ns)
        )
    result = client.assets.apply(plan, show_progress=False)
    assert outside.exists()
    assert len(result.failures) == 2


def test_a_plan_with_one_name_twice_is_refused(
    client: vi.Client, dataset: str, both: Path, service: CountingService
) -> None:
    plan = TransferPlan(dataset, "up", str(both))
    plan.entries += [PlannedTransfer("upload", "x.png", str(both / f"{number}.png"), 80, "new") for number in range(2)]
    with pytest.raises(vi.errors.ViInvalidParameterError, match="used more than once"):
        client.assets.apply(plan, show_progress=False)
    assert not service.puts


@pytest.mark.parametrize("plan", [None, "plan.jsonl", [], {}])
def test_what_is_no_plan_is_refused(client: vi.Client, plan: Any) -> None:
    with pytest.raises(vi.errors.ViInvalidParameterError, match="plan must be a TransferPlan"):
        client.assets.apply(plan)


def test_what_a_download_would_do_can_be_applied(
    do: Any, client: vi.Client, dataset: str, both: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "0.png").write_bytes(tiny(4711))
    plan = do("download", dataset, target, dry_run=True, show_progress=False).plan
    assert plan.counts == {"download": 5, "keep": 1}
    result = do("apply", plan, show_progress=False)
    assert result.download.total_downloaded == 5
    assert (target / "0.png").read_bytes() == tiny(4711)


@pytest.mark.parametrize("kind", ["run", "plan"])
def test_what_changed_since_the_plan_is_kept_and_reported(
    client: vi.Client,
    dataset: str,
    both: Path,
    tmp_path: Path,
    service: CountingService,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Assets that somebody has replaced or added since are not replaced, and a file that is back keeps its asset."""
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    for number in range(3):
        (both / f"{number}.png").write_bytes(tiny(50 + number))
    (both / "new.png").write_bytes(tiny(60))
    (both / "4.png").unlink()
    (both / "5.png").rename(tmp_path / "5.png")
    client.assets.upload(dataset, (".hidden.png", tiny(80)))
    (both / ".hidden.png").write_bytes(tiny(80))  # which no upload of the folder takes
    how: dict[str, Any] = {"plan": tmp_path / "run", "shards": 1} if kind == "run" else {"dry_run": True}
    plan = client.assets.sync(dataset, both, delete=True, **how).plan
    client.assets.upload(dataset, [("0.png", tiny(70)), ("new.png", tiny(71)), ("1.png", tiny(51))])
    (tmp_path / "5.png").rename(both / "5.png")
    moved = vi.run_shard(tmp_path / "run", 0).result if kind == "run" else client.assets.apply(plan)
    assert moved.upload is not None
    assert {failure.filename: failure.code for failure in moved.upload.failures} == {
        "0.png": "ECHANGED",
        "new.png": "ECHANGED",
    }
    assert (moved.upload.total_succeeded, moved.upload.total_existing) == (1, 1)
    there = stored(client, dataset)
    assert there["0.png"] != digests(both)["0.png"]
    assert there["2.png"] == digests(both)["2.png"]
    client.assets.upload(dataset, [both / "0.png", both / "new.png"])
    if kind == "run":
        assert vi.run_shard(tmp_path / "run", 0).ok
        last = vi.finish(tmp_path / "run")
    else:
        last = client.assets.apply(plan)
    assert (last.deleted, [failure.filename for failure in last.failures]) == (2, ["5.png"])
    (both / ".hidden.png").unlink()
    assert stored(client, dataset) == digests(both)


def test_an_asset_that_is_gone_by_the_time_of_its_download_is_reported(
    client: vi.Client, dataset: str, both: Path, tmp_path: Path, service: CountingService
) -> None:
    gone: list[str] = []

    def remove(number: int, request: web.Request) -> None:
        if request.path.endswith("/assets") and not gone:
            gone.append("0.png")

    def without(request: web.Request, document: Any) -> Any:
        if gone and request.path.endswith("/assets:lookup"):
            document["items"] = [item for item in document["items"] if item["filename"] not in gone]
        return document

    service.after, service.rewrite = remove, without
    result = client.assets.sync(dataset, tmp_path / "copy", "down", show_progress=False)
    assert result.download is not None
    assert [(failure.filename, failure.code) for failure in result.download.failures] == [("0.png", "ECHANGED")]
    assert (result.ok, result.download.total_downloaded) == (False, 5)
