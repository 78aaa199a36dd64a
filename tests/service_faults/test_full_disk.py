"""A disk that is really full: a clear status, everything else goes on, and it recovers by itself (row S10)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vi.errors import ViConfigurationError

pytestmark = pytest.mark.anyio

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs to mount a file system; tests/service_faults/test_disk.py simulates one")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", disk], capture_output=True).returncode:
        pytest.skip("needs to mount a file system; tests/service_faults/test_disk.py simulates one")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


async def test_a_full_disk_is_said_and_survived(
    small_disk: Path, start_service: Any, connect: Any, picture: Any
) -> None:
    api = await connect(start_service(small_disk / "data"))
    dataset = await api.create_dataset()
    await api.ingest(dataset, {"before.png": picture(1)})
    files = {f"{number}.bmp": picture(number, width=600, height=500, format="BMP") for number in range(8)}
    large = picture(9, width=800, height=700, format="BMP")
    assets = [
        {"filename": name, "kind": "Image", "mime": "image/bmp", "size": len(data)}
        for name, data in {**files, "large.bmp": large}.items()
    ]
    session = await api.open_session(dataset, {}, assets=assets)
    fill(small_disk / "filler", leave=2 * MIB)

    uploads = {upload["metadata"]["filename"]: upload for upload in session["status"]["assets"]}
    answers = {name: await api.put(uploads[name], data) for name, data in {"large.bmp": large, **files}.items()}
    assert {answer.status for answer in answers.values()} == {200, 507}
    assert all(b"No space" in answer.body for answer in answers.values() if answer.status == 507)
    fill(small_disk / "rest", leave=0)
    for _ in range(3):
        assert (await api("GET", dataset)).status == 200
        assert "before.png" in {asset["filename"] for asset in await api.assets(dataset)}
    refused = await api("POST", f"{api.organization}/datasets", {"name": "x", "description": "y" * 9000})
    assert refused.status in (201, 507)
    (asset,) = await api.assets(dataset, contents="y", filter='{"filename": "before.png"}')
    assert (await api.raw("GET", asset["contents"]["asset"]["url"])).body == picture(1)
    assert (await api.raw("GET", asset["contents"]["thumbnail"]["url"])).status == 200

    (small_disk / "filler").unlink()
    (small_disk / "rest").unlink()
    for name, answer in answers.items():
        if answer.status == 507:
            assert (await api.put(uploads[name], large if name == "large.bmp" else files[name])).status == 200, name
    ended = await api.ended(session)
    assert ended["status"]["progressCount"] == {"total": 9, "succeeded": 9, "errored": 0}
    for asset in await api.assets(dataset, contents="y"):
        body = (await api.raw("GET", asset["contents"]["asset"]["url"])).body
        assert body == {**files, "large.bmp": large, "before.png": picture(1)}[asset["filename"]]


async def test_a_start_on_a_full_disk_is_said(small_disk: Path, start_service: Any) -> None:
    start_service(small_disk / "data").stop()
    fill(small_disk / "filler", leave=0)
    with contextlib.suppress(ViConfigurationError):  # it may do with what it has
        start_service(small_disk / "data").stop()
    (small_disk / "filler").unlink()
    start_service(small_disk / "data").stop()


def fill(path: Path, *, leave: int) -> None:
    """Take all of a file system but *leave* bytes."""
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    with path.open("wb", buffering=0) as file:
        if free > leave:
            file.write(bytes(free - leave))
