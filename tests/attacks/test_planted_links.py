"""Row A19: links that appear where files are being saved are not followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from vi import TransferLimits
from vi._transfer import files, open_folder
from vi._transfer.journals.digests import _check_private
from vi._transfer.journals.locked_lines import lock
from vi._transfer.open_folder import OpenFolder

HEAD = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
SIZES = {"small.mp4": 5 << 10, "one.mp4": 1500 << 10, "ranges.mp4": 3000 << 10}
LIMITS = TransferLimits(multipart_threshold=2 << 20, range_size=512 << 10)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    folder = tmp_path / "victim"
    (folder / "sub").mkdir(parents=True)
    for name in SIZES:
        (folder / name).write_bytes(b"mine")
        (folder / "sub" / name).write_bytes(b"mine")
    return folder


def untouched(victim: Path) -> bool:
    return {path.read_bytes() for path in victim.rglob("*.mp4")} == {b"mine"} and len(list(victim.rglob("*"))) == 7


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[vi.Client]:
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    with vi.Client.local(tmp_path / "data", limits=LIMITS) as client:
        yield client


def stored(client: vi.Client, name: str, tmp_path: Path) -> tuple[str, bytes]:
    path = tmp_path / "source" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = HEAD + os.urandom(SIZES[path.name])
    path.write_bytes(data)
    dataset = client.datasets.create(name="d").dataset_id
    assert client.assets.upload(dataset, tmp_path / "source", names="relative").total_succeeded == 1
    return dataset, data


@pytest.mark.parametrize("relative", [True, False], ids=["by descriptor", "by real path"])
@pytest.mark.parametrize("below", ["", "sub/"], ids=["the folder itself", "a folder in it"])
@pytest.mark.parametrize("name", SIZES)
def test_A19_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(
    name: str, below: str, relative: bool, client: vi.Client, victim: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    if relative and not open_folder.RELATIVE:
        pytest.skip("this system opens no names relative to an open folder")
    monkeypatch.setattr(open_folder, "RELATIVE", relative)
    dataset, data = stored(client, below + name, tmp_path)
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    swapped = copy / below if below else copy
    real = files.publish

    def swapping(*arguments: Any, **options: Any) -> bool:
        if not moved.exists():
            swapped.rename(moved)
            swapped.symlink_to(victim / below)
        return real(*arguments, **options)

    monkeypatch.setattr(files, "publish", swapping)
    result = client.assets.download(dataset, copy, overwrite=True, raise_on_failure=False)
    assert untouched(victim)
    if relative and not below:
        assert result.total_downloaded == 1
        assert [path.read_bytes() for path in moved.iterdir()] == [data]
    else:
        assert result.total_downloaded == 0
        assert [conflict.code for conflict in result.conflicts] == ["ECONFLICT"]
    assert not list(moved.glob(".*.part")) or not relative


@pytest.mark.parametrize("relative", [True, False], ids=["by descriptor", "by real path"])
def test_A19_a_link_that_is_there_before_leads_nowhere(
    relative: bool, client: vi.Client, victim: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(open_folder, "RELATIVE", relative and open_folder.RELATIVE)
    dataset, _ = stored(client, "sub/small.mp4", tmp_path)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "sub").symlink_to(victim / "sub")
    result = client.assets.download(dataset, tmp_path / "copy", overwrite=True, raise_on_failure=False)
    assert "in the way" in result.conflicts[0].message
    assert untouched(victim)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "", "a//x", "./x", "..", "a/.."])
@pytest.mark.parametrize("relative", [True, False], ids=["by descriptor", "by real path"])
def test_A19_no_path_leads_out(path: str, relative: bool, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(open_folder, "RELATIVE", relative and open_folder.RELATIVE)
    (tmp_path / "in" / "a").mkdir(parents=True)
    folder = OpenFolder(tmp_path / "in")
    for call in (folder.lstat, folder.unlink, folder.make_folders):
        with pytest.raises(OSError):
            call(str(tmp_path / "in") + "/" + path)
    folder.close()


def test_A19_a_journal_with_a_second_name_is_left_alone(tmp_path: Path) -> None:
    precious, planted = tmp_path / "precious", tmp_path / "upload.00000000.jsonl"
    precious.write_text("{}\n")
    planted.hardlink_to(precious)
    assert lock(planted) is None
    planted.rename(tmp_path / "digests.db")
    with pytest.raises(PermissionError, match="a second name"):
        _check_private(tmp_path, tmp_path / "digests.db")
    assert precious.read_text() == "{}\n"
