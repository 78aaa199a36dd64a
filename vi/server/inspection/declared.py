"""What a picture declares of itself, read by the service's own process: what decoders say is compared with it.

A decoder that was taken over by one picture could lie of the next ones. Nothing here decodes; a few fields are read,
and of a large file no more than `_READS` pieces. Not by the library imagesize: its 2.0.1 refuses HEIF that is turned,
as phones write it, and releases before are slow.

Of a few pictures nothing can be told, which are decoded in a process of their own: of animations larger than 1 MiB, of
sequences of HEIF and AVIF, of JPEGs that name their height behind their pixels or have bytes between their segments,
and of what has too much before the place that is looked for.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Literal

import attrs

from . import heif, structure

_HEAD = 1 << 16
"""Bytes of HEIF and AVIF that are looked at; their boxes come first."""
_READS = 4096
_LONGEST = 1 << 16
_SEQUENCES = frozenset({b"avis", b"hevc", b"hevx", b"msf1"})
_CODE_STREAM = b"\xff\x4f\xff\x51"
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_NO_FRAMES = frozenset({0xC4, 0xC8, 0xCC})
_WIDTH, _LENGTH = 256, 257
_INTEGERS = {3: 2, 4: 4, 16: 8}
"""Bytes of the types of TIFF that a side may have."""


@attrs.frozen
class Declared:
    """The stored raster of a picture, and how many it has."""

    width: int
    height: int
    frames: int


def read(family: str, head: memoryview, file: io.FileIO) -> Declared | None:
    """Return what the picture in *file* declares; None if that cannot be told. Never raises, and moves in the file.

    *head* are its first bytes: all of a small file, else at least 64 KiB.
    """
    try:
        width, height = _SIZES[family](_Pieces(head, file))
        frames = _FRAMES[family](head, file) if family in _FRAMES else 1
    except Exception:  # noqa: BLE001 - whatever is wrong with a header: it is known to the decoder alone then
        return None
    return Declared(width, height, frames) if min(width, height, frames) > 0 else None


class _Pieces:
    """A file of which so many pieces are read and no more."""

    def __init__(self, head: memoryview, file: io.FileIO) -> None:
        self.head = head
        self._file = file
        self._left = _READS

    def __call__(self, at: int, size: int) -> bytes:
        """Return *size* bytes from *at* on; raises ValueError."""
        self._left -= 1
        if self._left < 0 or size > _LONGEST:
            raise ValueError("there is too much to read")
        if at + size <= len(self.head):
            return bytes(self.head[at : at + size])
        self._file.seek(at)
        data = self._file.read(size)
        if len(data) < size:
            raise ValueError("it ends before")
        return data

    def number(self, at: int, size: int, order: Literal["little", "big"] = "big") -> int:
        """Return an unsigned integer."""
        return int.from_bytes(self(at, size), order)


def _size_of_jpeg(pieces: _Pieces) -> tuple[int, int]:
    at = 2
    while True:
        mark, kind = pieces(at, 2)
        if mark != 0xFF or kind in (0xD9, 0xDA):
            raise ValueError("it has no frame before its pixels")
        if kind == 0xFF:
            at += 1
        elif kind in _WITHOUT_LENGTH:
            at += 2
        elif 0xC0 <= kind <= 0xCF and kind not in _NO_FRAMES:
            height, width = struct.unpack(">HH", pieces(at + 5, 4))
            return width, height
        else:
            at += 2 + max(2, pieces.number(at + 2, 2))


def _size_of_png(pieces: _Pieces) -> tuple[int, int]:
    return pieces.number(16, 4), pieces.number(20, 4)


def _size_of_gif(pieces: _Pieces) -> tuple[int, int]:
    return pieces.number(6, 2, "little"), pieces.number(8, 2, "little")


def _size_of_bmp(pieces: _Pieces) -> tuple[int, int]:
    if pieces.number(14, 4, "little") == 12:  # the header of OS/2
        return pieces.number(18, 2, "little"), pieces.number(20, 2, "little")
    width, height = struct.unpack("<ii", pieces(18, 8))
    return width, abs(height)


def _size_of_webp(pieces: _Pieces) -> tuple[int, int]:
    return structure.size_of_webp(pieces(0, 30)) or (0, 0)


def _size_of_heif(pieces: _Pieces) -> tuple[int, int]:
    return heif.size(bytes(pieces.head[:_HEAD]))


def _size_of_jpeg_2000(pieces: _Pieces) -> tuple[int, int]:
    at = 0
    while pieces(at, 4) != _CODE_STREAM:
        size, kind, before = pieces.number(at, 4), pieces(at + 4, 4), 8
        if size == 1:
            size, before = pieces.number(at + 8, 8), 16
        if kind != b"jp2c" and size < before:
            raise ValueError("it has no code stream")
        at += before if kind == b"jp2c" else size
    right, bottom, left, top = struct.unpack(">4I", pieces(at + 8, 16))
    return right - left, bottom - top


def _size_of_tiff(pieces: _Pieces) -> tuple[int, int]:
    order, width, counts, entry, at = _first_directory(pieces)
    sides = {_WIDTH: 0, _LENGTH: 0}
    count = pieces.number(at, counts, order)
    directory = pieces(at + counts, count * entry)
    for begin in range(0, count * entry, entry):
        tag, kind = (int.from_bytes(directory[one : one + 2], order) for one in (begin, begin + 2))
        if tag in sides:
            value = begin + 4 + width
            sides[tag] = int.from_bytes(directory[value : value + _INTEGERS[kind]], order)
    return sides[_WIDTH], sides[_LENGTH]


def _first_directory(pieces: _Pieces) -> tuple[Literal["little", "big"], int, int, int, int]:
    """Return byte order, bytes of an offset, of a count and of an entry, and where the first directory is."""
    order: Literal["little", "big"] = "little" if pieces(0, 1) == b"I" else "big"
    large = pieces.number(2, 2, order) == 43
    width, counts, entry = (8, 8, 20) if large else (4, 2, 12)
    return order, width, counts, entry, pieces.number(8 if large else 4, width, order)


def _of_png(head: memoryview, file: io.FileIO) -> int:
    at = 8
    while (kind := bytes(head[at + 4 : at + 8])) != b"IDAT":
        if kind == b"acTL":
            return int.from_bytes(head[at + 8 : at + 12], "big")
        if not kind:
            return 0
        at += 12 + int.from_bytes(head[at : at + 4], "big")
    return 1


def _of_webp(head: memoryview, file: io.FileIO) -> int:
    if bytes(head[12:16]) != b"VP8X" or not head[20] & 2:
        return 1
    if not _is_all(head, file):
        return 0
    at, frames = 12, 0
    while kind := bytes(head[at : at + 4]):
        frames += kind == b"ANMF"
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return frames


def _of_gif(head: memoryview, file: io.FileIO) -> int:
    if not _is_all(head, file):
        return 0
    at, frames = 13 + _colours(head[10]), 0
    while at < len(head) and (block := head[at]) != 0x3B:
        if block == 0x2C:
            frames += 1
            at += 11 + _colours(head[at + 9])
        elif block == 0x21:
            at += 2
        else:
            at += 1
            continue
        while length := head[at]:
            at += 1 + length
        at += 1
    return frames


def _colours(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _of_tiff(head: memoryview, file: io.FileIO) -> int:
    pieces = _Pieces(head, file)
    order, width, counts, entry, at = _first_directory(pieces)
    seen = set[int]()
    while at and at not in seen:
        seen.add(at)
        at = pieces.number(at + counts + entry * pieces.number(at, counts, order), width, order)
    return len(seen)


def _of_heif(head: memoryview, file: io.FileIO) -> int:
    size = min(int.from_bytes(head[:4], "big"), _READS)
    brands = {bytes(head[at : at + 4]) for at in (8, *range(16, size, 4))}
    return 0 if brands & _SEQUENCES else 1


def _is_all(head: memoryview, file: io.FileIO) -> bool:
    return file.seek(0, io.SEEK_END) == len(head)


_FRAMES: dict[str, Callable[[memoryview, io.FileIO], int]] = {
    "avif": _of_heif,
    "gif": _of_gif,
    "heif": _of_heif,
    "png": _of_png,
    "tiff": _of_tiff,
    "webp": _of_webp,
}
"""Of families that may have several; 0 if that cannot be told."""
_SIZES: dict[str, Callable[[_Pieces], tuple[int, int]]] = {
    "avif": _size_of_heif,
    "bmp": _size_of_bmp,
    "gif": _size_of_gif,
    "heif": _size_of_heif,
    "jpeg": _size_of_jpeg,
    "jpeg2000": _size_of_jpeg_2000,
    "png": _size_of_png,
    "tiff": _size_of_tiff,
    "webp": _size_of_webp,
}
