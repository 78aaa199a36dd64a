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
    return _sorted(_filled(items, [0.0] * count, size), size)


def _filled(items: Sequence[T], loads: list[float], size: Callable[[T], int]) -> list[list[T]]:
    """Return parts that have *loads* before: the largest item first, each goes to the part with the smallest load."""
    heap = [(load, 0, part) for part, load in enumerate(loads)]
    heapq.heapify(heap)
    parts: list[list[int]] = [[] for _ in loads]
    for position in sorted(range(len(items)), key=lambda position: -size(items[position])):
        load, files, part = heap[0]
        parts[part].append(position)
        heapq.heapreplace(heap, (load + size(items[position]), files + 1, part))
    return [[items[position] for position in sorted(part)] for part in parts]


def _sorted(parts: list[list[T]], size: Callable[[T], int]) -> list[list[T]]:
    return sorted((part for part in parts if part), key=lambda part: -sum(map(size, part)))


def packed(
    items: Iterable[T], size: Callable[[T], int], *, files: int, total: int, wanted: int | None
) -> Iterator[list[T]]:
    """Yield the shards of *items*, which are *files* of *total* bytes: as many as *wanted*, or as are of a good size.

    Items are taken in as they come, some thousands at a time, or one shard.
    """
    if wanted is not None:
        yield from _as_many(items, size, files=files, total=total, count=max(1, min(files, wanted)))
        return
    count = max(1, min(files, max(math.ceil(total / SHARD_BYTES), SHARDS)))
    left = iter(items)
    while some := list(itertools.islice(left, WINDOW)):
        by_bytes = math.ceil(count * sum(map(size, some)) / total) if total else 0
        parts = max(1, by_bytes, math.ceil(len(some) / SHARD_FILES))
        yield from balanced(some, min(parts, len(some)), size)


def _as_many(items: Iterable[T], size: Callable[[T], int], *, files: int, total: int, count: int) -> Iterator[list[T]]:
    """Yield *count* parts of about as many bytes; what is left of the items taken in at once goes to later parts."""

    def weight(item: T) -> int:
        return size(item) + 1  # empty files are shared out as well

    share, window = (total + files) / count, max(WINDOW, math.ceil(files / count))
    left, held = iter(items), list[T]()
    while True:
        some = list(itertools.islice(left, window))
        held += some
        if len(some) < window:
            yield from balanced(held, min(count, len(held)), weight)
            return
        # A file that is larger than a part is one part.
        amount = sum(min(weight(item), share) for item in held)
        whole = min(int(amount / share), count - 1)
        rest = share - (amount - whole * share)
        *parts, held = _filled(held, [0.0] * whole + [max(0.0, rest)], weight)
        yield from _sorted(parts, weight)
        count -= whole
