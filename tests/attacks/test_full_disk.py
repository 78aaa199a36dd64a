"""Row A13: a disk that uploads have filled can be emptied, and quotas count what is on its way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import SOURCE, connect, picture, start_service
from vi.server.disk.room import Room

__all__ = ["connect", "picture", "start_service"]

pytestmark = pytest.mark.anyio

MIB = 1 << 20


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small file system cannot be mounted by this user on this system")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "none", disk], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def free(disk: Path) -> int:
    return os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize


def announced(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [{"filename": name, "kind": "Image", "mime": "image/bmp", "size": len(data)} for name, data in files.items()]


async def test_A13_a_disk_full_of_uploads_can_be_emptied(
    small_disk: Path, start_service: Any, connect: Any, picture: Any
) -> None:
    service = start_service(small_disk / "data")
    api = await connect(service)
    dataset = await api.create_dataset()
    files = {f"{number:02}.bmp": picture(number, width=1000, height=800, format="BMP") for number in range(20)}
    session = await api.open_session(dataset, {}, assets=announced(files))
    uploads = {upload["metadata"]["filename"]: upload for upload in session["status"]["assets"]}
    statuses = [(await api.put(uploads[name], data)).status for name, data in files.items()]
    stored = statuses.count(200)
    assert statuses == [200] * stored + [507] * (20 - stored)
    assert 4 < stored < 20
    ready = await api.until(session, lambda found: found["status"]["progressCount"]["succeeded"] == stored)
    assert ready["status"]["progressCount"]["errored"] == 0
    assert 0 < free(small_disk) < Room(small_disk).reserve + len(files["00.bmp"])

    assets = await api.assets(dataset)
    for asset in assets[:2]:
        assert (await api("DELETE", f"{dataset}/assets/{asset['assetId']}")).status == 204
    assert (await api.put(uploads["19.bmp"], files["19.bmp"])).status == 200
    await api.until(session, lambda found: found["status"]["progressCount"]["succeeded"] == stored + 1)

    # Something else takes the rest, so that no row can be written.
    fill(small_disk / "other")
    assert (await api("POST", f"{api.organization}/datasets", {"name": "x", "description": "y" * 90_000})).status == 507
    assert (await api("DELETE", f"{dataset}/assets/{assets[2]['assetId']}")).status == 204
    fill(small_disk / "more")
    service.stop()
    api = await connect(start_service(small_disk / "data"))
    assert (await api("DELETE", f"{dataset}/assets/{assets[3]['assetId']}")).status == 204
    fill(small_disk / "rest")
    refused = await api("POST", dataset + SOURCE + "/assetIngestionSessions", {"spec": spec(files)})
    assert (refused.status, "No space" in refused.message) == (507, True)
    assert (await api("DELETE", dataset)).status == 200

    for name in ("other", "more", "rest"):
        (small_disk / name).unlink()
    again = await api.create_dataset()
    one = {"00.bmp": files["00.bmp"]}
    ended = await api.ingest(again, one, assets=announced(one))
    assert ended["status"]["progressCount"] == {"total": 1, "succeeded": 1, "errored": 0}


def spec(files: dict[str, bytes]) -> dict[str, Any]:
    return {"kind": "Upload", "assets": announced(files)}


def fill(path: Path) -> None:
    """Take all of a file system."""
    with path.open("wb", buffering=0) as file:
        while left := free(path.parent):
            file.write(bytes(left))


def test_A13_the_reserve_counts_what_is_on_its_way(tmp_path: Path) -> None:
    room = Room(tmp_path)
    left = room.free - room.reserve
    with room.taking(left - (left >> 2)) as taking:
        with pytest.raises(OSError, match="No space"):
            room.require(left >> 1)
        taking.wrote(taking.size)
        room.require(left >> 1)
    room.require(left >> 1)


def test_A13_the_ballast_is_taken_again(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.prepare()
    size = (tmp_path / "ballast").stat().st_size
    assert 0 < size <= 4 * MIB
    assert room.give_up()
    assert not room.is_held
    assert not room.give_up()
    room.refill()
    assert (tmp_path / "ballast").stat().st_size == size


async def test_A13_a_quota_counts_what_is_announced_and_every_part(
    start_service: Any, connect: Any, picture: Any
) -> None:
    api = await connect(start_service(quota_bytes=MIB))
    dataset = await api.create_dataset()
    size = 600 << 10
    assets = [{"filename": "a.bmp", "kind": "Image", "mime": "image/bmp", "size": size}]
    session = await api.open_session(dataset, {}, assets=assets)
    other = await api.open_session(dataset, {}, assets=[{**assets[0], "filename": "b.bmp"}])
    assert "ENOQUOTA" in str(other["status"])
    body = {"spec": {"ingestionId": session["ingestionId"], "filename": "a.bmp", "sizeBytes": size}}
    path = dataset + SOURCE + "/multipartUploads"
    assert (await api("POST", path, body)).status == 201
    refused = await api("POST", path, body)
    assert (refused.status, "quota" in refused.message) == (507, True)

    assert (await api("POST", f"{session['selfLink']}:cancel")).status == 200
    later = await api.open_session(dataset, {}, assets=assets)
    assert "ENOQUOTA" not in str(later)
