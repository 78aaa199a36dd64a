"""What a picture declares of itself, read by the service's own process: what decoders say is compared with it.

A decoder that was taken over by one picture could lie of the next ones. Nothing here decodes: `imagesize` follows the
structure of most formats in Python alone, linear in what it is given, and that is bounded here. Not that of HEIF and
AVIF: its 2.0.1 refuses pictures that are turned (``irot``), as phones make them.

Of a few pictures nothing can be told, which are decoded in a process of their own: of animations larger than 1 MiB, of
sequences of HEIF and AVIF, of BigTIFF in the byte order of Motorola, of bitmaps with the header of OS/2, of JPEGs that
name their height behind their pixels, and of what has too much before the place that is looked for.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

import attrs

from . import heif

_HEAD = 1 << 16
"""Bytes that are looked at first: what cameras write before the size of a JPEG."""
_READS = 4096
_SEQUENCES = frozenset({b"avis", b"hevc", b"hevx", b"msf1"})
_CODE_STREAM = b"\xff\x4f\xff\x51"


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
        begin = bytes(head[:_HEAD])
        width, height = heif.size(begin) if family in ("avif", "heif") else _size(begin, file)
        frames = _FRAMES[family](head, file) if family in _FRAMES else 1
    except Exception:  # noqa: BLE001 - whatever is wrong with a header: it is known to the decoder alone then
        return None
    return Declared(width, height, frames) if min(width, height, frames) > 0 else None


def _size(head: bytes, file: io.FileIO) -> tuple[int, int]:
    if head.startswith(_CODE_STREAM):
        right, bottom, left, top = (int.from_bytes(head[at : at + 4], "big") for at in range(8, 24, 4))
        return right - left, bottom - top
    try:
        return _size_in(io.BytesIO(head))
    except ValueError:
        return _size_in(_Bounded(file))


def _size_in(file: io.BytesIO | _Bounded) -> tuple[int, int]:
    import imagesize  # takes longer than the start of a service may

    info = imagesize.get_info(file, dpi=False, colors=False, exif_rotation=False, channels=False)
    return info.width, info.height


class _Bounded:
    """A file of which so much is read and no more."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._reads = _READS

    def read(self, size: int = -1) -> bytes:
        self._reads -= 1
        if self._reads < 0 or not 0 <= size <= _HEAD:
            raise ValueError("there is too much to read")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)


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
    bounded = _Bounded(file)
    order: Literal["little", "big"] = "little" if head[0] == 0x49 else "big"
    large = 43 in bytes(head[2:4])
    width, counts, entry = (8, 8, 20) if large else (4, 2, 12)

    def number(at: int, size: int) -> int:
        bounded.seek(at)
        return int.from_bytes(bounded.read(size), order)

    at, seen = number(8 if large else 4, width), set[int]()
    while at and at not in seen:
        seen.add(at)
        at = number(at + counts + entry * number(at, counts), width)
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
