"""A download is killed anywhere; the same call again fetches what is missing and leaves nothing else (row P2)."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web

import vi
import vi.transfers
from tests.support.counting_service import DOWN_LIMITS, CountingService, digests, make_files
from tests.support.serve import kill
from tests.support.systems import KILLED, needs_links
from vi import _samples
from vi._transfer.journals import downloads as part_journal
from vi._transfer.journals.downloads import PartJournal, PartsSaid, read_parts

SCRIPT = Path(__file__).with_name("download.py")
ROOT = Path(__file__).parents[2]
FILES = 200
OPERATIONS, REQUESTS = 460, 220

GATE = range(4)
ALL = range(4, 40)
LOOK: dict[str, Any] = {"show_progress": False}


@attrs.frozen
class Source:
    """A dataset and what it holds."""

    dataset: str
    wanted: dict[str, str]
    sizes: dict[str, int]

    @property
    def large(self) -> str:
        return max(self.sizes, key=lambda name: self.sizes[name])


@pytest.fixture(scope="session")
def source(counting: CountingService, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Many tiny files, one that comes as a stream, one that comes in ranges."""
    folder = make_files(tmp_path_factory.mktemp("source") / "files", FILES, large=0)
    (folder / "file-00050-stream.bmp").write_bytes(_samples.encode(1, ".bmp", (900, 700)))
    (folder / "file-00100-large.bmp").write_bytes(_samples.encode(2, ".bmp", (2000, 1500)))
    with counting.client(limits=vi.TransferLimits()) as client:
        dataset = client.datasets.create(name="downloaded").dataset_id
        client.assets.upload(dataset, folder, show_progress=False)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    return Source(dataset, digests(folder), sizes)


@pytest.fixture
def client(service: CountingService, cache: Path) -> Any:
    with service.client(limits=DOWN_LIMITS) as client:
        # Its calls from a test's own loop are short, and meant.
        client._loop_thread._warned = True
        yield client


def journals(cache: Path) -> list[Path]:
    return sorted((cache / "transfers" / "downloads").glob("*.jsonl"))


def arrived(cache: Path) -> int:
    """How many bytes of large files the journals say are there."""
    said = [read_parts(path) for path in journals(cache)]
    return sum(kept.count for one in said if one is not None for kept in one.kept.values())


def run_and_kill(
    service: CountingService,
    source: Source,
    target: Path,
    *,
    operation: int = 0,
    request: int = 0,
    before: bool = False,
) -> None:
    """Download in a process of its own, which dies in an *operation* on its disk or at a *request* for data."""
    process: subprocess.Popen[str]
    seen = 0

    def end(_: int, asked: web.Request) -> None:
        nonlocal seen
        seen += asked.path.startswith("/dl/")
        if seen == request > 0:
            kill(process.pid)

    if before:
        service.at = end
    else:
        service.after = end
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(target), source.dataset, str(operation)],
        env={**os.environ, **service.environment, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    _, errors = process.communicate(timeout=100)
    assert process.returncode in (KILLED, 0), errors
    service.reset()
    return process.returncode == KILLED


def whole_files(target: Path, source: Source) -> set[str]:
    """Check that what bears a final name is whole, and return the names."""
    if not target.exists():
        return set()
    found = {path.name for path in target.iterdir() if not path.name.startswith(".")}
    there = {name: digest for name, digest in digests(target).items() if name in found}
    assert there.items() <= source.wanted.items(), "something partial bears a final name"
    return found


def check_whole(result: Any, target: Path, source: Source, cache: Path) -> None:
    assert result.total_downloaded + result.total_existing == len(source.wanted)
    assert digests(target) == source.wanted, "hidden files count"
    assert not journals(cache)
    assert vi.transfers.unfinished() == []


@pytest.mark.parametrize("seed", [*GATE, *(pytest.param(seed, marks=pytest.mark.faults) for seed in ALL)])
def test_killed_anywhere_the_same_call_again_fetches_what_is_missing(
    service: CountingService, client: vi.Client, source: Source, cache: Path, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    target = tmp_path / "copy"
    killed = 0
    for _ in range(
        1 + seed % 3 // 2
    ):  # now and then the second run is killed as well, unless it has less to do than that
        if seed % 2:
            killed += run_and_kill(service, source, target, operation=chance.randint(1, OPERATIONS))
        else:
            killed += run_and_kill(
                service, source, target, request=chance.randint(1, REQUESTS), before=chance.random() < 0.5
            )
    assert killed, "the kill never came"
    whole = whole_files(target, source)
    kept = arrived(cache)

    result = client.assets.download(source.dataset, target, **LOOK)

    check_whole(result, target, source, cache)
    missing = sum(size for name, size in source.sizes.items() if name not in whole)
    fetched = sum(get.size for get in service.gets)
    assert fetched == missing - (kept if source.large not in whole else 0), "fetched again, or not at all"


@pytest.fixture
def begun(service: CountingService, client: vi.Client, source: Source, cache: Path, tmp_path: Path) -> PartsSaid:
    """A dead download of the large file alone, of which a few ranges have come."""
    ranges = 0

    def end(_: int, asked: web.Request) -> None:
        nonlocal ranges
        ranges += "large" in asked.path
        if ranges == 9:
            kill(process.pid)

    target = tmp_path / "copy"
    target.mkdir()
    service.at = end
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(target), source.dataset, "0"],
        env={**os.environ, **service.environment, "PYTHONPATH": str(ROOT)},
    )
    process.communicate(timeout=100)
    service.reset()
    (path,) = journals(cache)
    said = read_parts(path)
    assert said is not None
    (kept,) = said.kept.values()
    assert kept.count >= 5 * DOWN_LIMITS.range_size
    return said


