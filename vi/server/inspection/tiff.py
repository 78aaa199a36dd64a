"""The directories of a TIFF: whether the file reaches the end of each, and which of them are pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs

from .structure import NotWholeError

_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_STANDARD_TAGS = range(254, 533)  # others are often left dangling by editors
_SUBFILE, _WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_SAMPLES, _ROWS_PER_STRIP, _PLANAR, _TILE_WIDTH, _TILE_LENGTH = 277, 278, 284, 322, 323
_STRIPS, _TILES = (273, 279), (324, 325)
_REDUCED, _MASK = 1, 4
_COMMON = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946})
_TRANSPARENCY_MASK = 4


@attrs.frozen
class Page:
    """One directory; *index* is its place in the file."""

    index: int
    width: int
    height: int
    is_picture: bool
    is_common: bool
    """Whether its compression is one that every Pillow reads: what is wrong is then wrong with the pixels."""
    is_deep: bool
    """Whether it has more than 8 bits a sample."""
    is_deep_planar: bool
    """Colours of 16 bits in planes of their own, which Pillow puts together wrongly."""


def pages(data: bytes) -> list[Page]:
    """Return every directory; raises `NotWholeError` when the file ends before one, or before its pixels.

    Masks and reduced copies of another page are not pictures (TIFF 6.0, NewSubfileType).
    """
    return list(_Reader(data).pages())


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
        self._large = data[2:4] in (b"+\0", b"\0+")
        self._width, self._entry, self._count = (8, 20, 8) if self._large else (4, 12, 2)

    def pages(self) -> Iterator[Page]:
        page, seen = self._number(8 if self._large else 4, self._width), set[int]()
        while page and page not in seen:
            seen.add(page)
            count = self._number(page, self._count)
            first = page + self._count
            last = first + count * self._entry
            page = self._number(last, self._width)
            entries = {
                tag: at for at in range(first, last, self._entry) if (tag := self._number(at, 2)) in _STANDARD_TAGS
            }
            for entry in entries.values():
                self._place(entry)
            self._check_pixels(entries)
            kind = self._first(entries, _SUBFILE, 0)
            mask = bool(kind & _MASK) or self._first(entries, _PHOTOMETRIC, 0) == _TRANSPARENCY_MASK
            width, height = self._first(entries, _WIDTH, 0), self._first(entries, _LENGTH, 0)
            common = self._first(entries, _COMPRESSION, 1) in _COMMON
            bits = self._first(entries, _BITS, 1)
            deep_planar = self._first(entries, _PLANAR, 1) == 2 and bits == 16
            yield Page(len(seen) - 1, width, height, not mask and not kind & _REDUCED, common, bits > 8, deep_planar)

    def _check_pixels(self, entries: dict[int, int]) -> None:
        compressed = self._first(entries, _COMPRESSION, 1) != 1
        for offsets, lengths in (_STRIPS, _TILES):
            if offsets not in entries:
                continue
            begins = list(self._values(entries[offsets]))
            if compressed and lengths in entries:
                ends = list(map(sum, zip(begins, self._values(entries[lengths]), strict=False)))
            else:
                # Byte counts of uncompressed strips are often wrong, and not needed.
                ends = list(map(sum, zip(begins, self._sizes(entries, len(begins)), strict=False)))
            if max(ends, default=0) > len(self._data):
                raise NotWholeError("it ends before its pixels")

    def _sizes(self, entries: dict[int, int], count: int) -> Iterator[int]:
        """Yield what each strip or tile takes without compression, but for the rows of a tile below the picture."""
        width, height = self._first(entries, _WIDTH, 0), self._first(entries, _LENGTH, 0)
        samples = self._first(entries, _SAMPLES, 1)
        bits = list(self._values(entries[_BITS])) if _BITS in entries else [1]
        planar = self._first(entries, _PLANAR, 1) == 2
        if self._first(entries, _PHOTOMETRIC, 0) == 6 and not planar:
            return  # subsampled colours take less
        across = 1
        if _TILES[0] in entries:
            wide = self._first(entries, _TILE_WIDTH, 0) or width or 1
            across, width = -(-width // wide), wide
            rows = self._first(entries, _TILE_LENGTH, 0) or height or 1
        else:
            rows = min(self._first(entries, _ROWS_PER_STRIP, height) or height, height) or 1
        row = (width * (bits[0] if planar else bits[0] * samples) + 7) // 8
        per_plane = -(-height // rows) or 1
        for index in range(count):
            below = height - index // across % per_plane * rows
            yield row * max(0, min(rows, below))

    def _number(self, at: int, size: int) -> int:
        if at + size > len(self._data):
            raise NotWholeError("it ends before its directory")
        return int.from_bytes(self._data[at : at + size], self._order)

    def _place(self, entry: int) -> tuple[int, int, int]:
        """Return where the values of an entry are, their size and their count."""
        size, count = _TYPE_SIZES.get(self._number(entry + 2, 2), 0), self._number(entry + 4, self._width)
        at = entry + 4 + self._width
        if size * count > self._width:
            at = self._number(at, self._width)
            if at + size * count > len(self._data):
                raise NotWholeError("it ends before its directory")
        return at, size, count if size else 0

    def _values(self, entry: int) -> Iterator[int]:
        at, size, count = self._place(entry)
        return (self._number(at + index * size, size) for index in range(count))

    def _first(self, entries: dict[int, int], tag: int, default: int) -> int:
        return next(self._values(entries[tag]), default) if tag in entries else default
