"""Remote folders beside a dataset: synced both ways, verified, planned, at the price of a listing the second time."""

from __future__ import annotations

import datetime
import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

import vi
from tests.support.counting_service import CountingService, stored
from tests.support.pictures import MP4, tiny

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("upath")
MemoryFileSystem = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem

ROOT = "memory://bucket/images"
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Bucket:
    """Files in memory that were written long ago, and how often each was opened for reading."""

    def __init__(self) -> None:
        self.fs = fsspec.filesystem("memory")
        self.opened: Counter[str] = Counter()

    def put(self, name: str, data: bytes, *, minutes: int = 0) -> None:
        self.fs.pipe_file(f"/bucket/images/{name}", data)
        file = self.fs.store[f"/bucket/images/{name}"]
        file.created = file.modified = LONG_AGO + datetime.timedelta(minutes=minutes)

    def contents(self) -> dict[str, str]:
        found = self.fs.find("/bucket/images")
        return {path.removeprefix("/bucket/images/"): sha(self.fs.cat_file(path)) for path in found}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bucket]:
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    made = Bucket()
    for number in range(5):
        made.put(f"{number}.png", tiny(number))
    made.put("deep/5.png", tiny(5))
    made.put("notes.txt", b"text")
    made.put(".hidden.png", tiny(6))
    made.put("empty.png", b"")
    real = MemoryFileSystem._open

    def counted(self: Any, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb":
            made.opened[path] += 1
        return real(self, path, mode, **options)

    monkeypatch.setattr(MemoryFileSystem, "_open", counted)
    yield made
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def test_up_and_the_second_time_nothing_is_opened(do: Any, client: vi.Client, dataset: str, bucket: Bucket) -> None:
    result = do("sync", dataset, ROOT, names="relative", show_progress=False)
    assert (result.ok, result.upload.total_succeeded) == (True, 6)
    assert result.plan.skipped == {"hidden": 1, "empty": 1, "unsupported (.txt)": 1}
    assert stored(client, dataset).keys() == {*(f"{number}.png" for number in range(5)), "deep/5.png"}
    # To be sent; the plan asks for the first bytes alone.
    assert max(bucket.opened.values()) == 1
    bucket.opened.clear()
    result = do("sync", dataset, ROOT, names="relative", show_progress=False)
    assert (result.ok, result.plan.existing, len(result.plan)) == (True, 6, 0)
    assert not bucket.opened
    assert do("sync", dataset, ROOT, names="relative", checksum=True, show_progress=False).plan.existing == 6
    assert set(bucket.opened.values()) == {1}
    bucket.opened.clear()
    assert do("verify", dataset, ROOT, names="relative").ok
    assert set(bucket.opened.values()) == {1}


def test_more_large_objects_than_copies_are_each_read_once(
    service: CountingService, dataset: str, bucket: Bucket
) -> None:
    for number in range(40):
        bucket.put(f"{number}.mp4", MP4 + number.to_bytes(2, "big") * 550_000)
    with service.client(limits=vi.TransferLimits()) as client:
        assert client.assets.upload(dataset, ROOT, show_progress=False).total_succeeded == 46
    assert {count for name, count in bucket.opened.items() if name.endswith(".mp4")} == {1}


def test_bare_names_and_those_of_the_dataset(do: Any, client: vi.Client, dataset: str, bucket: Bucket) -> None:
    assert do("sync", dataset, ROOT, show_progress=False).upload.total_succeeded == 6
    assert "5.png" in stored(client, dataset)
    other = client.datasets.create(name="with folders").dataset_id
    do("sync", other, ROOT, names="relative", show_progress=False)
    assert do("sync", other, ROOT, show_progress=False).plan.existing == 6, "a path that is a name there stays one"


def test_only_the_difference_goes_up(do: Any, client: vi.Client, dataset: str, bucket: Bucket) -> None:
    do("sync", dataset, ROOT, names="relative", show_progress=False)
    bucket.put("1.png", tiny(1)[:-1] + b"x", minutes=1)
    bucket.put("new.png", tiny(50))
    bucket.fs.rm("/bucket/images/2.png")
    client.assets.upload(dataset, ("kept.png", tiny(60)), show_progress=False)
    check = do("verify", dataset, ROOT, names="relative")
    assert (check.different, check.only_local) == (["1.png"], ["new.png"])
    assert sorted(check.only_remote) == ["2.png", "kept.png"]
    result = do("sync", dataset, ROOT, names="relative", dry_run=True)
    assert result.plan.counts == {"upload": 2}
    refused = pytest.raises(vi.ViOperationError, match="max_delete=1")
    with refused:
        do("sync", dataset, ROOT, "up", True, names="relative", max_delete=1, show_progress=False)
    assert len(stored(client, dataset)) == 7
    bucket.put("1.png", tiny(51), minutes=2)
    result = do("sync", dataset, ROOT, "up", True, names="relative", exclude="kept*", show_progress=False)
    assert (result.upload.total_succeeded, result.deleted) == (2, 1)
    now = stored(client, dataset)
    assert now.pop("kept.png") == sha(tiny(60)), "what the filters leave out is never deleted"
    assert now == {k: v for k, v in bucket.contents().items() if k not in ("notes.txt", ".hidden.png", "empty.png")}


def test_an_excluded_folder_without_paths_in_names_deletes_nothing(do: Any, dataset: str, bucket: Bucket) -> None:
    do("sync", dataset, ROOT, show_progress=False)
    with pytest.raises(vi.ViOperationError, match="Nothing is deleted"):
        do("sync", dataset, ROOT, "up", True, exclude="deep/", show_progress=False)


@pytest.mark.parametrize("missing", [f"{ROOT}/nowhere", f"{ROOT}/1.png"])
def test_what_is_no_folder(do: Any, client: vi.Client, dataset: str, bucket: Bucket, missing: str) -> None:
    client.assets.upload(dataset, ("kept.png", tiny(60)), show_progress=False)
    for call, options in (("sync", {"delete": True}), ("verify", {})):
        with pytest.raises(vi.ViPathError, match=r"^(No such folder|.* is a file, not a folder)"):
            do(call, dataset, missing, **options)
    assert stored(client, dataset)


def test_down_and_the_second_time_nothing_is_opened(
    do: Any, client: vi.Client, dataset: str, both: Path, bucket: Bucket
) -> None:
    target = "memory://bucket/images/copy"
    assert do("sync", dataset, target, "down", dry_run=True).plan.counts == {"download": 6}
    result = do("sync", dataset, target, "down", show_progress=False)
    assert (result.ok, result.download.total_downloaded) == (True, 6)
    for path in bucket.fs.find("/bucket/images/copy"):
        bucket.fs.store[path].created = bucket.fs.store[path].modified = LONG_AGO
    assert do("sync", dataset, target, "down", show_progress=False).plan.existing == 6
    bucket.opened.clear()
    assert do("sync", dataset, target, "down", show_progress=False).plan.existing == 6
    assert not bucket.opened
    assert do("verify", dataset, target).ok


def test_down_replaces_and_deletes_with_the_same_guards(
    do: Any, client: vi.Client, dataset: str, both: Path, bucket: Bucket
) -> None:
    """Of the bucket, 0 to 4 are those of the dataset, which has a 5 too."""
    bucket.put("3.png", tiny(77), minutes=5)
    bucket.put("gone.png", tiny(78))
    result = do("sync", dataset, ROOT, "down", show_progress=False)
    assert (result.ok, result.deleted) == (True, 0)
    assert bucket.contents()["3.png"] == sha(tiny(3))
    with pytest.raises(vi.ViOperationError, match="max_delete=0"):
        do("sync", dataset, ROOT, "down", True, max_delete=0, show_progress=False)
    before = bucket.contents()
    result = do("sync", dataset, ROOT, "down", True, show_progress=False)
    assert result.deleted == 1
    gone = before.keys() - bucket.contents().keys()
    assert gone == {"gone.png"}, "neither hidden files, others, nor what lies in folders"
    empty = client.datasets.create(name="empty").dataset_id
    with pytest.raises(vi.ViOperationError, match="the dataset is empty"):
        do("sync", empty, ROOT, "down", True, show_progress=False)


def test_a_plan_is_carried_out_later_where_nothing_has_changed(
    do: Any, dataset: str, both: Path, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("3.png", tiny(77), minutes=5)
    bucket.put("gone.png", tiny(78))
    plan = do("sync", dataset, ROOT, "down", True, dry_run=True).plan
    assert plan.counts == {"download": 1, "delete_file": 1}
    plan.save(tmp_path / "plan")
    bucket.put("3.png", tiny(79), minutes=6)
    bucket.put("gone.png", tiny(80), minutes=6)
    result = do("apply", vi.TransferPlan.load(tmp_path / "plan"), show_progress=False)
    assert not result.ok
    assert {failure.code for failure in result.failures} <= {"ECHANGED", "ECANCELLED"}
    assert bucket.contents()["3.png"] == sha(tiny(79))
    assert "gone.png" in bucket.contents()
    plan = do("sync", dataset, ROOT, "down", True, dry_run=True).plan
    assert do("apply", plan, show_progress=False).deleted == 1
    assert bucket.contents()["3.png"] == sha(tiny(3))


def test_a_plan_up_takes_files_of_its_folder_only(do: Any, client: vi.Client, dataset: str, bucket: Bucket) -> None:
    plan = do("sync", dataset, ROOT, names="relative", dry_run=True).plan
    bucket.fs.pipe_file("/bucket/secret.png", tiny(90))
    plan.entries[0] = attrs.evolve(plan.entries[0], path="memory://bucket/images/../secret.png")
    result = do("apply", plan, show_progress=False)
    assert [failure.code for failure in result.failures] == ["ECHANGED"]
    assert sha(tiny(90)) not in stored(client, dataset).values()
    assert result.upload.total_succeeded == 5


ODD = [
    *("cam1/1.png", "cam2/1.png", "cam1/deep/2.png", "Case.png", "case.png", "A/1.png", "a/1.png", "dir?/b.png"),
    *("2024-01-01T12:00:00.png", "a#b.png", "a%3Ab.png", "%{3A}.png", "a[1].png", "a*b.png", " lead.png", "a\\b.png"),
    *("\u00e9.png", "e\u0301.png", "x" * 214 + ".png", "CON.png", "trail./x.png", "a b/c+d.png", ".hid/c.png"),
]


@pytest.mark.parametrize("names", ["basename", "relative"])
def test_rounds_of_odd_names_are_no_ops(
    do: Any, client: vi.Client, dataset: str, bucket: Bucket, names: vi.Naming
) -> None:
    """The copy verifies, and neither side grows, loses or replaces anything, whatever way the copy is compared."""
    place = "memory://copies/of a dataset"
    files = [(name, tiny(number)) for number, name in enumerate(ODD)]
    client.assets.upload(dataset, files, custom_metadata={"kept": "yes"}, show_progress=False)
    assert client.assets.download(dataset, place, show_progress=False).total_failed == 0
    before = sorted((asset.filename, asset.asset_id) for asset in client.assets.list(dataset).all_items())
    for _ in range(2):
        assert do("verify", dataset, place, names=names).ok
        up = do("sync", dataset, place, "up", True, names=names, show_progress=False)
        down = do("sync", dataset, place, "down", True, names=names, show_progress=False)
        assert (up.plan.counts, down.plan.counts, up.plan.skipped) == ({}, {}, {})
    assert sorted((asset.filename, asset.asset_id) for asset in client.assets.list(dataset).all_items()) == before
    assert len(bucket.fs.find("/copies")) == len(ODD)


def test_one_dataset_to_another(service: CountingService, client: vi.Client, dataset: str, both: Path) -> None:
    """By ``vi://``, in a process of its own, whose client is that of the environment."""
    other = client.datasets.create(name="other").dataset_id
    code = (
        "import vi, sys\n"
        "with vi.Client() as client:\n"
        "    for _ in range(2):\n"
        "        result = client.assets.sync(sys.argv[2], f'vi://{sys.argv[1]}', show_progress=False)\n"
        "        print(result.ok, len(result.plan), result.plan.existing)\n"
        "    print(client.assets.verify(sys.argv[2], f'vi://{sys.argv[1]}').ok)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, dataset, other],
        capture_output=True,
        text=True,
        env={**os.environ, **service.environment},
    )
    assert done.stdout == "True 6 0\nTrue 0 6\nTrue\n", done.stderr
    assert stored(client, other) == stored(client, dataset)


def test_a_store_is_filtered_by_the_names_that_its_paths_stand_for(client: vi.Client, dataset: str) -> None:
    names = ["a:b.png", "x/.png", "c.png"]
    items = [(name, tiny(number)) for number, name in enumerate(names)]
    client.assets.upload(dataset, items, names="relative", show_progress=False)
    address = f"memory://{dataset}"
    assert client.assets.download(dataset, address, show_progress=False).total_downloaded == 3
    assert client.assets.verify(dataset, address).matching == 3
    assert client.assets.verify(dataset, address, exclude="a:b.png").matching == 2
