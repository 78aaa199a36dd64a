"""Detect truncated images, for the formats whose decoders stop as soon as they have all pixels.

Pillow takes a PNG without its last chunk, a GIF that ends between two pictures and a TIFF whose page chain breaks off.
Only what a cut file would lack is checked here; the pixels are the decoder's business, and `jpeg` has its own rules.
"""

from __future__ import annotations

import struct
import zlib


class NotWholeError(ValueError):
    """The file ends, or is damaged, before its structure does."""


def check(family: str, data: bytes) -> bytes:
    """Return what is to be decoded of *data*, of a `vi._media.sniff` family; raises `NotWholeError` if it is cut."""
    if family == "png":
        return _of_png(data)
    if family == "gif":
        return _of_gif(data)
    return data


def size_of_webp(data: bytes) -> tuple[int, int] | None:
    """Return the width and height that the first chunk of a WebP names; None if it is of another kind."""
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        both = int.from_bytes(data[21:25], "little")
        return (both & 0x3FFF) + 1, (both >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


_PNG_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_PNG_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_PNG_SHOWN = frozenset({b"tRNS", b"eXIf", b"iCCP"})
_MOST_PROFILE = 4 << 20


def _of_png(data: bytes) -> bytes:
    """Leave out whatever holds no pixels and could be a fault to the decoder."""
    view = memoryview(data)
    at, kept, clean = 8, [view[:8]], True
    animation: list[memoryview] = []
    before_pixels: int | None = None
    while True:
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        if end > len(data):
            raise NotWholeError("it ends before its IEND chunk")
        kind = data[at + 4 : at + 8]
        if not kind[0] & 0x20 and kind not in _PNG_CRITICAL:
            raise NotWholeError(f"it has the unknown critical chunk {kind.decode('ascii', 'replace')!r}")
        sound = zlib.crc32(view[at + 4 : end - 4]) == int.from_bytes(view[end - 4 : end])
        if kind in _PNG_CRITICAL or kind in _PNG_ANIMATION:
            if not sound:
                raise NotWholeError(f"its {kind.decode('ascii', 'replace')} chunk is damaged")
            kept.append(view[at:end])
            if kind in _PNG_ANIMATION:
                animation.append(view[at:end])
            elif kind == b"IDAT" and before_pixels is None:
                before_pixels = len(animation)
        elif (
            sound and kind in _PNG_SHOWN and end > at + 12 and (kind != b"iCCP" or _is_profile(data[at + 8 : end - 4]))
        ):
            kept.append(view[at:end])
        else:
            clean = False
        if kind == b"IEND":
            if animation and not _is_sequence(animation, before_pixels, data[16:24]):
                # As the standard has it: an animation in disorder is shown as its still.
                kept, clean = [chunk for chunk in kept if bytes(chunk[4:8]) not in _PNG_ANIMATION], False
            return data if clean else b"".join(kept)
        at = end


def _is_sequence(chunks: list[memoryview], before_pixels: int | None, canvas: bytes) -> bool:
    """Tell whether the chunks of an animation are all there, in order, and within the picture.

    *before_pixels* of them came before the first IDAT.
    """
    width, height = (int.from_bytes(side, "big") for side in (canvas[:4], canvas[4:]))
    first, *rest = chunks
    if before_pixels not in (1, 2) or bytes(first[4:8]) != b"acTL" or len(first) != 20:
        return False
    frames, filled = 0, True
    for number, chunk in enumerate(rest):
        kind, body = bytes(chunk[4:8]), chunk[8:-4]
        if kind == b"acTL" or len(body) < 5 or int.from_bytes(body[:4], "big") != number:
            return False
        if kind == b"fdAT":
            filled = True
            if not frames or (frames == 1 and before_pixels == 2):
                return False
            continue
        if not filled or len(body) != 26:
            return False
        wide, high, left, top = (int.from_bytes(body[at : at + 4], "big") for at in range(4, 20, 4))
        if not (wide and high and left + wide <= width and top + high <= height):
            return False
        if before_pixels == 2 and not frames and (wide, high) != (width, height):
            return False
        frames += 1
        filled = frames == 1 and before_pixels == 2  # the pixels of this one are those of the still
    return filled and frames == int.from_bytes(first[8:12], "big")


_SAMPLES_OF = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 20


def is_interlaced(data: bytes) -> bool:
    """Tell whether the rows of a PNG come in several passes."""
    return data[28] != 0


def check_rows(data: bytes) -> None:
    """Raise `NotWholeError` when the pixels of a PNG end before its last row, which its decoder leaves black.

    They are unpacked once more for it.
    """
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    bits = depth * _SAMPLES_OF[colour]
    wanted = 0
    for left, top, across, down in _PASSES if is_interlaced(data) else ((0, 0, 1, 1),):
        wide, high = -(-(width - left) // across), -(-(height - top) // down)
        if wide > 0 and high > 0:
            wanted += high * (1 + (wide * bits + 7) // 8)
    packed = zlib.decompressobj()
    at = 8
    while wanted > 0 and at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        piece = data[at + 8 : end - 4] if data[at + 4 : at + 8] == b"IDAT" else b""
        while piece and wanted > 0 and not packed.eof:
            wanted -= len(packed.decompress(piece, _PIECE))
            piece = packed.unconsumed_tail
        at = end
    if wanted > 0:
        raise NotWholeError("it ends before its pixels")


def _is_profile(chunk: bytes) -> bool:
    name, _, rest = chunk.partition(b"\0")
    if not 1 <= len(name) < 80 or rest[:1] != b"\0":
        return False
    packed = zlib.decompressobj()
    try:
        packed.decompress(rest[1:], _MOST_PROFILE)
    except zlib.error:
        return False
    return packed.eof


def _of_gif(data: bytes) -> bytes:
    """Add the trailer to a GIF whose last block is complete."""
    return data if _check_gif(data) else data + b"\x3b"


def _check_gif(data: bytes) -> bool:
    """Walk all blocks; tell whether a trailer follows the last."""
    pictures = 0
    try:
        at = 13 + _gif_colours(data[10])
        while at < len(data) or not pictures:
            block = data[at]
            if block == 0x3B:
                return True
            if block == 0x2C:
                pictures += 1
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
        raise NotWholeError("it ends within a block") from None
    return False


def _gif_colours(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
