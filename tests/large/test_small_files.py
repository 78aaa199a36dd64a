"""Two hundred thousand small files are planned, sent and listed in a memory that hardly grows with their number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vi import _samples

pytestmark = [pytest.mark.large, pytest.mark.timeout(3600)]

COUNT = 200_000
PLAN_MB, SEND_MB, LIST_MB = 150, 140, 80

PLAN = """
import sys, vi
with vi.Client() as client:
    dataset = client.datasets.create(name="small").dataset_id
    plan = client.assets.upload(dataset, sys.argv[1], dry_run=True).plan
report = {"dataset": dataset, "planned": len(plan.entries)}
"""
SEND = """
import sys, vi
with vi.Client() as client:
    result = client.assets.upload(sys.argv[2], sys.argv[1], show_progress=False)
report = {"stored": result.total_succeeded, "seconds": round(result.seconds)}
"""
LIST = """
import sys, vi
from vi.api.types import PaginationParams
with vi.Client() as client:
    listed = sum(1 for _ in client.assets.list(sys.argv[2], PaginationParams(page_size=1000)).all_items())
report = {"listed": listed}
"""


def test_two_hundred_thousand_small_files_take_little_memory(measure: Any, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    picture = _samples.encode(1, ".jpg", (16, 12))
    for number in range(COUNT):
        (folder / f"{number:06d}.jpg").write_bytes(picture + number.to_bytes(8, "big"))
    planned = measure(PLAN, folder)
    sent = measure(SEND, folder, planned["dataset"])
    listed = measure(LIST, folder, planned["dataset"])
    assert (planned["planned"], sent["stored"], listed["listed"]) == (COUNT, COUNT, COUNT)
    assert planned["peak_mb"] < PLAN_MB
    assert sent["peak_mb"] < SEND_MB
    assert listed["peak_mb"] < LIST_MB
