"""How often a file is read: once to be sent or compared, and not at all once it is known not to have changed."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.counting_service import CountingService, digests, other_content, stored
from tests.support.pictures import MP4, tiny
from tests.support.systems import WINDOWS, needs_modes
from vi._transfer.journals.digests import KnownDigests, Look
from vi._transfer.sources.local import examine_path

FILES = 200
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Files that were written long ago."""
    folder = tmp_path / "old-files"
    folder.mkdir()
    for number in range(FILES):
        path = folder / f"{number}.png"
        path.write_bytes(tiny(number))
        os.utime(path, (1_600_000_000, 1_600_000_000))
    return folder


def run(service: CountingService, what: str, dataset: str, folder: Path, **options: Any) -> tuple[dict[str, int], Any]:
    """Do it in another process; return the bytes read of each file, and the rest of what it says."""
    given = [what, dataset, str(folder), folder.name, json.dumps(options)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.sync.reading", *given],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **service.environment},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told["read"], told


def sizes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.iterdir()}


def test_files_are_read_once_and_then_not_at_all(
    service: CountingService, client: vi.Client, dataset: str, old: Path, cache: Path
) -> None:
    read, told = run(service, "up", dataset, old)
    assert told["ok"]
    assert read.keys() == sizes(old).keys()
    # The plan looks at the first 64 bytes.
    assert all(size <= read[path] <= size + 64 for path, size in sizes(old).items())
    assert stored(client, dataset) == digests(old)
    read, told = run(service, "up", dataset, old)
    assert (read, told["ok"]) == ({}, True)
    assert "200" in told["summary"]
    assert not [path for path in run(service, "down", dataset, old)[0] if ".vi-" not in path]  # probes of the disk
    assert run(service, "up", dataset, old, checksum=True)[0] == sizes(old)
    assert run(service, "verify", dataset, old)[0] == sizes(old)
    assert run(service, "skip", dataset, old)[0] == sizes(old)


@pytest.mark.skipif(sys.platform != "linux", reason="the bytes read are told by Linux alone")
def test_files_of_megabytes_are_read_once_however_many(
    service: CountingService, client: vi.Client, dataset: str, tmp_path: Path, cache: Path
) -> None:
    folder = tmp_path / "megabytes"
    folder.mkdir()
    for number in range(24):  # more than there is room for at once
        (folder / f"{number}.mp4").write_bytes(MP4 + number.to_bytes(2, "big") * (1 << 20))
    read, told = run(service, "up", dataset, folder)
    assert told["ok"]
    assert all(size <= read[path] <= size + 64 for path, size in sizes(folder).items())
    assert sum(sizes(folder).values()) <= told["everything"] < 1.05 * sum(sizes(folder).values())
    assert stored(client, dataset) == digests(folder)


def test_a_changed_file_with_its_old_time_is_found(
    service: CountingService, client: vi.Client, dataset: str, old: Path, cache: Path
) -> None:
    run(service, "up", dataset, old)
    changed = old / "7.png"
    other_content(changed)
    os.utime(changed, (1_600_000_000, 1_600_000_000))
    assert client.assets.verify(dataset, old).different == ["7.png"]
    assert client.assets.sync(dataset, old, dry_run=True).plan.counts == {"upload": 1}, "ctime shows it"


def test_a_file_that_changes_while_it_is_young_is_not_believed(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.png"
    path.write_bytes(tiny(1))
    look = Look.at(str(path))
    known = KnownDigests.open()
    known.note([(look, examine_path(str(path), "digests"))])
    assert known.facts([look]) == [None]
    known.close()


def test_digests_are_of_files_and_of_no_dataset(
    service: CountingService, client: vi.Client, dataset: str, old: Path, cache: Path
) -> None:
    run(service, "up", dataset, old)
    other = client.datasets.create(name="other").dataset_id
    assert client.assets.sync(other, old, dry_run=True).plan.counts == {"upload": FILES}
    client.assets.upload(other, ("3.png", tiny(900)), show_progress=False)
    assert client.assets.sync(other, old, dry_run=True).plan.counts == {"upload": FILES}


@pytest.mark.parametrize("what", ["garbage", "cut", "folder", pytest.param("others", marks=needs_modes), "format"])
def test_a_broken_cache_costs_speed_only(
    service: CountingService, client: vi.Client, dataset: str, old: Path, cache: Path, what: str
) -> None:
    run(service, "up", dataset, old)
    database = cache / "digests.db"
    assert WINDOWS or database.stat().st_mode & 0o777 == 0o600
    if what == "garbage":
        database.write_bytes(b"no database" * 1000)
    elif what == "cut":
        database.write_bytes(database.read_bytes()[:5000])
    elif what == "folder":
        database.unlink()
        database.mkdir()
    elif what == "others":
        database.chmod(0o666)
    else:
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA user_version = 77")
        connection.close()
    other_content(old / "0.png")
    read, told = run(service, "up", dataset, old)
    assert told["ok"]
    assert len(read) == FILES
    assert stored(client, dataset) == digests(old)


def test_a_locked_cache_costs_speed_only(service: CountingService, dataset: str, old: Path, cache: Path) -> None:
    run(service, "up", dataset, old)
    connection = sqlite3.connect(cache / "digests.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        assert run(service, "up", dataset, old)[1]["ok"]
    finally:
        connection.close()


def test_killed_while_it_is_written(tmp_path: Path, old: Path, cache: Path) -> None:
    """Whatever was entered is right, and the next run can enter more."""
    code = (
        "import sys, pathlib\n"
        "from vi._transfer.journals.digests import KnownDigests, Look\n"
        "from vi._transfer.sources.local import examine_path\n"
        "known = KnownDigests.open()\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for path in map(str, pathlib.Path(sys.argv[1]).iterdir()):\n"
        "        known.note([(Look.at(path), examine_path(path, 'digests'))])\n"
    )
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", code, str(old)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        while not _entries(cache):
            time.sleep(0.01)
        writer.kill()
        writer.wait()
        writer.stdout.close()
    known = KnownDigests.open()
    looks = [Look.at(str(path)) for path in old.iterdir()]
    found = known.facts(looks)
    assert any(found)
    for look, facts in zip(looks, found, strict=True):
        assert look is not None
        assert facts is None or facts.sha256 == examine_path(look.place, "digests").sha256
    known.close()


def _entries(cache: Path) -> int:
    connection = sqlite3.connect(f"{(cache / 'digests.db').as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM files").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def test_the_oldest_entries_are_forgotten(cache: Path, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vi._transfer.journals.digests.MOST", 100)
    known = KnownDigests.open()
    known.note((Look.at(str(path)), examine_path(str(path), "digests")) for path in old.iterdir())
    known.close()
    assert _entries(cache) == 75


def test_many_threads_use_one_cache(cache: Path, old: Path) -> None:
    known = KnownDigests.open()
    wrong: list[object] = []

    def work() -> None:
        for path in map(str, old.iterdir()):
            look, facts = Look.at(path), examine_path(path, "digests")
            known.note([(look, facts)])
            [again] = known.facts([look])
            if again is None or (again.sha256, again.crc32c) != (facts.sha256, facts.crc32c):
                wrong.append(path)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    known.close()
    assert not wrong
