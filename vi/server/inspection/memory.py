"""How much memory decoders may take, all together, on this machine or in this container."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import attrs

from .frames import InspectionLimits

_PARTS = 4
"""Of the memory, one part is left to the service and to everybody else."""
_LEAST_SHARE = 64 << 20
_CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def within_memory(limits: InspectionLimits, workers: int) -> tuple[InspectionLimits, int]:
    """Return *limits* and a number of decoders, at most *workers*, which fit into the memory beside a large picture."""
    if (total := total_memory()) is None:
        return limits, workers
    budget = total // _PARTS * (_PARTS - 1)
    largest = min(limits.memory_bytes, budget * 2 // 3)
    share = min(limits.share_bytes, max(_LEAST_SHARE, (budget - largest) // workers))
    fitting = max(1, (budget - largest) // share)
    return attrs.evolve(limits, memory_bytes=largest, share_bytes=share), min(workers, fitting)


def may_lack(memory: int) -> str:
    """Return what is said of a picture that failed, and may have lacked *memory*, the bytes that one may take."""
    return (
        f"It may need more than the {memory >> 20} MiB of memory that one image may take: divide it, "
        "or check that it is whole."
    )


def total_memory() -> int | None:
    """Return the bytes of memory that this machine, or its container, has; None where the system does not say."""
    found = []
    if sys.platform != "win32":
        with suppress(OSError, ValueError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in _CONTAINER:
        try:
            found.append(int(Path(path).read_text("ascii")))
        except (OSError, ValueError):  # "max" is not a number
            continue
    return min((size for size in found if size > 0), default=None)
