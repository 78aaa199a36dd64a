"""Row A6: a data folder that somebody else made is data, and has no effect outside itself."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import vi
from vi.server.store.database import Database, TooManyReadsError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")


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


@pytest.mark.parametrize("name", ["service.lock", "identity.json", "vi.db", "vi.db-wal", "vi.db-shm"])
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
