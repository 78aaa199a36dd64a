"""A run of a million files: each process that writes it, works on it or looks at it needs little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.large

FILES = 1_000_000
MOST = 150

WRITE = """
import asyncio
from vi._transfer.document_folders import DocumentFolder
from vi._transfer.inventory import Inventory
from vi.api.resources.datasets.assets import run_plans
from vi.api.resources.datasets.assets.responses import ResourceRetentionMode
from vi.api.resources.datasets.assets.run_seals import Author

inventory = Inventory("relative")
for block in range({files} // 1000):
    inventory.add_block(f"/data/{{block:04}}", f"{{block:04}}", [(f"image-{{n:04}}.jpg", 90_000 + n) for n in range(1000)])
inventory.check_names()
plan = run_plans.upload_plan("dataset", inventory, ResourceRetentionMode.REMOVE_LINKED_RESOURCE)
folder = DocumentFolder.of({run!r}, "plan")
made = asyncio.run(run_plans.save_uploads(folder, plan, Author("organization", "key"), None, inventory, lambda file: {{"lot": 7}}))
assert made.counts == {{"upload": {files}}}
"""
WORK = """
from vi import runs
folder = runs.DocumentFolder.of({run!r}, "run")
head = runs.read_head(folder)
assert len(runs.read_sealed(folder, head, runs.shard_name(7))[0]) > 500
"""
LOOK = """
import vi
status = vi.RunStatus.of({run!r})
assert len(status.missing) == status.shards >= 500
"""
TELL = """
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss")
def test_a_plan_of_a_million_lines_takes_little_memory_in_each_process(tmp_path: Path) -> None:
    for script in (WRITE, WORK, LOOK):
        text = script.format(files=FILES, run=str(tmp_path / "run")) + TELL
        told = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        assert int(told.stdout) < MOST, text
