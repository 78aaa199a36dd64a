"""Runs: plans as folders of shards, carried out by processes that know nothing of each other."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import pickle
import random
import signal
import sqlite3
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import vi
from tests.support.counting_service import CountingService, digests, stored
from tests.support.pictures import tiny
from vi._transfer.document_folders import DocumentFolder
from vi.api.resources.datasets.assets.plans import PlannedTransfer, TransferPlan
from vi.api.resources.datasets.assets.run_plans import read_entries, read_head, write_run
from vi.api.resources.datasets.assets.run_reports import array_of

STORED = "select filename from asset where dataset_seq = (select seq from dataset where id = ?)"


@pytest.fixture(autouse=True)
def environment(service: CountingService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a run can be."""
    if request.param == "folder":
        yield str(tmp_path / "runs" / "one")
        return
    pytest.importorskip("upath")
    import fsspec

    yield f"memory://runs/{tmp_path.name}"
    fsspec.filesystem("memory").rm(f"/runs/{tmp_path.name}", recursive=True)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Returns what makes the next call one of another machine: its cache is its own."""
    numbers = itertools.count()
    return lambda: monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / f"machine-{next(numbers)}"))


def test_an_upload_is_carried_out_shard_by_shard_and_its_reports_add_up(
    do: Any, client: vi.Client, dataset: str, folder: Path, place: str, service: CountingService, forgetful: Any
) -> None:
    (folder / ".hidden.png").write_bytes(tiny(99))
    made = do("upload", dataset, folder, plan=place, shards=4, custom_metadata=lambda path: {"stem": path.stem})
    assert str(made) == f"4 shards in {place}: 6 files to upload, {made.run.bytes} B to transfer"
    assert (made.run.shards, made.run.counts, made.run.skipped) == (4, {"upload": 6}, {"hidden": 1})
    assert not service.puts
    status = vi.RunStatus.of(place)
    assert (status.missing, status.array, status.ok) == ([0, 1, 2, 3], "0-3", False)
    reports = []
    for shard in range(4):
        forgetful()
        reports.append(vi.run_shard(place, shard))
    assert all(report.ok for report in reports)
    status = vi.RunStatus.of(place)
    assert (status.ok, status.array, status.done) == (True, "", [0, 1, 2, 3])
    upload = status.result.upload
    assert upload is not None
    assert (upload.total_succeeded, upload.bytes_sent) == (6, made.run.bytes)
    assert upload.total_succeeded == sum(
        report.result.upload.total_succeeded for report in reports if report.result.upload
    )
    (folder / ".hidden.png").unlink()
    assert stored(client, dataset) == digests(folder)
    metadata = {asset.filename: asset.metadata.custom_metadata for asset in client.assets.list(dataset).all_items()}
    assert metadata == {f"{number}.png": {"stem": str(number)} for number in range(6)}
    service.reset()
    assert vi.run_shard(place, 2).to_dict() == reports[2].to_dict()
    assert vi.finish(place).to_dict() == status.result.to_dict()
    assert service.asked == [], "what is done is not asked for again"
    json.dumps(status.to_dict())
    assert pickle.loads(pickle.dumps(vi.run_shard)) is vi.run_shard
    with pytest.raises(vi.ViInvalidParameterError, match="holds a run already"):
        do("upload", dataset, folder, plan=place)


def test_a_shard_that_another_machine_has_begun_sends_only_the_rest(
    client: vi.Client, dataset: str, folder: Path, tmp_path: Path, service: CountingService, forgetful: Any
) -> None:
    client.assets.upload(dataset, folder, plan=tmp_path / "run", shards=1)
    service.reset()
    refused: list[str] = []

    def refuse(number: int, request: web.Request) -> None:
        if request.method == "PUT" and request.path.endswith("/3.png"):
            refused.append(request.path)
            raise web.HTTPForbidden

    service.at = refuse
    first = vi.run_shard(tmp_path / "run", 0)
    assert (first.ok, refused != []) == (False, True)
    status = vi.RunStatus.of(tmp_path / "run")
    assert (status.failed, status.array) == ([0], "0")
    assert [failure.filename for failure in status.result.upload.failures] == ["3.png"]  # type: ignore[union-attr]
    forgetful()
    service.reset()
    assert vi.run_shard(tmp_path / "run", 0).ok
    assert [put.name for put in service.puts] == ["3.png"]
    assert sum(asked.endswith("/assets:lookup") for asked in service.asked) == 1
    assert not any(asked.endswith("/assets") for asked in service.asked), "the dataset is not listed"
    assert stored(client, dataset) == digests(folder)


def test_nothing_is_deleted_until_every_shard_is_done(
    client: vi.Client, dataset: str, both: Path, tmp_path: Path, service: CountingService
) -> None:
    for number in range(4):
        (both / f"{number}.png").rename(both / f"renamed-{number}.png")
    made = client.assets.sync(dataset, both, delete=True, plan=tmp_path / "run", shards=2)
    assert made.run is not None
    assert (made.run.deletions, made.run.shards) == (4, 2)
    (both / "renamed-1.png").rename(tmp_path / "renamed-1.png")
    assert {vi.run_shard(tmp_path / "run", shard).ok for shard in range(2)} == {True, False}
    before = stored(client, dataset)
    with pytest.raises(vi.ViOperationError, match=r"Nothing was deleted: shards \d of 2 are not done"):
        vi.finish(tmp_path / "run")
    assert stored(client, dataset) == before
    (tmp_path / "renamed-1.png").rename(both / "renamed-1.png")
    for shard in vi.RunStatus.of(tmp_path / "run").left:
        assert vi.run_shard(tmp_path / "run", shard).ok
    assert stored(client, dataset).keys() >= {f"{number}.png" for number in range(4)}
    result = vi.finish(tmp_path / "run")
    assert (result.ok, result.deleted) == (True, 4)
    assert stored(client, dataset) == digests(both)
    service.reset()
    assert (vi.finish(tmp_path / "run").deleted, vi.RunStatus.of(tmp_path / "run").finished) == (4, True)
    assert service.asked == []


@pytest.mark.parametrize("delete", [False, True])
def test_downloads_go_to_an_address_without_a_folder_of_this_machine(
    client: vi.Client, dataset: str, both: Path, place: str, delete: bool, service: CountingService
) -> None:
    upath = pytest.importorskip("upath")
    target = upath.UPath(f"memory://copies/{both.parent.name}-{delete}")
    (target / "0.png").write_bytes((both / "0.png").read_bytes())
    (target / "1.png").write_bytes(tiny(77))
    (target / "surplus.png").write_bytes(tiny(78))
    address = str(target)
    planned = client.assets.download(dataset, address, dry_run=True).plan
    assert planned is not None
    assert (planned.counts, planned.existing) == ({"download": 4, "keep": 1}, 1)
    if delete:
        client.assets.sync(dataset, address, "down", delete=True, plan=place, shards=3)
    else:
        client.assets.download(dataset, address, overwrite=True, plan=place, shards=3)
    service.reset()
    assert all(vi.run_shard(place, shard).ok for shard in range(3))
    assert not any(asked.endswith("/assets") for asked in service.asked), "no shard lists the dataset"
    DocumentFolder.of(place, "run").write("report-00001.json", b"")  # its worker was killed before it could report
    assert vi.RunStatus.of(place).array == "1"
    again = vi.run_shard(place, 1)
    assert (again.ok, again.result.download.bytes_received) == (True, 0)  # type: ignore[union-attr]
    assert vi.finish(place).deleted == delete
    assert client.assets.verify(dataset, address).ok is delete
    found = {path.name: path.read_bytes() for path in target.iterdir()}
    assert found.pop("surplus.png", None) == (None if delete else tiny(78))
    assert found == {path.name: path.read_bytes() for path in both.iterdir()}
    target.rmdir(recursive=True)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_process_loses_nothing_and_sends_nothing_twice(
    client: vi.Client, dataset: str, folder: Path, tmp_path: Path, service: CountingService
) -> None:
    for number in range(6, 24):
        (folder / f"{number}.png").write_bytes(tiny(number))
    client.assets.upload(dataset, folder, plan=tmp_path / "run", shards=4)
    service.reset()
    there: set[str] = set()

    def kill(number: int, request: web.Request) -> None:
        """Kill a process whose files are stored, before it is told."""
        if there or request.method != "GET" or "/assetIngestionSessions/" not in request.path:
            return
        with closing(sqlite3.connect(service.data / "vi.db")) as database:
            there.update(name for (name,) in database.execute(STORED, (dataset.rpartition("_")[2],)))
        if there:
            (worker, *_) = multiprocessing.active_children()
            os.kill(worker.pid or 0, signal.SIGKILL)

    service.after = kill
    status = vi.run_shards(tmp_path / "run", processes=2)
    assert status.ok, status.summary()
    assert stored(client, dataset) == digests(folder)
    assert there
    sent = Counter(put.name for put in service.puts)
    assert {name: sent[name] for name in there} == dict.fromkeys(there, 1)
    upload = status.result.upload
    assert upload is not None
    assert (upload.total_succeeded + upload.total_existing, client.assets.count(dataset)) == (24, 24)


def test_shards_that_fail_alike_end_the_call(
    client: vi.Client, dataset: str, folder: Path, tmp_path: Path, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.assets.upload(dataset, folder, plan=tmp_path / "run", shards=3)
    monkeypatch.setenv("DATATURE_VI_SECRET_KEY", service.secret_key[:-4] + "None")
    with pytest.raises(vi.ViAuthenticationError):
        vi.run_shard(tmp_path / "run", 0)
    status = vi.RunStatus.of(tmp_path / "run")
    assert (status.failed, status.missing, list(status.errors)) == ([0], [1, 2], [0])
    monkeypatch.setenv("DATATURE_VI_ORGANIZATION_ID", "another")
    with pytest.raises(vi.ViConfigurationError, match="environment names another"):
        vi.run_shard(tmp_path / "run", 1)


def test_what_is_not_a_run_is_refused(
    client: vi.Client, dataset: str, folder: Path, tmp_path: Path, service: CountingService
) -> None:
    with pytest.raises(vi.ViPathError, match=r"holds no run: plan\.json is missing"):
        vi.RunStatus.of(tmp_path / "none")
    for arguments in (
        {"plan": tmp_path / "run", "dry_run": True},
        {"plan": tmp_path / "run", "shards": 0},
        {"shards": 3},
        {"plan": tmp_path / "run", "detect": "content"},
        {"plan": tmp_path / "run", "wait_until_done": False},
    ):
        with pytest.raises(vi.ViInvalidParameterError):
            client.assets.upload(dataset, folder, **arguments)  # type: ignore[arg-type]
    with pytest.raises(vi.ViInvalidParameterError, match="is in memory"):
        client.assets.upload(dataset, ("a.png", tiny(1)), plan=tmp_path / "run")
    client.assets.upload(dataset, folder, plan=tmp_path / "run", shards=2)
    for shard in (2, -1, True, "0", None):
        with pytest.raises(vi.ViInvalidParameterError, match="shard must be from 0 to 1"):
            vi.run_shard(tmp_path / "run", shard)  # type: ignore[arg-type]
    cut = tmp_path / "run" / "shard-00001.jsonl"
    cut.write_text(cut.read_text().rpartition("\n{")[0])
    with pytest.raises(vi.ViInvalidParameterError, match=r"shard-00001\.jsonl of the run .* cannot be read"):
        vi.run_shard(tmp_path / "run", 1)
    assert not service.puts


def shards_of(sizes: list[int], folder: Path, shards: int | None = None) -> list[int]:
    """Return the bytes of each shard of a plan of files of these *sizes*."""
    entries = [PlannedTransfer("upload", f"{n}.png", f"/data/{n}.png", size, "") for n, size in enumerate(sizes)]
    where = DocumentFolder.of(folder, "run")
    plan = TransferPlan("dataset", "up")
    head = write_run(where, plan, "org", entries, files=len(sizes), total=sum(sizes), shards=shards)
    parts = [read_entries(where, head, f"shard-{shard:05}.jsonl") for shard in range(head.shards)]
    assert sorted(entry.filename for part in parts for entry in part) == sorted(entry.filename for entry in entries)
    assert (head.bytes, read_head(where).to_dict()) == (sum(sizes), head.to_dict())
    return [part.bytes for part in parts]


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("small", "in turn"),
        ("small", "when free"),
        ("videos", "in turn"),
        ("videos", "when free"),
        ("mixed", "when free"),
        ("small", "one each"),
        ("mixed", "one each"),
    ],
)
def test_forty_machines_have_about_as_much_to_move(kind: str, taken: str, tmp_path: Path) -> None:
    chance = random.Random(7)
    sizes = {
        "small": lambda: [int(chance.lognormvariate(11, 1)) for _ in range(25_000)],
        "videos": lambda: [int(chance.uniform(1e8, 1e9)) for _ in range(400)],
        "mixed": lambda: [int(chance.lognormvariate(12, 1.5)) for _ in range(3_000)],
    }[kind]()
    machines = [0] * 40
    for number, size in enumerate(shards_of(sizes, tmp_path / "run", 40 if taken == "one each" else None)):
        machines[machines.index(min(machines)) if taken == "when free" else number % 40] += size
    assert max(machines) <= (1.01 if taken == "one each" else 1.3) * sum(sizes) / 40


@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("files", [7, 500, 21_000])
def test_there_are_as_many_shards_as_asked_for(count: int, files: int, tmp_path: Path) -> None:
    chance = random.Random(files)
    assert len(shards_of([chance.randrange(5000) for _ in range(files)], tmp_path / "run", count)) == min(count, files)


def test_a_plan_is_written_and_read_in_flat_memory(tmp_path: Path) -> None:
    """A million lines are tried by `tests/large`; here, three times the lines take no more at once."""
    peaks = []
    for files in (20_000, 60_000):
        entries = (PlannedTransfer("upload", f"{n}.png", f"/data/{n}.png", 1000 + n % 7, "") for n in range(files))
        where = DocumentFolder.of(tmp_path / f"run-{files}", "run")
        tracemalloc.start()
        head = write_run(where, TransferPlan("d", "up"), "org", entries, files=files, total=1003 * files, shards=None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert head.counts == {"upload": files}
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([3, 7, 8, 9], "3,7-9"), ([0, 1, 3, 4], "0-1,3-4")]
)
def test_an_array_expression(numbers: list[int], text: str) -> None:
    assert array_of(numbers) == text
