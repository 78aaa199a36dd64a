"""What a client that is a process of its own says of itself; nothing but the standard library, for any interpreter.

A client does its imports and what is not in question, enters `phase`, does the work, and prints one line of JSON: wall
seconds, CPU seconds of this process (user and system) and its peak memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WITHOUT = "VI_BENCH_WITHOUT"
"""Names the packages, by commas, that the client is to do without although they are installed."""

for _name in filter(None, os.environ.get(WITHOUT, "").split(",")):
    sys.modules[_name] = None  # type: ignore[assignment]


@contextlib.contextmanager
def phase() -> Iterator[dict[str, Any]]:
    """Measure the block and print what it took; what it puts into the dictionary is printed too."""
    more: dict[str, Any] = {}
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield more
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    sys.stdout.write(json.dumps({"wall": wall, "cpu": cpu, "peak": peak_bytes(), "more": more}) + "\n")


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_bytes() -> int:
    """Return the most memory this program has had resident; getrusage would count its parent's before exec as well."""
    return _status("VmHWM:") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident_bytes() -> int:
    """Return the memory resident now, 0 where the system does not tell."""
    return _status("VmRSS:")


def _status(field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0
