"""A million assets as a stream of Arrow, in bounded memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.large

PROBE = """
import resource
import vi
from vi.api.resources.datasets.assets.responses import Asset, AssetMetadata

def assets(count):
    for number in range(count):
        custom = {"lot": number, "id": 2**63 + number, "night": number % 2 == 0, "camera": f"camera {number % 9}"}
        yield Asset(f"id{number}", "ds", filename=f"{number}.png", metadata=AssetMetadata(custom_metadata=custom))

for custom in ({"lot": int, "camera": str}, None):
    reader = vi.rows.batches(assets(1_000_000), custom)
    assert sum(batch.num_rows for batch in reader) == 1_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.timeout(900)
def test_a_million_rows_take_less_than_200_megabytes() -> None:
    pytest.importorskip("pyarrow")
    ended = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    peak = int(ended.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert peak < 200_000_000
