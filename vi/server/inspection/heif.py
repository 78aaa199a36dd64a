"""What the boxes of HEIF and AVIF say: the size of the picture, and whether it is turned by a quarter when shown."""

from __future__ import annotations

from collections.abc import Iterator

_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}
"""Boxes that hold others, and the bytes before those."""


def is_turned(data: bytes) -> bool:
    """Tell whether the ``irot`` properties of the primary picture come to 90 or 270 degrees (ISO/IEC 23008-12)."""
    try:
        turns = sum(content[0] & 3 for kind, content in _of_primary(data) if kind == b"irot")
    except (IndexError, StopIteration):
        return False
    return turns % 2 == 1


def size(data: bytes) -> tuple[int, int]:
    """Return width and height of the primary picture as it is stored; raises IndexError or StopIteration.

    *data* may end after the boxes that say so.
    """
    content = next(content for kind, content in _of_primary(data) if kind == b"ispe")
    return int.from_bytes(content[4:8], "big"), int.from_bytes(content[8:12], "big")


def _of_primary(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return kind and content of the properties of the primary picture."""
    boxes = list(_boxes(data, 0, len(data)))
    primary = next(_primary(data[at:end]) for kind, at, end in boxes if kind == b"pitm")
    _, begin, after = next(box for box in boxes if box[0] == b"ipco")
    properties = [(kind, data[at:end]) for kind, at, end in _boxes(data, begin, after)]
    used = [one for kind, at, end in boxes if kind == b"ipma" for one in _associated(data[at:end], primary)]
    return [properties[index - 1] for index in used if index]


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, begin and end of every box, and of those in them, which fill it: each byte is passed once."""
    while at + 8 <= end:
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            size = end - at
        if size < head:
            return
        yield kind, at + head, min(at + size, end)
        at += head + _CONTAINERS[kind] if kind in _CONTAINERS else size


def _primary(box: bytes) -> int:
    return int.from_bytes(box[4:6] if box[0] == 0 else box[4:8], "big")


def _associated(box: bytes, item: int) -> list[int]:
    """Return the numbers of the properties of *item*."""
    version, wide = box[0], box[3] & 1
    count, at = int.from_bytes(box[4:8], "big"), 8
    for _ in range(count):
        size = 2 if version == 0 else 4
        found, number = int.from_bytes(box[at : at + size], "big"), box[at + size]
        at += size + 1
        step = 2 if wide else 1
        if found == item:
            values = [int.from_bytes(box[one : one + step], "big") for one in range(at, at + number * step, step)]
            return [value & (0x7FFF if wide else 0x7F) for value in values]
        at += number * step
    return []
