"""What a call costs in CPU time, and whether that grows with its input and no faster."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

ENOUGH = 0.01
"""CPU seconds from which a measurement is steady."""
ROUNDS = 3
AT_MOST = 2.5
LARGEST = 1 << 17
"""A size that costs less than that is not doubled further: it is bounded, or there is nothing to fear."""


def cost(call: Callable[[Any], object], value: Any, rounds: int = ROUNDS) -> float:
    """Return the CPU seconds of *call*, the least of several rounds."""
    least = float("inf")
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            began = time.process_time()
            call(value)
            least = min(least, time.process_time() - began)
    finally:
        if collects:
            gc.enable()
    return least


def growth(call: Callable[[Any], object], make: Callable[[int], Any], size: int = 1000) -> float:
    """Return by what factor the cost grows when the size is doubled, at a size where it can be measured.

    A call that bounds its input costs the same at any size: its growth is 1.
    """
    while cost(call, make(size), 1) < ENOUGH:
        if size * 4 > LARGEST:
            return 1.0
        size *= 4
    # Three chances: what else the machine does is not the call's fault, and a square is a square each time.
    found = float("inf")
    for _ in range(3):
        found = min(found, cost(call, make(2 * size)) / cost(call, make(size)))
        if found <= AT_MOST:
            break
    return found
