"""On a disk that shares as that of Windows, the files of a transfer are closed before they are renamed or removed."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vi
from tests.support.sharing import Sharing, as_windows_shares
from vi.profiles import save_profile
from vi.server import ServiceConfig
from vi.testing import TestedService

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="open files are told by /proc")

KIB = 1 << 10
SMALL, STREAMED, IN_PARTS = 40 * KIB, 1500 * KIB, 2000 * KIB + 3
LIMITS = vi.TransferLimits(multipart_threshold=1600 * KIB, range_size=300 * KIB)


@pytest.fixture
def sharing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sharing:
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    return as_windows_shares(monkeypatch)


@pytest.fixture
def shared_service(sharing: Sharing, tmp_path: Path) -> Iterator[TestedService]:
    running = TestedService.start(tmp_path / "data", ServiceConfig(part_bytes=300 * KIB))
    yield running
    running.stop()


@pytest.fixture
def client(shared_service: TestedService) -> Iterator[vi.Client]:
    with shared_service.client(limits=LIMITS) as client:
        yield client


def film(path: Path, size: int, seed: int = 0) -> None:
    head = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + random.Random(seed).randbytes(size - len(head)))


@pytest.fixture
def folder(images: Path) -> Path:
    for number, size in enumerate((SMALL, STREAMED, IN_PARTS)):
        film(images / "films" / f"{size}.mp4", size, number)
    return images


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left_of(tmp_path: Path) -> list[str]:
    """Return the temporary files that are there."""
    made = (*(tmp_path / "cache").rglob("*.jsonl"), *tmp_path.rglob("*.part"), *tmp_path.rglob(".*.vi-part"))
    bytes_ = tmp_path / "data" / "bytes"
    return [str(path.relative_to(tmp_path)) for path in (*made, *bytes_.glob("staging/*"), *bytes_.glob("parts/*"))]


def test_what_moves_is_closed_before_it_gets_its_name_and_nothing_stays(
    client: vi.Client, dataset: str, folder: Path, tmp_path: Path, sharing: Sharing
) -> None:
    out = tmp_path / "out"
    assert client.assets.upload(dataset, folder, names="relative").total_succeeded == 7
    assert client.assets.download(dataset, out).total_downloaded == 7
    assert files_of(out) == files_of(folder)
    for path in out.rglob("*.*"):
        path.write_bytes(b"old")
    assert client.assets.download(dataset, out, overwrite=True).total_downloaded == 7
    assert files_of(out) == files_of(folder)

    film(out / "films" / "more.mp4", SMALL, 5)
    film(folder / "films" / f"{IN_PARTS}.mp4", IN_PARTS, 6)
    assert client.assets.sync(dataset, folder, delete=True).ok
    plan = client.assets.sync(dataset, out, direction="down", delete=True, dry_run=True).plan
    assert plan is not None
    for _ in range(2):
        plan.save(tmp_path / "plan.jsonl")
    assert client.assets.apply(vi.TransferPlan.load(tmp_path / "plan.jsonl")).ok
    assert files_of(out) == files_of(folder)

    for name in ("one", "other", "one"):
        save_profile(
            *(client.settings.secret_key, client.settings.organization_id, client.settings.endpoint),
            profile=name,
            config_file=tmp_path / "config.toml",
        )
    client.datasets.delete(dataset)
    assert sharing.still_there() == []
    assert left_of(tmp_path) == []


@pytest.mark.parametrize("size", [STREAMED, IN_PARTS], ids=["in one", "in ranges"])
def test_a_download_that_is_cancelled_leaves_nothing_open_and_resumes(
    client: vi.Client,
    shared_service: TestedService,
    dataset: str,
    tmp_path: Path,
    sharing: Sharing,
    size: int,
) -> None:
    film(tmp_path / "film.mp4", size)
    client.assets.upload(dataset, tmp_path / "film.mp4")
    out = tmp_path / "out"

    async def cancel() -> None:
        async with shared_service.async_client(limits=LIMITS) as other:
            running = asyncio.ensure_future(other.assets.download(dataset, out))
            while not held.hits:
                await asyncio.sleep(0.005)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    with shared_service.faults.delay(
        1, to="storage", method="GET", times=None, after=2 if size == IN_PARTS else 0
    ) as held:
        asyncio.run(cancel())
    assert client.assets.download(dataset, out).total_files == 1
    assert files_of(out) == {"film.mp4": (tmp_path / "film.mp4").read_bytes()}
    assert sharing.still_there() == []
    assert left_of(tmp_path) == []


def test_watched_files_are_moved_and_files_are_copied_by_fsspec(
    client: vi.Client, shared_service: TestedService, dataset: str, folder: Path, tmp_path: Path, sharing: Sharing
) -> None:
    pytest.importorskip("watchfiles")
    pytest.importorskip("fsspec")
    from vi.filesystem import ViFileSystem

    before = files_of(folder)
    done = tmp_path / "done"
    done.mkdir()
    with client.assets.watch(dataset, folder, settle=0.05, move_to=done) as watching:
        assert {next(watching).kind for _ in range(2 * len(before))} == {"stored", "moved"}
    assert sorted(files_of(done).values()) == sorted(before.values())
    settings = client.settings
    files = ViFileSystem(
        secret_key=settings.secret_key, organization_id=settings.organization_id, endpoint=settings.endpoint
    )
    for name in client.assets.list(dataset).all_items():
        files.get(f"{dataset}/{name.filename}", str(tmp_path / "copy" / name.filename))
    assert sorted(files_of(tmp_path / "copy").values()) == sorted(before.values())
    assert sharing.still_there() == []
    assert left_of(tmp_path) == []


def test_the_disk_refuses_what_a_program_has_open(tmp_path: Path, sharing: Sharing) -> None:
    """Otherwise the tests above would show nothing."""
    path = tmp_path / "a"
    path.write_bytes(b"1")
    for refused in (path.unlink, lambda: path.rename(tmp_path / "b"), lambda: (tmp_path / "b").replace(path)):
        (tmp_path / "b").write_bytes(b"2")
        with path.open("rb"), pytest.raises(PermissionError):
            refused()
    path.unlink()
