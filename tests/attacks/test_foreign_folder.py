"""Row A6: a data folder that somebody else made is data, and has no effect outside itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import vi
from tests.support.systems import needs_links
from vi._disk import open_private
from vi._transfer.filters import Filters
from vi.server.disk import lock
from vi.server.store.database import Database, TooManyReadsError

pytestmark = needs_links


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What is the user's own, and must be the same afterwards."""
    folder = tmp_path / "home"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "a.txt").write_text("mine")
    (folder / "notes.txt").write_text("mine too")
    return folder


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A data folder with an asset in it, at rest."""
    data = tmp_path / "shared"
    with vi.Client.local(data) as client:
        picture = tmp_path / "a.png"
        Image.new("RGB", (8, 8), (1, 2, 3)).save(picture)
        client.assets.upload(client.datasets.create("d").dataset_id, picture)
    return data


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def sql(data: Path, *statements: tuple[str, tuple[str, ...]]) -> None:
    with sqlite3.connect(data / "vi.db") as connection:
        for text, values in statements:
            connection.execute(text, values)
    connection.close()


def looked_at(data: Path) -> vi.ViError | None:
    """Open the folder, ask for all it has, and return the error of that."""
    try:
        with vi.Client.local(data) as client:
            for dataset in client.datasets.list().all_items():
                client.assets.download(
                    dataset.dataset_id, data.parent / "out", raise_on_failure=False, show_progress=False
                )
    except vi.ViError as error:
        return error
    return None


FOREIGN_NAMES: list[Callable[[Path], str]] = [
    lambda home: f"parts/../../../home/{home.name and 'docs'}",
    lambda home: str(home / "notes.txt"),
    lambda home: f"parts/{home / 'docs'}",
    lambda home: "../../../home/notes.txt",
    lambda home: "000000-/../../../../home/notes.txt",
    lambda home: "parts/",
    lambda home: "parts/..",
    lambda home: "",
    lambda home: ".",
]


@pytest.mark.parametrize("number", range(len(FOREIGN_NAMES)))
def test_A6_a_name_of_the_database_removes_nothing_outside(shared: Path, home: Path, number: int) -> None:
    before = contents(home)
    name = FOREIGN_NAMES[number](home)
    sql(shared, ("insert or ignore into garbage values (?)", (name,)))
    assert looked_at(shared) is None
    assert contents(home) == before
    assert list((shared.parent / "out").rglob("a.png"))


@pytest.mark.parametrize("number", range(len(FOREIGN_NAMES)))
def test_A6_a_name_of_the_database_serves_nothing_outside(shared: Path, home: Path, number: int) -> None:
    sql(shared, ("update asset set blob = ?", (FOREIGN_NAMES[number](home),)))
    assert looked_at(shared) is None
    got = [path.read_bytes() for path in (shared.parent / "out").rglob("*") if path.is_file()]
    assert not any(b"mine" in data for data in got)
    assert contents(home)["notes.txt"] == b"mine too"


@pytest.mark.parametrize("name", ["service.lock", "identity.json", "vi.db", "vi.db-wal", "vi.db-shm", "vi.db-journal"])
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_A6_a_file_of_the_folder_is_a_file_of_the_folder(shared: Path, home: Path, name: str, kind: str) -> None:
    before = contents(home)
    (shared / name).unlink(missing_ok=True)
    if kind == "link":
        (shared / name).symlink_to(home / "notes.txt")
    elif kind == "hard link":
        (shared / name).hardlink_to(home / "notes.txt")
    else:
        os.mkfifo(shared / name)
    error = looked_at(shared)
    assert isinstance(error, vi.ViConfigurationError)
    assert name in str(error)
    assert contents(home) == before


@pytest.mark.parametrize("name", ["bytes", "bytes/objects", "bytes/staging", "bytes/parts", "bytes/previews"])
def test_A6_a_folder_of_the_folder_is_a_real_one(shared: Path, home: Path, name: str) -> None:
    before = contents(home)
    (shared / name).rename(shared.parent / "moved")
    (shared / name).symlink_to(home)
    assert isinstance(looked_at(shared), vi.ViConfigurationError)
    assert contents(home) == before


def test_A6_a_journal_of_the_database_removes_no_file_that_it_names(shared: Path, home: Path) -> None:
    """SQLite removes the super-journal that a rollback journal names: whatever file that is."""
    before = contents(home)
    magic, name = bytes.fromhex("d9d505f920a163d7"), str(home / "notes.txt").encode()
    size, page = (shared / "vi.db").stat().st_size, 4096
    head = magic + struct.pack(">5I", 0, 1, size // page, 512, page)
    named = struct.pack(">I", (1 << 30) // page + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    (shared / "vi.db-journal").write_bytes(head.ljust(512, b"\0") + named)
    error = looked_at(shared)
    assert isinstance(error, vi.ViConfigurationError)
    assert "vi.db-journal names another file" in str(error)
    assert contents(home) == before


@pytest.mark.parametrize("name", ["service.lock", "identity.json"])
@pytest.mark.parametrize("kind", ["endless", "deep"])
def test_A6_a_file_of_the_folder_is_read_within_limits(shared: Path, name: str, kind: str) -> None:
    with (shared / name).open("wb") as file:
        file.truncate(1 << 36) if kind == "endless" else file.write(b"[" * 500_000)
    before = lock.read_address(shared / name)
    error = looked_at(shared)
    assert before is None
    assert isinstance(error, vi.ViConfigurationError) == (name == "identity.json")


@pytest.mark.parametrize("name", ["bytes/objects/000002", "bytes/parts/u_1", "bytes/objects/00000f"])
def test_A6_nothing_is_stored_through_a_link(shared: Path, home: Path, name: str) -> None:
    before = contents(home)
    (shared / name).symlink_to(home / "docs")
    picture = shared.parent / "a.png"
    with contextlib.suppress(vi.ViError), vi.Client.local(shared) as client:
        for dataset in client.datasets.list().all_items():
            client.assets.upload(dataset.dataset_id, picture, show_progress=False)
    assert contents(home) == before


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_A6_what_is_written_anew_takes_the_place_of_what_is_there(tmp_path: Path, home: Path, kind: str) -> None:
    """Thumbnails, previews and logs: a second name of a file of the user is removed, not written to."""
    place = tmp_path / "place"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        (place.symlink_to if kind == "link" else place.hardlink_to)(home / "notes.txt")
    with open_private(place, again=True) as file:
        file.write(b"new")
    assert (home / "notes.txt").read_text() == "mine too"
    assert place.read_bytes() == b"new"


@pytest.mark.parametrize("place", ["object", "thumbnail", "folder of objects"])
def test_A6_what_cannot_be_removed_ends_and_holds_up_nothing(shared: Path, place: str) -> None:
    """A folder in the place of a file stays; the deletion is done, and the rest of its files are gone."""
    picture = shared.parent / "a.png"
    with vi.Client.local(shared) as client:
        dataset = client.datasets.create("e").dataset_id
        client.assets.upload(dataset, [picture], show_progress=False)
        stored = sorted(path for path in (shared / "bytes" / "objects").rglob("*-*") if path.suffix != ".thumbnail")[-1]
        thumbnail = stored.with_name(f"{stored.name}.thumbnail")
        if place == "folder of objects":
            shutil.rmtree(stored.parent)
            stored.parent.write_bytes(b"")
        else:
            wrong = stored if place == "object" else thumbnail
            wrong.unlink()
            (wrong / "inner").mkdir(parents=True)
        client.assets.delete(dataset, client.assets.list(dataset).items[0].asset_id)
    with sqlite3.connect(shared / "vi.db") as connection:
        assert connection.execute("select count(*) from garbage").fetchone() == (0,)
    connection.close()
    assert not stored.is_file()
    assert not thumbnail.is_file()


@pytest.mark.parametrize("kind", ["pipe", "device", "endless"])
def test_A6_a_list_of_ignored_files_is_read_within_limits(tmp_path: Path, kind: str) -> None:
    """It lies in the folder that is uploaded, which may be anybody's, and no command names it."""
    place = tmp_path / ".viignore"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        with place.open("wb") as file:
            file.truncate(1 << 36)
    with pytest.raises(vi.ViPathError, match=r"\.viignore"):
        Filters((), ()).beside(tmp_path)


