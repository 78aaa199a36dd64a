"""Cutting what is to be moved into parts of about as many bytes each."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

SHARD_BYTES = 64 << 20
SHARD_FILES = 2_000
SHARDS = 200
"""The fewest shards of a run with that many files: forty machines take five each."""
WINDOW = 10_000
"""How many items are distributed, and held in memory, at a time."""


def balanced(items: Sequence[T], count: int, size: Callable[[T], int]) -> list[list[T]]:
    """Return *count* parts of about as many bytes, the largest first, each in the order of *items*."""
    heap = [(0, 0, part) for part in range(count)]
    parts: list[list[int]] = [[] for _ in range(count)]
    totals = [0] * count
    for position in sorted(range(len(items)), key=lambda position: -size(items[position])):
        total, files, part = heap[0]
        parts[part].append(position)
        totals[part] = total + size(items[position])
        heapq.heapreplace(heap, (totals[part], files + 1, part))
    order = sorted(range(count), key=lambda part: -totals[part])
    return [[items[position] for position in sorted(parts[part])] for part in order]


def packed(
    items: Iterable[T], size: Callable[[T], int], *, files: int, total: int, wanted: int | None
) -> Iterator[list[T]]:
    """Yield the shards of *items*, which are *files* of *total* bytes: as many as *wanted*, or as are of a good size.

    Items are taken in as they come, some thousands at a time.
    """
    count = max(1, min(files, wanted or max(math.ceil(total / SHARD_BYTES), SHARDS)))
    window = WINDOW if wanted is None else max(WINDOW, math.ceil(files / count))
    windows = math.ceil(files / window)
    left, ahead, done = iter(items), 0, 0
    while some := list(itertools.islice(left, window)):
        windows -= 1
        ahead += sum(map(size, some))
        if wanted is None:
            by_bytes = math.ceil(count * sum(map(size, some)) / total) if total else 0
            parts = max(1, by_bytes, math.ceil(len(some) / SHARD_FILES))
        elif windows <= 0:
            parts = count - done
        else:
            parts = max(1, min(math.ceil(count * ahead / total) if total else 1, count - windows) - done)
        done += parts
        yield from (part for part in balanced(some, min(parts, len(some)), size) if part)
