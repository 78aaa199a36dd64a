"""A writing check that is killed leaves nothing for long: the next one removes it, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vi
import vi.contract
from vi.contract.leftovers import PREFIX
from vi.testing import TestedService

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, signal, sys, vi, vi.contract
left = int(sys.argv[1])
def count(row):
    global left
    if row.rule.startswith("write.") or left < int(sys.argv[1]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
with vi.Client() as client:
    vi.contract.check(client, write=True, on_finding=count)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_ten_kills_left_is_removed_by_the_next_check(tmp_path: Path) -> None:
    service = TestedService.start(tmp_path / "data")
    environment = {
        **os.environ, **service.environment, "VI_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    try:
        with service.client() as client:
            # Named like ours, but made by another hand.
            kept = client.datasets.create(name=f"{PREFIX}0123456789ab").dataset_id
            for at in (1, 2, 3, 6, 9, 20, 35, 45, 55, 60):
                ended = subprocess.run(
                    [sys.executable, "-c", SCRIPT, str(at)], env=environment, check=False, timeout=60
                )
                assert ended.returncode == -signal.SIGKILL
                names = [one.name for one in client.datasets.list().items]
                assert len(names) <= 2, "a run did not remove what the one before it had left"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
                assert vi.contract.check(client, write=True).ok
            assert [one.dataset_id for one in client.datasets.list().items] == [kept]
        assert list((tmp_path / "cache" / "contract").iterdir()) == []
    finally:
        service.stop()
