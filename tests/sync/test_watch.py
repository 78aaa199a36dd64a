"""Watching a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.counting_service import CountingService
from tests.support.pictures import tiny
from tests.support.systems import needs_links, needs_modes
from tests.sync.disks import KINDS, OtherDisk

pytest.importorskip("watchfiles")


def names(client: vi.Client, dataset: str) -> list[str]:
    return sorted(asset.filename for asset in client.assets.list(dataset).all_items())


def test_what_is_there_and_what_comes_is_stored_once(client: vi.Client, dataset: str, images: Path) -> None:
    there = sorted(path.name for path in images.iterdir())
    client.assets.upload(dataset, next(images.iterdir()), show_progress=False)
    with client.assets.watch(dataset, images, settle=0.1) as watching:
        assert sorted(next(watching).filename for _ in there) == there
        (images / "half.png").write_bytes(tiny(9)[:40])
        with (images / "half.png").open("ab") as file:
            file.write(tiny(9)[40:])
        event = next(watching)
        assert (event.kind, event.filename) == ("stored", "half.png")
        watching.stop()
        assert list(watching) == []
    assert names(client, dataset) == sorted([*there, "half.png"])


async def check_async(client: vi.AsyncClient, dataset: str, images: Path) -> None:
    async with client.assets.watch(dataset, images, settle=0.1) as watching:
        async for event in watching:
            assert event.kind == "stored"
            watching.stop()


@pytest.mark.anyio
async def test_the_async_form(async_client: vi.AsyncClient, images: Path) -> None:
    made = await async_client.datasets.create(name="watched")
    await check_async(async_client, made.dataset_id, images)


def test_files_are_moved_after_they_are_stored(client: vi.Client, dataset: str, images: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    there = sorted(path.name for path in images.iterdir())
    with client.assets.watch(dataset, images, settle=0.1, move_to=done) as watching:
        events = [next(watching) for _ in range(2 * len(there))]
    assert sorted(event.kind for event in events) == ["moved"] * 4 + ["stored"] * 4
    assert sorted(path.name for path in done.iterdir()) == there == names(client, dataset)
    assert list(images.iterdir()) == []


def test_a_refused_file_is_named_and_stays(client: vi.Client, dataset: str, images: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    for path in images.iterdir():
        path.unlink()
    (images / "text.png").write_bytes(b"not a picture")
    with client.assets.watch(dataset, images, settle=0.1, move_to=done) as watching:
        event = next(watching)
    assert (event.kind, event.code) == ("failed", "EBADMIME")
    assert (images / "text.png").exists()


@needs_modes
def test_what_cannot_be_read_is_named_and_stored_once_it_can(client: vi.Client, dataset: str, images: Path) -> None:
    below = images / "below"
    below.mkdir()
    (below / "inside.png").write_bytes(tiny(7))
    locked = images / "locked.png"
    locked.write_bytes(tiny(8))
    locked.chmod(0)
    if os.access(locked, os.R_OK):
        pytest.skip("this user reads everything")
    below.chmod(0)
    try:
        with client.assets.watch(dataset, images, settle=0.1) as watching:
            events = [next(watching) for _ in range(6)]
            assert {event.filename for event in events if event.kind == "failed"} == {"below", "locked.png"}
            assert {event.code for event in events if event.kind == "failed"} == {"EACCES"}
            locked.chmod(0o600)
            assert next(watching).filename == "locked.png"
            below.chmod(0o700)
            assert next(watching).filename == "inside.png"
    finally:
        below.chmod(0o700)


@pytest.mark.parametrize("call", ["open", "unlink"])
def test_a_file_that_another_program_has_open_is_stored_and_moved_once_it_is_free(
    client: vi.Client, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """On Windows such a file seems to be readable, and cannot be opened, or can be opened and not renamed."""
    folder, done = tmp_path / "folder", tmp_path / "done"
    for one in (folder, done):
        one.mkdir()
    (folder / "a.png").write_bytes(tiny(1))
    held, real = {str(folder / "a.png")}, getattr(os, call)

    def call_unless_held(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path) in held:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, call, call_unless_held)
    with client.assets.watch(dataset, folder, settle=0.1, move_to=done) as watching:
        events = [next(watching) for _ in range(1 if call == "open" else 2)]
        assert (events[-1].kind, events[-1].code) == ("failed", "EACCES")
        assert (folder / "a.png").exists()
        held.clear()
        events += [next(watching) for _ in range(3 - len(events))]
    assert sorted(event.kind for event in events) == ["failed", "moved", "stored"]
    assert [path.name for path in done.iterdir()] == names(client, dataset) == ["a.png"]


def test_what_is_at_the_place_to_move_to_stays(client: vi.Client, dataset: str, images: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    first = min(path.name for path in images.iterdir())
    (done / first).write_bytes(b"mine")
    with client.assets.watch(dataset, images, settle=0.1, move_to=done) as watching:
        events = [next(watching) for _ in range(8)]
    (failed,) = (event for event in events if event.kind == "failed")
    assert (failed.filename, failed.code) == (first, "EIO")
    assert "was stored and not moved" in failed.message
    assert (done / first).read_bytes() == b"mine"
    assert [path.name for path in images.iterdir()] == [first]
    assert len(names(client, dataset)) == 4


@needs_links
def test_no_link_is_followed_or_replaced_where_files_are_moved_to(
    client: vi.Client, dataset: str, images: Path, tmp_path: Path
) -> None:
    done, outside = tmp_path / "done", tmp_path / "outside"
    done.mkdir()
    outside.mkdir()
    (images / "below").mkdir()
    paths = sorted(path for path in images.iterdir() if path.is_file())
    for path in paths[2:]:
        path.unlink()
    paths[0].rename(images / "below" / paths[0].name)
    (done / "below").symlink_to(outside)
    (done / paths[1].name).symlink_to(outside / "nothing")
    with client.assets.watch(dataset, images, settle=0.1, move_to=done) as watching:
        events = [next(watching) for _ in range(4)]
    assert sorted(event.kind for event in events) == ["failed", "failed", "stored", "stored"]
    assert list(outside.iterdir()) == []
    assert (done / paths[1].name).is_symlink()
    assert {path.name for path in images.rglob("*.*")} == {path.name for path in paths[:2]}


def test_ignored_files_are_left(client: vi.Client, dataset: str, images: Path) -> None:
    (images / ".viignore").write_text("draft-*\n")
    (images / "draft-1.png").write_bytes(tiny(1))
    with client.assets.watch(dataset, images, settle=0.1, exclude="*-2.png") as watching:
        there = {next(watching).filename for _ in range(4)}
        (images / "draft-2.png").write_bytes(tiny(2))
        (images / "last-2.png").write_bytes(tiny(3))
        (images / "last.png").write_bytes(tiny(4))
        assert next(watching).filename == "last.png"
        watching.stop()
        assert list(watching) == []
    assert names(client, dataset) == sorted([*there, "last.png"])


def listeners() -> int:
    """How often this process listens for changes of folders."""
    count = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += "inotify" in str(path.readlink())
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="it counts what Linux shows of this process")
@pytest.mark.parametrize("way", ["close", "stop", "error", "client"])
def test_nothing_listens_after_the_end(service: CountingService, dataset: str, images: Path, way: str) -> None:
    before = listeners()
    with service.client() as client:
        watching = client.assets.watch(dataset, images, settle=0.1)
        next(watching)
        assert listeners() > before
        if way == "stop":
            watching.stop()
            list(watching)
        elif way == "error":
            client.datasets.delete(dataset)
            (images / "more.png").write_bytes(tiny(1))
            with pytest.raises(vi.ViError):
                list(watching)
            assert list(watching) == []
        elif way == "close":
            watching.close()
    assert listeners() == before


@pytest.mark.parametrize("wrong", [{"settle": 0}, {"move_to": "images"}, {"move_to": "nowhere"}])
def test_wrong_arguments_are_refused(client: vi.Client, dataset: str, images: Path, wrong: dict[str, object]) -> None:
    if isinstance(wrong.get("move_to"), str):
        wrong = {"move_to": images.parent / str(wrong["move_to"])}
    with pytest.raises(vi.ViInvalidParameterError):
        client.assets.watch(dataset, images, **wrong)  # type: ignore[arg-type]


@needs_links
def test_files_are_not_moved_into_the_watched_folder_however_it_is_spelled(
    client: vi.Client, dataset: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "done").mkdir()
    OtherDisk(str(images.parent), KINDS["APFS"]).install(monkeypatch)
    with pytest.raises(vi.ViInvalidParameterError, match="outside the watched folder"):
        client.assets.watch(dataset, images, move_to=images.parent / images.name.upper() / "Done")


def test_two_files_of_one_name_are_named_and_left(client: vi.Client, dataset: str, images: Path) -> None:
    for path in images.iterdir():
        path.unlink()
    for folder in ("a", "b"):
        (images / folder).mkdir()
        (images / folder / "1.png").write_bytes(tiny(1))
    with client.assets.watch(dataset, images, settle=0.1) as watching:
        assert [next(watching).code for _ in range(2)] == ["EBADNAME"] * 2
    assert names(client, dataset) == []
