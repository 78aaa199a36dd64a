"""Thousands of images up and down, in little memory."""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.large, pytest.mark.timeout(900)]

COUNT = 5000
SMALLEST, LARGEST = 1_000, 200_000
PEAK_MB = 150

CLIENT = """
import sys, time, vi

images, out = sys.argv[1:]
with vi.Client() as client:
    dataset = client.datasets.create(name="many").dataset_id
    began = time.monotonic()
    up = client.assets.upload(dataset, images)
    up_seconds = time.monotonic() - began
    began = time.monotonic()
    down = client.assets.download(dataset, out)
    down_seconds = time.monotonic() - began
report = {
    "files": up.total_files, "stored": up.total_succeeded, "downloaded": down.total_downloaded,
    "bytes": up.bytes_sent, "bytes_down": down.bytes_received, "sessions": len(up.sessions),
    "up_seconds": round(up_seconds, 1), "up_files_per_second": round(up.total_files / up_seconds),
    "down_seconds": round(down_seconds, 1), "down_files_per_second": round(down.total_files / down_seconds),
}
"""


def noisy_png(rng: random.Random, size: int) -> bytes:
    """Return a grey image whose file has about *size* bytes, made without an encoder: noise does not compress."""
    width = 256
    height = max(1, (size - 100) // (width + 1))
    rows = b"".join(b"\0" + rng.randbytes(width) for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_five_thousand_images_go_up_and_come_down_equal_in_little_memory(measure: Any, tmp_path: Path) -> None:
    rng = random.Random(1)
    images = tmp_path / "images"
    for number in range(COUNT):
        path = images / f"{number % 20:02d}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noisy_png(rng, rng.randint(SMALLEST, LARGEST)))
    found = measure(CLIENT, images, tmp_path / "out")
    assert (found["files"], found["stored"], found["downloaded"]) == (COUNT, COUNT, COUNT)
    assert found["bytes"] == found["bytes_down"] == sum(path.stat().st_size for path in images.rglob("*.png"))
    assert digests(tmp_path / "out") == digests(images)
    assert found["peak_mb"] < PEAK_MB
