"""Detect truncated images, for the formats whose decoders stop as soon as they have all pixels.

Pillow takes a PNG without its last chunk, a GIF that ends between two pictures and a TIFF whose page chain breaks off.
Only what a cut file would lack is checked here; the pixels are the decoder's business, and `jpeg` has its own rules.
"""

from __future__ import annotations

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


_PNG_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_PNG_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_PNG_SHOWN = frozenset({b"tRNS", b"eXIf", b"iCCP"})
_MOST_PROFILE = 4 << 20


def _of_png(data: bytes) -> bytes:
    """Leave out whatever holds no pixels and could be a fault to the decoder."""
    view = memoryview(data)
    at, kept, clean = 8, [view[:8]], True
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
        elif (
            sound and kind in _PNG_SHOWN and end > at + 12 and (kind != b"iCCP" or _is_profile(data[at + 8 : end - 4]))
        ):
            kept.append(view[at:end])
        else:
            clean = False
        if kind == b"IEND":
            return data if clean else b"".join(kept)
        at = end


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
