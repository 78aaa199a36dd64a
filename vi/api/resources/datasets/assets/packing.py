"""Cutting what is to be moved into shards, so that machines that take them in turn have about as many bytes each.

Forty machines, or a number that divides forty, take the shards of a *lane* each: of forty shards in a row, each belongs
to another. A large file has its lane given less of the others. Few files are large, so they are taken in first; the
others are taken in as they come, some thousands at a time.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

SHARD_BYTES = 64 << 20
SHARD_FILES = 2_000
LANES = 40
ROWS = 6
"""The fewest shards of a lane with that many files. Threes of rows also suit 30, 60 and 120 machines."""
WINDOW = 10_000
"""How many items are distributed, and held in memory, at a time."""


def packed(
    items: Iterable[T], size: Callable[[T], int], *, files: int, total: int, wanted: int | None
) -> Iterator[list[T]]:
    """Yield the shards of *items*, which are *files* of *total* bytes: as many as *wanted*, or as are of a good size.

    *items* are gone through twice if they are many.
    """

    def weight(item: T) -> int:
        return size(item) + 1  # empty files are shared out as well

    whole = total + files
    limit = whole / WINDOW if files > WINDOW else 0
    large = [item for item in items if weight(item) > limit]
    lanes = max(1, min(files, LANES if wanted is None else wanted))
    rows = 1
    if wanted is None:
        rows = _rows(sum(min(weight(item), SHARD_BYTES) for item in large) + whole - _sum(large, weight), files, lanes)
    if not limit or files - len(large) < lanes * rows:
        yield from _distributed([*items], lanes, rows, weight)
        return
    rest = whole - _sum(large, weight)
    mean = rest / (files - len(large))
    of_lanes = _filled(large, [0.0] * lanes, weight)
    amounts = _raised([_sum(lane, weight) for lane in of_lanes], rest)
    # A lane that is full with large files has few others, and each of its shards needs one.
    shortest = min(len(lane) + amount / mean for lane, amount in zip(of_lanes, amounts, strict=True))
    rows = min(rows, max(ROWS, int(shortest)))
    parts = [_by_size(_filled(lane, [0.0] * rows, weight), weight) for lane in of_lanes]
    wishes = [
        _raised([_sum(part, weight) for part in lane], amount) for lane, amount in zip(parts, amounts, strict=True)
    ]
    smaller = (item for item in items if weight(item) <= limit)
    poured = _poured(smaller, weight, [max(amount, mean) for amount in _in_turn(wishes)], files)
    yield from (part + more for part, more in zip(_in_turn(parts), poured, strict=True) if part or more)


def _rows(amount: int, files: int, lanes: int) -> int:
    wanted = max(ROWS, math.ceil(amount / SHARD_BYTES / lanes), math.ceil(files / SHARD_FILES / lanes))
    return max(1, min(3 * math.ceil(wanted / 3), files // lanes))


def _distributed(items: Sequence[T], lanes: int, rows: int, weight: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield the shards of items that are all there, in fewer rows where a large file would get too many others."""
    longest = max((_sum(lane, weight) for lane in _filled(items, [0.0] * lanes, weight)), default=0)
    if lanes == LANES < len(items) < LANES * ROWS:
        one_each = _one_each(items, lanes, weight)
        if max(_sum(lane, weight) for lane in one_each) <= 1.1 * longest:
            rows_of_items = itertools.zip_longest(*([[item] for item in lane] for lane in one_each))
            yield from filter(None, itertools.chain.from_iterable(rows_of_items))
            return
    while True:
        of_lanes = _filled(items, [0.0] * lanes, weight, rows)
        if rows == 1 or max(_sum(lane, weight) for lane in of_lanes) <= 1.1 * longest:
            break
        rows = max(1, rows * 3 // 4)
    of_lanes = _by_size(of_lanes, weight)
    parts = [_by_size(_filled(lane, [0.0] * rows, weight, 1), weight) for lane in of_lanes]
    yield from filter(None, _in_turn(parts))


def _one_each(items: Sequence[T], lanes: int, weight: Callable[[T], int]) -> list[list[T]]:
    """Return lanes of about as many bytes, whose numbers of items differ by one at most, the longest lanes first."""
    heap = [(0, lane) for lane in range(lanes)]
    parts: list[list[T]] = [[] for _ in heap]
    rows, more = divmod(len(items), lanes)
    for item in sorted(items, key=lambda item: -weight(item)):
        load, lane = heapq.heappop(heap)
        while len(parts[lane]) == rows and not more:
            load, lane = heapq.heappop(heap)
        more -= len(parts[lane]) == rows
        parts[lane].append(item)
        if len(parts[lane]) <= rows:
            heapq.heappush(heap, (load + weight(item), lane))
    return sorted(parts, key=lambda part: (-len(part), -_sum(part, weight)))


def _poured(items: Iterator[T], weight: Callable[[T], int], amounts: Sequence[float], files: int) -> Iterator[list[T]]:
    """Yield parts of about these *amounts*; what is left of the items taken in at once goes to later parts."""
    window = max(WINDOW, 2 * math.ceil(files / len(amounts)))
    held: list[T] = []
    first, end = 0, len(amounts) - 1
    while True:
        some = list(itertools.islice(items, window))
        held += some
        if len(some) < window:
            yield from _filled(held, _below(amounts[first:]), weight, 1)
            return
        left, last = float(_sum(held, weight)), first
        while last < end and left >= amounts[last]:
            left -= amounts[last]
            last += 1
        # The part that they do not fill gets what is left, and that is poured again.
        *parts, held = _filled(held, _below([*amounts[first:last], min(left, amounts[last])]), weight, 1)
        yield from parts
        first = last


def _below(amounts: Sequence[float]) -> list[float]:
    """Return the loads with which parts are filled to these *amounts*."""
    most = max(amounts)
    return [most - amount for amount in amounts]


def _filled(items: Sequence[T], loads: Sequence[float], weight: Callable[[T], int], least: int = 0) -> list[list[T]]:
    """Return parts that have *loads* before: the largest item first, each goes to the part with the smallest load.

    Every part has at least *least* items, if there are enough; it has them in the order of *items*.
    """
    heap = [(load, 0, part) for part, load in enumerate(loads)]
    heapq.heapify(heap)
    parts: list[list[int]] = [[] for _ in loads]
    lacking, takes_all = least * len(parts), True
    left = len(items)
    for position in sorted(range(len(items)), key=lambda position: -weight(items[position])):
        if takes_all and left <= lacking:
            takes_all, heap = False, [one for one in heap if one[1] < least]
            heapq.heapify(heap)
        load, count, part = heapq.heappop(heap)
        parts[part].append(position)
        left, count, lacking = left - 1, count + 1, lacking - (count < least)
        if takes_all or count < least:
            heapq.heappush(heap, (load + weight(items[position]), count, part))
    return [[items[position] for position in sorted(part)] for part in parts]


def _raised(loads: Sequence[float], amount: float) -> list[float]:
    """Return what each gets of *amount* so that the smallest loads are raised to one level."""
    level, below = 0.0, 0.0
    ordered = [*sorted(loads), math.inf]
    for count in range(1, len(ordered)):
        below += ordered[count - 1]
        level = (amount + below) / count
        if level <= ordered[count]:
            break
    return [max(0.0, level - load) for load in loads]


def _by_size(parts: list[list[T]], weight: Callable[[T], int]) -> list[list[T]]:
    return sorted(parts, key=lambda part: -_sum(part, weight))


def _in_turn(lanes: Sequence[Sequence[T]]) -> Iterator[T]:
    """Yield the first of each lane, then the second of each."""
    return itertools.chain.from_iterable(zip(*lanes, strict=True))


def _sum(items: Iterable[T], weight: Callable[[T], int]) -> int:
    return sum(map(weight, items))
