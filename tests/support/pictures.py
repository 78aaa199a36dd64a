"""Small valid images; equal arguments give equal bytes."""

from __future__ import annotations

import io
import random
import struct
import zlib

from PIL import Image

MP4 = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41"
"""How a video begins; a service looks no further."""


def picture(number: int = 0, size: tuple[int, int] = (8, 6), format: str = "PNG") -> bytes:
    """An image of one colour, another for each number below 65,536."""
    out = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256 % 256, 7)).save(out, format)
    return out.getvalue()


def noise(number: int, size: tuple[int, int] = (8, 8)) -> bytes:
    """A BMP of random pixels, so that its size follows from that of the image."""
    out = io.BytesIO()
    pixels = random.Random(number).randbytes(size[0] * size[1] * 3)
    Image.frombytes("RGB", size, pixels).save(out, "BMP")
    return out.getvalue()


def tiny(number: int, side: int = 2) -> bytes:
    """The smallest PNG that is this number's own, made without Pillow because thousands are needed."""
    chance = random.Random(number)
    rows = b"".join(b"\0" + chance.randbytes(3 * side) for _ in range(side))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
