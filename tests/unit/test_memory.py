"""Memory that was freed is used again instead of being asked of the system for each file."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from vi._memory import REUSED

FILES = """
import json, resource, sys
from vi._memory import reuse_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [b"x" * 100_000 for _ in range(100)]
    del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "reuse":
    reuse_freed_memory()
print(json.dumps([faults() for _ in range(4)]))
"""


def faults(how: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", FILES, how], capture_output=True, text=True, check=True)
    counts: list[int] = json.loads(done.stdout)
    return counts


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the rule is glibc's")
def test_files_after_the_first_take_the_memory_of_those_that_were_sent() -> None:
    first, *later = faults("reuse")
    assert first > 1000  # what is new is asked for once
    assert max(later) < first / 20
    assert min(faults("as it is")[1:]) > first / 20, "glibc keeps it by itself: `reuse_freed_memory` can go"
    assert REUSED * 2 >= 100 * 100_000
