"""Whether all tiles of a JPEG 2000 picture are there, also of one that Pillow has no mode for: by its code stream."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from .structure import NotWholeError

_START, _LAST = b"\xff\x4f", b"\xff\xd9"
_SIZE, _TILE = 0xFF51, 0xFF90
_CAPABILITIES = 0xFF50  # of part 15 (HTJ2K)
_BOX = b"\0\0\0\x0cjP  "


@attrs.frozen
class CodeStream:
    """What the code stream says of a picture."""

    width: int
    height: int
    is_common: bool
    """Whether every Pillow reads its kind: what is wrong is then wrong with the pixels."""
    to_decode: bytes
    """The picture with its end marker, which decoders insist on and which holds no pixels."""


def read(data: bytes) -> CodeStream:
    """Read a picture; raises `NotWholeError` when the file ends before one of its tiles does (ISO/IEC 15444-1, A)."""
    begin, end = _place(data)
    return _Reader(data, begin, end).read()


def _place(data: bytes) -> tuple[int, int]:
    """Return where the code stream begins and ends: it is all of the file, or in a box."""
    if not data.startswith(_BOX):
        return 0, len(data)
    at = 0
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind == b"jp2c":
            return at + head, min(at + size, len(data)) if size else len(data)
        if size < head:
            break
        at += size
    raise NotWholeError("it has no code stream")


class _Reader:
    def __init__(self, whole: bytes, begin: int, end: int) -> None:
        self._whole, self._begin = whole, begin
        self._data = memoryview(whole)[begin:end]

    def read(self) -> CodeStream:
        if bytes(self._data[:2]) != _START or self._number(2) != _SIZE:
            raise NotWholeError("its code stream has no size")
        right, bottom, left, top, tile_width, tile_height, tiles_left, tiles_top = (
            self._number(at, 4) for at in range(8, 40, 4)
        )
        width, height = right - left, bottom - top
        if min(width, height, tile_width, tile_height) < 1:
            raise NotWholeError("its code stream has no size")
        samples = [(self._number(at, 1), self._number(at + 1)) for at in range(42, 42 + 3 * self._number(40), 3)]
        # Colours at half the resolution are known, of pictures that have colours.
        even = all(steps == 0x0101 for _, steps in samples) or (len(samples) in (3, 4) and samples[0][1] == 0x0101)
        deep = any(depth & 0x7F > 15 for depth, _ in samples)
        at, special = self._header()
        across, down = -(-(right - tiles_left) // tile_width), -(-(bottom - tiles_top) // tile_height)
        tiles = list(self._tiles(at))
        orderly = all(not parts or part < parts for _, part, parts, _ in tiles)
        if len({number for number, *_ in tiles}) < across * down:
            raise NotWholeError("it ends before its last tile")
        common = 1 <= len(samples) <= 4 and even and not deep and not special and orderly
        at = tiles[-1][-1]
        ended = bytes(self._data[at : at + 2]) == _LAST
        return CodeStream(width, height, common, self._whole if ended else self._whole[: self._begin + at] + _LAST)

    def _header(self) -> tuple[int, bool]:
        """Return where the first tile begins, and whether the header asks for more than part 1 of the standard."""
        at, special = 2, False
        while (marker := self._number(at)) != _TILE:
            if not marker > 0xFF00:
                raise NotWholeError("the header of its code stream is damaged")
            special |= marker == _CAPABILITIES
            at += 2 + self._number(at + 2)
        return at, special

    def _tiles(self, at: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield number, part, count of parts and end of each part of a tile."""
        while at + 12 <= len(self._data) and self._number(at) == _TILE:
            # Without a size it is the last, and ends at the marker, which is in no packet.
            size = self._number(at + 6, 4) or self._whole.find(_LAST, self._begin + at) - self._begin - at
            if size < 14 or at + size > len(self._data):
                raise NotWholeError("it ends before its last tile")
            yield self._number(at + 4), self._number(at + 10, 1), self._number(at + 11, 1), at + size
            at += size

    def _number(self, at: int, size: int = 2) -> int:
        if at + size > len(self._data):
            raise NotWholeError("it ends within its code stream")
        return int.from_bytes(self._data[at : at + size], "big")
