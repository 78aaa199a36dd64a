"""File systems that are honest but poor, by what they answer at the boundary to the system."""

from __future__ import annotations

import errno
import itertools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vi
from vi import _disk
from vi._transfer.journals import locked_lines
from vi.api.resources.datasets.assets.plans import PlannedTransfer, TransferPlan

MIB = 1 << 20
IN_ORDER = ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size")
"""The fields of a status that are given by their place."""


@pytest.fixture
def restless_inodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives a file another inode number at each look, as FUSE without ``use_ino`` and some shares do."""
    numbers = itertools.count(1)
    for name in ("stat", "lstat", "fstat"):
        real = getattr(os, name)

        def look(*arguments: Any, real: Callable[..., os.stat_result] = real, **options: Any) -> os.stat_result:
            found = real(*arguments, **options)
            fields = list(found[:10])
            fields[1] = next(numbers)
            rest = {key: getattr(found, key) for key in dir(found) if key.startswith("st_") and key not in IN_ORDER}
            return os.stat_result(fields, rest)

        monkeypatch.setattr(os, name, look)


@pytest.mark.usefixtures("restless_inodes")
def test_an_inode_number_that_changes_is_no_change_of_the_file(
    client: vi.Client, dataset: str, images: Path, tmp_path: Path
) -> None:
    assert os.stat(images).st_ino != os.stat(images).st_ino  # noqa: PTH116
    (images / "deep").mkdir()
    (images / "deep" / "more").symlink_to(images)
    result = client.assets.upload(dataset, images, follow_links=True)
    assert (result.total_succeeded, result.failures) == (4, [])
    assert client.assets.download(dataset, tmp_path / "copy").total_downloaded == 4
    assert client.assets.verify(dataset, tmp_path / "copy").ok


class Flushes:
    """Answers ``fsync`` with an error."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0

    def __call__(self, descriptor: int) -> None:
        self.count += 1
        raise OSError(self.number, os.strerror(self.number))


