"""A file larger than memory should hold: up in parts, down in ranges."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.large, pytest.mark.timeout(900)]

SIZE = (3 << 30) + 12_345
PEAK_MB = 200

CLIENT = """
import sys, time, vi

film, out = sys.argv[1:]
with vi.Client() as client:
    dataset = client.datasets.create(name="large").dataset_id
    began = time.monotonic()
    up = client.assets.upload(dataset, film)
    up_seconds = time.monotonic() - began
    began = time.monotonic()
    down = client.assets.download(dataset, out)
    down_seconds = time.monotonic() - began
    held = client.assets.list(dataset).items[0].metadata
report = {
    "stored": up.total_succeeded, "downloaded": down.total_downloaded,
    "bytes": held.file_size, "algorithm": held.hash.algorithm, "digest": held.hash.contents,
    "up_seconds": round(up_seconds, 1), "up_mb_per_second": round(up.bytes_sent / 1e6 / up_seconds),
    "down_seconds": round(down_seconds, 1), "down_mb_per_second": round(down.bytes_received / 1e6 / down_seconds),
}
"""


def make_film(path: Path) -> None:
    """Write the beginning of an MP4 film, holes, and stretches of noise, the last of them at the very end."""
    rng = random.Random(1)
    with path.open("wb") as file:
        file.write(b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2")
        file.write((8).to_bytes(4, "big") + b"free" + b"\x00\x00\x00\x01mdat" + (SIZE - 32).to_bytes(8, "big"))
        for at in range(1 << 20, SIZE, 48 << 20):
            file.seek(at)
            file.write(rng.randbytes(min(4 << 20, SIZE - at)))
        file.seek(SIZE - 4096)
        file.write(rng.randbytes(4096))


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_three_gibibytes_go_up_and_come_down_equal_in_little_memory(measure: Any, tmp_path: Path) -> None:
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 4 * SIZE:
        pytest.skip("not enough room for four copies of the file")
    film = tmp_path / "film.mp4"
    make_film(film)
    found = measure(CLIENT, film, tmp_path / "out")
    assert (found["stored"], found["downloaded"], found["bytes"]) == (1, 1, SIZE)
    assert found["algorithm"] == "sha256"
    assert found["digest"] == digest(film) == digest(tmp_path / "out" / "film.mp4")
    assert found["peak_mb"] < PEAK_MB
