"""Windows neither renames nor removes a file that somebody has open; here, none that this process has open."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.environments.conftest import Program
from tests.support.sharing import Sharing, as_windows_shares
from vi import TransferLimits, _samples
from vi._transfer import files
from vi._transfer.journals import locked_lines
from vi._transfer.open_folder import OpenFolder
from vi.server import ServiceConfig
from vi.testing import TestedService

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it plays Windows, by what /proc says of open files")

KIB = 1 << 10
LIMITS = TransferLimits(multipart_threshold=2048 * KIB, range_size=512 * KIB)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Sharing:
    monkeypatch.setattr("vi._disk.WAITS", (0.001,) * 3)
    return as_windows_shares(monkeypatch)


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    running = TestedService(tmp_path_factory.mktemp("parts") / "data", ServiceConfig(part_bytes=256 * KIB))
    yield running
    running.stop()


@pytest.fixture
def client(parted: TestedService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[vi.Client]:
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    with parted.client(limits=LIMITS) as client:
        yield client


@pytest.fixture
def films(tmp_path: Path) -> dict[str, bytes]:
    """One that comes in one answer, one in one stream, one in ranges."""
    folder = tmp_path / "films"
    folder.mkdir()
    head = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
    found = {}
    for name, size in (("small.mp4", 5 * KIB), ("one.mp4", 1500 * KIB), ("ranges.mp4", 3000 * KIB)):
        found[name] = head + os.urandom(size - len(head))
        (folder / name).write_bytes(found[name])
    return found


@pytest.fixture
def stored(client: vi.Client, films: dict[str, bytes], tmp_path: Path) -> str:
    dataset: str = client.datasets.create(name="films").dataset_id
    assert client.assets.upload(dataset, paths=tmp_path / "films").total_failed == 0
    return dataset


def journals(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_of_each_size_come_up_and_down_and_leave_nothing_behind(
    windows: Sharing, client: vi.Client, films: dict[str, bytes], tmp_path: Path
) -> None:
    dataset = client.datasets.create(name="films").dataset_id
    assert client.assets.upload(dataset, paths=tmp_path / "films").total_failed == 0
    down = client.assets.download(dataset, tmp_path / "out")
    assert (down.total_downloaded, down.failures) == (3, [])
    assert held(tmp_path / "out") == films
    assert journals(tmp_path) == []
    # The lock says whose a journal is, so it is tried first with the lock held, as other systems allow it.
    assert all(path.endswith(".jsonl") for path in windows.refused), windows.refused


def test_files_of_each_size_are_replaced(
    windows: Sharing, client: vi.Client, stored: str, films: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in films:
        (out / name).write_bytes(b"an older one")
    down = client.assets.download(stored, out, overwrite=True)
    assert (down.total_downloaded, down.failures, held(out)) == (3, [], films)


def test_a_part_file_in_use_is_removed_by_its_last_user(windows: Sharing, tmp_path: Path) -> None:
    part = files.PartFile(OpenFolder(tmp_path), str(tmp_path / ".a.part"))
    with part._use():
        assert not part.discard()
        assert Path(part.path).exists()
    assert not Path(part.path).exists()


def test_a_journal_is_removed_although_it_is_open(windows: Sharing, tmp_path: Path) -> None:
    path, descriptor = locked_lines.create(tmp_path, "j")
    locked_lines.remove(path, descriptor)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_another_program_has_open_fails_by_name_and_the_others_are_replaced(
    windows: Sharing, client: vi.Client, stored: str, films: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in films:
        (out / name).write_bytes(b"an older one")
    windows.busy = {str(out / "one.mp4")}
    down = client.assets.download(stored, out, overwrite=True, raise_on_failure=False)
    assert [(failure.filename, failure.code) for failure in down.failures] == [("one.mp4", "EACCES")]
    assert "open in another program" in down.failures[0].message
    assert held(out) == films | {"one.mp4": b"an older one"}
    assert windows.tries >= 4  # it may be for a moment only
    windows.busy = set()
    assert client.assets.download(stored, out, overwrite=True).total_downloaded == 1
    assert held(out) == films
    assert journals(tmp_path) == []


@pytest.mark.skipif(shutil.which("chattr") is None, reason="protects a file with chattr")
def test_a_protected_file_fails_by_name_and_the_others_are_replaced(
    client: vi.Client, stored: str, films: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "small.mp4").write_bytes(b"an older one")
    if subprocess.run(["chattr", "+i", out / "small.mp4"], capture_output=True).returncode:
        pytest.skip("this file system has no protected files, or this user may not protect any")
    try:
        down = client.assets.download(stored, out, overwrite=True, raise_on_failure=False)
        assert [(failure.filename, failure.code) for failure in down.failures] == [("small.mp4", "EPERM")]
        assert held(out) == films | {"small.mp4": b"an older one"}
    finally:
        subprocess.run(["chattr", "-i", out / "small.mp4"], check=True)


def test_a_folder_that_takes_nothing_more_ends_the_download(
    windows: Sharing, client: vi.Client, stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be given its name, and then no file can be made either."""
    out = tmp_path / "out"
    real_open, real_link = os.open, os.link
    closed = False

    def refuse(path: Any) -> None:
        if closed and os.fsdecode(path).startswith(str(out)):
            raise PermissionError(errno.EACCES, "Permission denied", path)

    def opened(path: Any, *arguments: Any, **options: Any) -> int:
        refuse(path)
        return real_open(path, *arguments, **options)

    def linked(source: Any, target: Any, **options: Any) -> None:
        nonlocal closed
        closed = True
        refuse(target)
        real_link(source, target, **options)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "rename", linked)
    with pytest.raises(vi.ViDownloadError, match="cannot continue"):
        client.assets.download(stored, out)


def test_a_name_that_the_locale_cannot_express_is_written_out(
    program: Program, parted: TestedService, client: vi.Client, tmp_path: Path
) -> None:
    sample = _samples.encode(1, ".png", (32, 24))
    folder = tmp_path / "named"
    for name in ("a.png", "日本2.png", "é/x.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(sample)
    dataset = client.datasets.create(name="named").dataset_id
    assert client.assets.upload(dataset, paths=folder, names="relative").total_failed == 0
    done = program(
        """
import sys, vi
assert sys.getfilesystemencoding() == "ascii"
with vi.Client() as client:
    down = client.assets.download(sys.argv[1], "out")
    assert not down.failures, down.failures
    again = client.assets.download(sys.argv[1], "out")
    assert again.total_existing == 3, again
    up = client.assets.sync(sys.argv[1], "out", dry_run=True)
    assert not list(up.plan), up.plan
""",
        dataset,
        env={**parted.environment, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["%{65E5.672C}2.png", "%{E9}", "a.png"]