UNSUPPORTED = sorted({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
OTHERS = sorted({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EBADF, errno.ENOSYS})


def large(service: Any, dataset: str, folder: Path, client: vi.Client) -> None:
    from vi import _samples

    folder.mkdir()
    path = folder / "large.bmp"
    path.write_bytes(_samples.encode(3, ".bmp", (800, 600)))
    assert path.stat().st_size > MIB
    assert client.assets.upload(dataset, path).total_succeeded == 1


@pytest.mark.parametrize("number", UNSUPPORTED, ids=lambda number: errno.errorcode[number])
def test_a_disk_that_cannot_flush_holds_large_files_all_the_same(
    service: Any, client: vi.Client, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    large(service, dataset, tmp_path / "from", client)
    flushes = Flushes(number)
    monkeypatch.setattr(os, "fsync", flushes)
    assert client.assets.download(dataset, tmp_path / "to").total_downloaded == 1
    assert flushes.count


@pytest.mark.parametrize("number", OTHERS, ids=lambda number: errno.errorcode[number])
def test_any_other_answer_to_a_flush_is_a_fault_of_the_disk(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", Flushes(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        _disk.flush(1)


@pytest.mark.parametrize("number", UNSUPPORTED, ids=lambda number: errno.errorcode[number])
def test_the_service_stores_on_a_disk_that_cannot_flush(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    flushes = Flushes(number)
    monkeypatch.setattr(os, "fsync", flushes)
    with vi.Client.local(tmp_path / "data") as client:
        dataset = client.datasets.create(name="unflushed").dataset_id
        assert client.assets.upload(dataset, images).total_succeeded == 4
    assert flushes.count


@pytest.fixture
def generous_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locked_lines, "try_lock", lambda descriptor: True)


@pytest.mark.usefixtures("generous_locks")
def test_downloads_side_by_side_keep_apart_where_every_lock_is_granted(
    client: vi.Client, dataset: str, images: Path, tmp_path: Path
) -> None:
    client.assets.upload(dataset, images)
    results: list[Any] = []

    def download() -> None:
        results.append(client.assets.download(dataset, tmp_path / "copy", show_progress=False))

    threads = [threading.Thread(target=download) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [(result.failures, result.conflicts) for result in results] == [([], [])] * 3
    assert sum(result.total_downloaded for result in results) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="locks are the system's own on Windows")
@pytest.mark.usefixtures("generous_locks")
def test_a_journal_of_a_living_run_is_not_taken_over_and_one_of_a_dead_run_is(tmp_path: Path) -> None:
    path, descriptor = locked_lines.create(tmp_path, "x")
    locked_lines.LineWriter(descriptor).write({"vi": 1, **locked_lines.owner()})
    assert locked_lines.is_locked(path)
    locked_lines.release(descriptor)
    assert not locked_lines.is_locked(path)

    other = locked_lines.owner() | {"pid": os.getppid(), "started": locked_lines._started(os.getppid())}
    path.write_text("")
    with path.open("a") as file:
        file.write(locked_lines.json.dumps({"vi": 1, **other}) + "\n")
    assert locked_lines.is_locked(path)
    path.write_text(locked_lines.json.dumps({"vi": 1, **other, "started": -1}) + "\n")
    assert not locked_lines.is_locked(path)  # a later process of the same number
    path.write_text(locked_lines.json.dumps({"vi": 1, **other, "host": "another"}) + "\n")
    assert not locked_lines.is_locked(path)
    path.write_text("")
    assert not locked_lines.is_locked(path)


class Unwritable:
    """Refuses to make anything in a folder, as one without write permission does; root may write everywhere else."""

    def __init__(self, folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.number = str(folder), number
        self._open = os.open
        monkeypatch.setattr(os, "open", self)

    def __call__(self, path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and ("dir_fd" in options or str(path).startswith(self.folder)):
            raise OSError(self.number, os.strerror(self.number), path)
        return self._open(path, flags, *rest, **options)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS], ids=lambda number: errno.errorcode[number])
def test_a_complete_copy_needs_no_permission_to_write(
    client: vi.Client, dataset: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    client.assets.upload(dataset, images)
    copy = tmp_path / "copy"
    client.assets.download(dataset, copy)
    Unwritable(copy, number, monkeypatch)
    result = client.assets.download(dataset, copy)
    assert (result.total_existing, result.total_downloaded, result.failures) == (4, 0, [])
    assert client.assets.verify(dataset, copy).ok
    next(copy.iterdir()).unlink()
    with pytest.raises(vi.ViDownloadError, match="Nothing can be saved") as refused:
        client.assets.download(dataset, copy)
    assert refused.value.error_code == errno.errorcode[number]
    assert len(list(copy.iterdir())) == 3


MOMENTS = st.integers(min_value=-(2**62), max_value=2**63)


@given(mtime=MOMENTS)
def test_a_plan_holds_any_time(tmp_path_factory: pytest.TempPathFactory, mtime: int) -> None:
    path = tmp_path_factory.mktemp("plan") / "plan.jsonl"
    entry = PlannedTransfer("delete_file", "a.png", "/x/a.png", 1, "not in the dataset", mtime_ns=mtime)
    plan = TransferPlan(dataset_id="d", direction="down", entries=[entry])
    plan.save(path)
    assert TransferPlan.load(path).entries == [entry]


@pytest.mark.parametrize("moment", [-86_400, 0, 4_102_444_800, 17_000_000_000], ids=["1969", "1970", "2100", "2508"])
def test_files_of_any_time_are_moved_and_synced(
    client: vi.Client, dataset: str, images: Path, tmp_path: Path, moment: int
) -> None:
    for path in images.iterdir():
        os.utime(path, (moment, moment))
    assert client.assets.upload(dataset, images).total_succeeded == 4
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "more.png").write_bytes(next(images.glob("*")).read_bytes())
    os.utime(copy / "more.png", (moment, moment))
    plan = client.assets.sync(dataset, copy, direction="down", delete=True, dry_run=True).plan
    assert plan is not None
    plan.save(tmp_path / "plan.jsonl")
    result = client.assets.apply(TransferPlan.load(tmp_path / "plan.jsonl"))
    assert result.ok
    assert sorted(path.name for path in copy.iterdir()) == sorted(path.name for path in images.iterdir())


class Busy(PermissionError):
    """What Windows says of a file that another program has open."""

    def __init__(self, winerror: int) -> None:
        super().__init__(errno.EACCES, "The process cannot access the file")
        self.winerror = winerror


@pytest.mark.parametrize("winerror", [5, 32, 33])
def test_a_sharing_violation_is_waited_for(monkeypatch: pytest.MonkeyPatch, winerror: int) -> None:
    monkeypatch.setattr(_disk.time, "sleep", lambda seconds: None)
    left = [3]

    def rename(value: str) -> str:
        if left[0]:
            left[0] -= 1
            raise Busy(winerror)
        return value

    assert _disk.when_free(rename, "done") == "done"


@pytest.mark.parametrize(("winerror", "calls"), [(32, len(_disk.WAITS) + 1), (80, 1), (None, 1)])
def test_what_stays_and_what_is_no_sharing_violation_is_raised(
    monkeypatch: pytest.MonkeyPatch, winerror: int | None, calls: int
) -> None:
    monkeypatch.setattr(_disk.time, "sleep", lambda seconds: None)
    made: list[int] = []

    def rename() -> None:
        made.append(1)
        raise Busy(winerror) if winerror is not None else PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        _disk.when_free(rename)
    assert len(made) == calls


@pytest.mark.parametrize("kind", ["folder", "protected"])
def test_what_no_wait_frees_is_asked_for_once(tmp_path: Path, kind: str) -> None:
    place, asked = tmp_path / "there", []
    if kind == "folder":
        place.mkdir()
    else:
        place.touch(0o400)

    def replace(part: str, target: Path) -> None:
        asked.append(target)
        raise Busy(5)

    with pytest.raises(PermissionError):
        _disk.when_free(replace, "part", place)
    assert asked == [place]
