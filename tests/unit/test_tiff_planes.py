"""A TIFF of planes or tiles is stored if all of its samples are there, also when Pillow has no mode for it."""

from __future__ import annotations

import struct

import pytest

pytest.importorskip("PIL")

from vi.server.inspection.checking import Picture
from vi.server.inspection.decoding import Decoder
from vi.server.inspection.frames import InspectionLimits, RefusedError

WIDTH, HEIGHT, TILE = 20, 24, 16


def tiff(samples: int, depth: int, *, planes: bool, tiled: bool) -> tuple[bytes, int]:
    """A picture whose last samples are its last bytes, but for so many bytes of rows below it."""
    count = samples if planes else 1
    across, down = (-(-WIDTH // TILE), -(-HEIGHT // TILE)) if tiled else (1, 1)
    wide, high = (TILE, TILE) if tiled else (WIDTH, HEIGHT)
    row = wide * depth // 8 * (1 if planes else samples)
    pieces = count * across * down
    offsets, sizes = (324, 325) if tiled else (273, 279)
    tags: dict[int, list[int]] = {
        256: [WIDTH],
        257: [HEIGHT],
        258: [depth] * samples,
        259: [1],
        262: [2 if samples > 2 else 1],
        277: [samples],
        284: [2 if planes else 1],
        offsets: [0] * pieces,
        sizes: [row * high] * pieces,
        **({322: [TILE], 323: [TILE]} if tiled else {278: [HEIGHT]}),
        **({338: [1]} if samples in (2, 4) else {}),
    }
    begin = 8 + 2 + 12 * len(tags) + 4
    pixels = begin + sum(4 * len(values) for values in tags.values() if len(values) > 1)
    tags[offsets] = [pixels + number * row * high for number in range(pieces)]
    head, outside = struct.pack("<2sHIH", b"II", 42, 8, len(tags)), b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        value = packed if len(values) == 1 else struct.pack("<I", begin + len(outside))
        outside += packed if len(values) > 1 else b""
        head += struct.pack("<HHI", tag, 4, len(values)) + value
    padding = row * (down * TILE - HEIGHT) if tiled else 0
    return head + bytes(4) + outside + bytes(row * high * pieces), padding


@pytest.mark.parametrize("tiled", [False, True], ids=["strips", "tiles"])
@pytest.mark.parametrize("planes", [False, True], ids=["together", "planes"])
@pytest.mark.parametrize("depth", [8, 16, 32])
@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5])
def test_samples_that_are_all_there_are_stored(samples: int, depth: int, *, planes: bool, tiled: bool) -> None:
    data, padding = tiff(samples, depth, planes=planes, tiled=tiled)
    decode = Decoder(InspectionLimits())

    def sizes(stored: Picture) -> tuple[int, int, int]:
        return stored.width, stored.height, stored.frames

    assert sizes(decode("tiff", "image/tiff", data)) == (WIDTH, HEIGHT, 1)
    assert sizes(decode("tiff", "image/tiff", data[: len(data) - padding])) == (WIDTH, HEIGHT, 1)
    with pytest.raises(RefusedError, match="it ends before its pixels"):
        decode("tiff", "image/tiff", data[: len(data) - padding - 1])
