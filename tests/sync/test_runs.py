"""Runs: plans as folders of shards, carried out by processes that know nothing of each other."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import json
import multiprocessing
import pickle
import random
import sqlite3
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

import vi
from tests.support.counting_service import CountingService, digests, stored
from tests.support.pictures import tiny
from tests.support.serve import kill as kill_process
from vi._transfer.document_folders import DocumentFolder
from vi._transfer.inventory import Inventory
from vi.api.resources.datasets.assets import packing, run_reports
from vi.api.resources.datasets.assets.packing import packed
from vi.api.resources.datasets.assets.plans import TransferPlan
from vi.api.resources.datasets.assets.run_plans import save_uploads
from vi.api.resources.datasets.assets.run_reports import array_of
from vi.api.resources.datasets.assets.run_seals import Author

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


def test_deletions_that_are_cut_short_are_finished_and_counted(
    client: vi.Client, dataset: str, both: Path, tmp_path: Path, service: CountingService
) -> None:
    for number in range(5):
        (both / f"{number}.png").unlink()
    client.assets.sync(dataset, both, delete=True, plan=tmp_path / "run")
    assert str(vi.RunStatus.of(tmp_path / "run")) == "0 shards: 5 deletions left to finish"
    with pytest.raises(vi.ViInvalidParameterError, match="the run has none, got 0"):
        vi.run_shard(tmp_path / "run", 0)
    refused: list[str] = []

    def refuse(number: int, request: web.Request) -> None:
        if request.method == "DELETE" and not refused:
            refused.append(request.path)
            raise web.HTTPForbidden

    service.at = refuse
    with pytest.raises(vi.ViPermissionError):
        vi.finish(tmp_path / "run")
    assert not vi.RunStatus.of(tmp_path / "run").finished
    assert vi.finish(tmp_path / "run").deleted == 5
    assert (client.assets.count(dataset), vi.RunStatus.of(tmp_path / "run").finished) == (1, True)


def test_a_report_is_never_longer_than_what_is_read(
    client: vi.Client, dataset: str, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch, service: CountingService
) -> None:
    client.assets.upload(dataset, folder, plan=place, shards=1)
    for path in folder.iterdir():
        path.write_bytes(b"")
    monkeypatch.setattr(run_reports, "MOST_OF_REPORT", 2500)
    assert vi.run_shard(place, FakeInteger(0)).result.upload.total_failed == 6  # type: ignore[arg-type, union-attr]
    upload = vi.RunStatus.of(place).result.upload
    assert upload is not None
    assert (upload.total_failed, 0 < len(upload.failures) < 6, len(upload.notes)) == (6, True, 1)
    monkeypatch.setattr(run_reports, "MOST_OF_REPORT", 1 << 20)
    DocumentFolder.of(place, "run").write("report-00000.json", b" " * ((1 << 20) + 1))
    for call in (vi.RunStatus.of, vi.finish, partial(vi.run_shard, shard=0)):
        with pytest.raises(vi.ViPathError, match=r"report-00000\.json in .* is longer than 1 MiB, so it is not read"):
            call(place)
    DocumentFolder.of(place, "run").write("report-00000.json", b"")
    assert vi.RunStatus.of(place).missing == [0]
    for number in range(6):
        (folder / f"{number}.png").write_bytes(tiny(number))
    assert vi.run_shard(place, 0).ok
    service.reset()
    assert vi.run_shard(place, FakeInteger(0)).ok  # type: ignore[arg-type]
    assert service.asked == []


@attrs.frozen
class FakeInteger:
    """An integer as NumPy has them."""

    value: int

    def __index__(self) -> int:
        return self.value


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


def test_what_has_a_meaning_in_urls_is_part_of_a_name_in_a_bucket(
    client: vi.Client, dataset: str, tmp_path: Path
) -> None:
    upath = pytest.importorskip("upath")
    here = upath.UPath(f"memory://odd/{tmp_path.name}?a=b")
    names = ["what.png", "what.png?.png", "a?x=1&y.png", "ha#sh.png", "a%20b.png", "b[1].png", "c*.png", "d@e:f.png"]
    for number, name in enumerate(names):
        (here / "from" / name).write_bytes(tiny(number))
    run, back = f"{here}/up", f"{here}/down"
    client.assets.upload(dataset, str(here / "from"), plan=run, shards=1)
    assert vi.run_shard(run, 0).ok
    expected = {name: hashlib.sha256(tiny(number)).hexdigest() for number, name in enumerate(names)}
    assert stored(client, dataset) == expected
    client.assets.download(dataset, str(here / "to"), plan=back, shards=1)
    assert vi.run_shard(back, 0).ok
    assert client.assets.verify(dataset, str(here / "to")).matching == len(names)
    assert {path.name for path in upath.UPath("memory://odd").iterdir()} == {here.name}
    with pytest.raises(vi.ViInvalidParameterError, match="has a query or a password, which a run does not keep"):
        client.assets.upload(dataset, "https://127.0.0.1:9/a.png?X-Amz-Signature=secret", plan=tmp_path / "run")
    upath.UPath("memory://odd").rmdir(recursive=True)


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
            kill_process(worker.pid or 0)

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


def shards_of(sizes: list[int], shards: int | None = None) -> list[int]:
    """Return the bytes of each shard of a plan of files of these *sizes*."""
    parts = [*packed([*enumerate(sizes)], lambda file: file[1], files=len(sizes), total=sum(sizes), wanted=shards)]
    assert sorted(file for part in parts for file in part) == [*enumerate(sizes)], "each file is in one shard"
    assert all(parts)
    return [sum(size for _, size in part) for part in parts]


def longest(parts: list[int], machines: int, taken: str) -> int:
    """Return how much the machine has that has most."""
    loads = [0] * machines
    for number, size in enumerate(parts):
        loads[loads.index(min(loads)) if taken == "when free" else number % machines] += size
    return max(loads)


@pytest.mark.parametrize("taken", ["in turn", "when free", "one each"])
@pytest.mark.parametrize("kind", ["small", "videos", "mixed", "heavy", "very heavy"])
def test_forty_machines_have_about_as_much_to_move(kind: str, taken: str) -> None:
    chance = random.Random(7)
    sizes = {
        "small": lambda: [int(chance.lognormvariate(11, 1)) for _ in range(25_000)],
        "videos": lambda: [int(chance.uniform(1e8, 1e9)) for _ in range(400)],
        "mixed": lambda: [int(chance.lognormvariate(12, 1.5)) for _ in range(3_000)],
        "heavy": lambda: [int(chance.lognormvariate(12, 2)) for _ in range(30_000)],
        "very heavy": lambda: sorted(int(min(1e5 * chance.paretovariate(1), 6e7)) for _ in range(20_000)),
    }[kind]()
    parts = shards_of(sizes, 40 if taken == "one each" else None)
    assert longest(parts, 40, taken) <= (1.01 if taken == "one each" else 1.3) * sum(sizes) / 40
    assert len(parts) == 40 or len(parts) >= 200, "small enough to be tried again"


@settings(max_examples=60)
@given(
    st.sampled_from([0, 30, 80, 150, 239, 500, 2_500]),
    st.floats(0, 3),
    st.lists(st.integers(0, 10**8) | st.just(10**7), max_size=30),
    st.sampled_from([500, 10_000]),
    st.sampled_from(["by chance", "rising", "falling"]),
    st.integers(),
)
def test_the_default_shards_suit_machines_that_take_them_in_turn(
    files: int, spread: float, more: list[int], window: int, order: str, seed: int
) -> None:
    """Only files that are larger than what a machine has on average make one of forty take longer."""
    chance = random.Random(seed)
    sizes = more + [int(chance.lognormvariate(12, spread)) * chance.choice((0, 1, 1)) for _ in range(files)]
    if order != "by chance":
        sizes.sort(reverse=order == "falling")
    with mock.patch.object(packing, "WINDOW", window):  # 500 are many to this one
        parts = shards_of(sizes)
    machines = [0] * 40  # the largest first, each to the machine that has least: nobody knows a much better way
    for size in sorted(sizes, reverse=True):
        heapq.heapreplace(machines, machines[0] + size)
    assert longest(parts, 40, "in turn") <= max(1.3 * sum(sizes) / 40, 1.15 * max(machines))


@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("files", [7, 500, 21_000])
def test_there_are_as_many_shards_as_asked_for(count: int, files: int) -> None:
    chance = random.Random(files)
    assert len(shards_of([chance.randrange(5000) for _ in range(files)], count)) == min(count, files)


def test_a_plan_is_written_and_read_in_flat_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million lines are tried by `tests/large`; here, three times the lines take no more at once."""
    monkeypatch.setattr(packing, "WINDOW", 2_000)
    peaks = []
    for files in (5_000, 15_000):
        inventory = Inventory("basename")
        for first in range(0, files, 1000):
            inventory.add_block("/data", "", [(f"{n}.png", 1000 + n % 7) for n in range(first, first + 1000)])
        where = DocumentFolder.of(tmp_path / f"run-{files}", "run")
        tracemalloc.start()
        saved = save_uploads(where, TransferPlan("d", "up"), Author("org", "key"), None, inventory, None)
        head = asyncio.run(saved)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert head.counts == {"upload": files}
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([3, 7, 8, 9], "3,7-9"), ([0, 1, 3, 4], "0-1,3-4")]
)
def test_an_array_expression(numbers: list[int], text: str) -> None:
    assert array_of(numbers) == text
