"""Ten thousand assets of a megabyte through memory, within a bound."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.large, pytest.mark.timeout(1800)]

COUNT = 10_000
PEAK_MB = 400

CLIENT = """
import hashlib, io, random, sys, vi
from PIL import Image

count = int(sys.argv[1])
rng = random.Random(1)

def picture(number):
    out = io.BytesIO()
    Image.frombytes("RGB", (600, 556), rng.randbytes(600 * 556 * 3)).save(out, "BMP")
    return out.getvalue()

with vi.Client() as client:
    dataset = client.datasets.create(name="megabytes").dataset_id
    for start in range(0, count, 50):
        files = [(f"{number:05}.bmp", picture(number)) for number in range(start, min(start + 50, count))]
        client.assets.upload(dataset, files, show_progress=False)
    reader = client.assets.stream(dataset)
    for asset, data in reader:
        assert hashlib.sha256(data).hexdigest() == asset.metadata.hash.contents
    client.datasets.delete(dataset)
report = {"read": reader.report.total_read, "bytes": reader.report.bytes_read}
"""


def test_ten_thousand_megabytes_are_read_in_little_memory(measure: Any) -> None:
    found = measure(CLIENT, COUNT)
    assert found["read"] == COUNT
    assert found["bytes"] >= COUNT * 1_000_000
    assert found["peak_mb"] < PEAK_MB
