"""Whether a file's own structure reaches its end, for the formats whose decoders stop as soon as the pixels are there.

Pillow takes a JPEG without its end marker, a PNG without its last chunk, a GIF without its trailer and a TIFF whose
page chain breaks off. Only what a cut file would lack is checked here; the pixels are the decoder's business.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Literal


class NotWholeError(ValueError):
    """The file ends, or is damaged, before its structure does."""


def check(family: str, data: bytes) -> None:
    """Raise `NotWholeError` when *data*, of a `vi._media.sniff` family, breaks off."""
    if family == "jpeg":
        _check_jpeg(data)
    elif family == "png":
        _check_png(data)
    elif family == "gif":
        _check_gif(data)
    elif family == "tiff":
        _check_tiff(data)


def _check_jpeg(data: bytes) -> None:
    at = 2
    while data[at : at + 1] == b"\xff" and (marker := data[at + 1 : at + 2]) not in (b"\xda", b""):
        # Fill bytes have no length of their own.
        at += 1 if marker == b"\xff" else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    # After the first scan header an end marker cannot be part of the pixels, while before it previews have theirs.
    if data.find(b"\xff\xd9", at) < 0:
        raise NotWholeError("it ends before its end marker")


def _check_png(data: bytes) -> None:
    view = memoryview(data)
    at = 8
    while True:
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        if end > len(data):
            raise NotWholeError("it ends before its IEND chunk")
        kind = data[at + 4 : at + 8]
        critical = not kind[0] & 0x20
        if (critical or kind == b"fdAT") and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise NotWholeError(f"its {kind.decode('ascii', 'replace')} chunk is damaged")
        if kind == b"IEND":
            return
        at = end


def _check_gif(data: bytes) -> None:
    try:
        at = 13 + _gif_colours(data[10])
        while (block := data[at]) != 0x3B:
            if block == 0x2C:
                at += 11 + _gif_colours(data[at + 9])  # descriptor, colours, code size; data blocks follow
            elif block == 0x21:
                at += 2
            elif block == 0:  # some encoders end a block twice
                at += 1
                continue
            else:
                raise NotWholeError(f"it has an unknown block at byte {at}")
            while length := data[at]:
                at += 1 + length
            at += 1
    except IndexError:
        raise NotWholeError("it ends before its trailer") from None


def _gif_colours(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_STANDARD_TAGS = range(254, 533)  # others are often left dangling by editors
_COMPRESSION = 259
_DATA_TAGS = ((273, 279), (324, 325))  # offsets and byte counts of strips, of tiles


def _check_tiff(data: bytes) -> None:
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    large = data[2:4] in (b"+\0", b"\0+")
    width, entry_size, count_size = (8, 20, 8) if large else (4, 12, 2)

    def number(at: int, size: int) -> int:
        if at + size > len(data):
            raise NotWholeError("it ends before its directory")
        return int.from_bytes(data[at : at + size], order)

    def place(entry: int) -> tuple[int, int, int]:
        """Return where the values of an entry are, their size and their count."""
        size, count = _TYPE_SIZES.get(number(entry + 2, 2), 0), number(entry + 4, width)
        at = entry + 4 + width
        if size * count > width:
            at = number(at, width)
            if at + size * count > len(data):
                raise NotWholeError("it ends before its directory")
        return at, size, count if size else 0

    def values(entry: int) -> Iterator[int]:
        at, size, count = place(entry)
        return (number(at + index * size, size) for index in range(count))

    page, seen = number(8 if large else 4, width), set[int]()
    while page and page not in seen:
        seen.add(page)
        count = number(page, count_size)
        first = page + count_size
        last = first + count * entry_size
        page = number(last, width)
        entries = {tag: at for at in range(first, last, entry_size) if (tag := number(at, 2)) in _STANDARD_TAGS}
        for entry in entries.values():
            place(entry)
        if _COMPRESSION in entries and list(values(entries[_COMPRESSION])) != [1]:
            for offsets, lengths in _DATA_TAGS:
                if offsets in entries and lengths in entries:
                    ends = map(sum, zip(values(entries[offsets]), values(entries[lengths]), strict=False))
                    if max(ends, default=0) > len(data):
                        raise NotWholeError("it ends before its pixels")