def test_what_is_begun_is_listed_and_can_be_forgotten(begun: PartsSaid, source: Source, tmp_path: Path) -> None:
    (one,) = vi.transfers.unfinished()
    (kept,) = begun.kept.values()
    assert (one.direction, one.dataset_id, one.running) == ("down", source.dataset, False)
    assert (one.folder, one.files_begun, one.bytes_kept) == (str(tmp_path / "copy"), 1, kept.count)
    assert vi.transfers.forget(one.id)
    assert vi.transfers.unfinished() == []
    assert not [path for path in (tmp_path / "copy").iterdir() if path.name.startswith(".")]


def damage(kept: part_journal.KeptPart) -> None:
    with Path(kept.path).open("r+b") as file:
        file.seek(1000)
        file.write(b"other")


def shorten(kept: part_journal.KeptPart) -> None:
    os.truncate(kept.path, 1000)


def lengthen(kept: part_journal.KeptPart) -> None:
    os.truncate(kept.path, kept.size + 1)


def replace_by_a_link(kept: part_journal.KeptPart) -> None:
    path = Path(kept.path)
    path.rename(path.with_name("elsewhere.bmp"))
    path.symlink_to("elsewhere.bmp")


@pytest.mark.parametrize("spoil", [damage, shorten, lengthen, pytest.param(replace_by_a_link, marks=needs_links)])
def test_bytes_that_the_disk_lost_cost_a_download_from_the_beginning(
    client: vi.Client, begun: PartsSaid, source: Source, cache: Path, tmp_path: Path, spoil: Any
) -> None:
    (kept,) = begun.kept.values()
    spoil(kept)
    result = client.assets.download(source.dataset, tmp_path / "copy", **LOOK)
    for extra in (Path(kept.path), tmp_path / "copy" / "elsewhere.bmp"):
        if extra.is_symlink() or extra.exists():
            extra.unlink()  # a link is none of ours
    check_whole(result, tmp_path / "copy", source, cache)


def test_an_asset_that_was_replaced_is_fetched_from_the_beginning(
    service: CountingService, client: vi.Client, begun: PartsSaid, source: Source, cache: Path, tmp_path: Path
) -> None:
    """By another asset of that name in another dataset, into the same folder."""
    other = tmp_path / source.large
    other.write_bytes(_samples.encode(7, ".bmp", (2000, 1500)))
    dataset = client.datasets.create(name="other").dataset_id
    client.assets.upload(dataset, other, show_progress=False)
    client.assets.download(dataset, tmp_path / "copy", **LOOK)
    assert (tmp_path / "copy" / source.large).read_bytes() == other.read_bytes()
    assert not [path for path in (tmp_path / "copy").iterdir() if path.name.startswith(".")]
    assert not journals(cache)


def test_a_living_downloads_part_files_are_left_alone(tmp_path: Path, cache: Path) -> None:
    target = tmp_path / "copy"
    target.mkdir()
    key = part_journal.JournalKey("https://vi.example", "acme", "ds1")
    living = PartJournal.open(target, key)
    part = Path(living.path_for(str(target / "a.png")))
    part.write_bytes(b"half")
    strangers = [target / name for name in (".a.png.01234567.part", ".b.png.0123456789ab.part", "c.png.part")]
    for stranger in strangers:
        stranger.write_bytes(b"not ours")
    other = PartJournal.open(target, key)
    other.close()
    assert part.exists()
    living.close()
    assert all(stranger.exists() for stranger in strangers)


def test_a_dead_downloads_small_part_files_are_swept(tmp_path: Path, cache: Path) -> None:
    target = tmp_path / "copy"
    target.mkdir()
    key = part_journal.JournalKey("https://vi.example", "acme", "ds1")
    dead = PartJournal.open(target, key)
    part = Path(dead.path_for(str(target / "a.png")))
    part.write_bytes(b"half")
    part_journal.locked_lines.close_all(dead._held)  # as the system does when a process dies
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    PartJournal.open(elsewhere, key).close()
    assert part.exists(), "another folder is another matter"
    PartJournal.open(target, key).close()
    assert not part.exists()
    assert not journals(cache)


def test_without_a_cache_folder_a_download_works(
    client: vi.Client, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "file"))
    client.assets.download(source.dataset, tmp_path / "copy", **LOOK)
    assert digests(tmp_path / "copy") == source.wanted


@pytest.mark.anyio
async def test_a_download_that_is_cancelled_leaves_what_is_worth_keeping(
    service: CountingService,
    client: vi.Client,
    source: Source,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(part_journal, "WORTH_KEEPING", 1 << 20)
    target = tmp_path / "copy"
    seen = 0

    def stop(_: int, asked: web.Request) -> None:
        nonlocal seen
        seen += "large" in asked.path
        if seen == 12:
            loop.call_soon_threadsafe(task.cancel)

    service.at = stop
    loop = asyncio.get_running_loop()
    async with service.async_client(limits=DOWN_LIMITS) as stopped:
        task = asyncio.create_task(stopped.assets.download(source.dataset, target, **LOOK))
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert "Make the same call again" in caught.value.__notes__[0]
    (left,) = vi.transfers.unfinished()
    assert left.bytes_kept == arrived(cache) >= 1 << 20
    whole = whole_files(target, source)
    service.reset()
    result = await asyncio.to_thread(client.assets.download, source.dataset, target, **LOOK)
    check_whole(result, target, source, cache)
    missing = sum(size for name, size in source.sizes.items() if name not in whole)
    assert sum(get.size for get in service.gets) == missing - left.bytes_kept