def test_A6_a_link_in_the_place_of_an_object_is_not_followed(shared: Path, home: Path) -> None:
    (stored,) = [path for path in (shared / "bytes" / "objects").rglob("*-*") if path.suffix != ".thumbnail"]
    stored.unlink()
    stored.symlink_to(home / "notes.txt")
    assert looked_at(shared) is None
    got = [path.read_bytes() for path in (shared.parent / "out").rglob("*") if path.is_file()]
    assert not any(b"mine" in data for data in got)


def test_A6_a_copy_made_of_hard_links_is_served(shared: Path) -> None:
    """What is only read may have a second name, as in a snapshot."""
    (stored,) = [path for path in (shared / "bytes" / "objects").rglob("*-*") if path.suffix != ".thumbnail"]
    (shared.parent / "snapshot").hardlink_to(stored)
    assert looked_at(shared) is None
    assert list((shared.parent / "out").rglob("a.png"))


def test_A6_a_damaged_database_is_said_to_be(shared: Path) -> None:
    with (shared / "vi.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    assert isinstance(looked_at(shared), vi.ViConfigurationError)


def test_A6_a_trigger_of_the_database_calls_nothing(shared: Path) -> None:
    sql(shared, ("create view busy as select load_extension('x')", ()))
    assert looked_at(shared) is None


def test_A6_a_query_ends(tmp_path: Path) -> None:
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"

    async def ask() -> None:
        database = await Database.open(tmp_path / "vi.db")
        try:
            database.query_seconds = 0.05
            with pytest.raises(TooManyReadsError):
                await database.read(lambda connection: connection.exec_driver_sql(endless).all())
            assert await database.read(lambda connection: connection.exec_driver_sql("select 1").scalar()) == 1
        finally:
            await database.aclose()

    asyncio.run(ask())
    assert threading.active_count() < 50


def test_A6_the_folder_keeps_its_key_out_of_repositories(shared: Path) -> None:
    assert "*" in (shared / ".gitignore").read_text().splitlines()
