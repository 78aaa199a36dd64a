"""Bitmaps whose pixels are fields of any width, of which Pillow knows a few layouts."""

from __future__ import annotations

from PIL import Image, ImageMath

from .structure import NotWholeError

_BITFIELDS = (3, 6)


def read(data: bytes) -> Image.Image | None:
    """Return the picture of a bitmap with fields; None for one without."""
    header, depth, method = (int.from_bytes(data[a:b], "little") for a, b in ((14, 18), (28, 30), (30, 34)))
    if header < 40 or method not in _BITFIELDS or depth not in (16, 32):
        return None
    width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
    begin = int.from_bytes(data[10:14], "little")
    masks = [int.from_bytes(data[at : at + 4], "little") for at in (54, 58, 62)]
    row = (width * depth // 8 + 3) // 4 * 4
    if width <= 0 or height == 0 or begin < 66 or begin + row * abs(height) > len(data):
        raise NotWholeError("it ends before its pixels")
    order = 1 if height < 0 else -1
    pixels = data[begin : begin + row * abs(height)]
    raw, mode = ("I;16", "I;16") if depth == 16 else ("I", "I;32")
    values = Image.frombytes(raw, (width, abs(height)), pixels, "raw", mode, row, order)
    return Image.merge("RGB", [_field(values.convert("I"), mask) for mask in masks])


def _field(values: Image.Image, mask: int) -> Image.Image:
    """Return one field, spread over black to white."""
    if not mask:
        return Image.new("L", values.size)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    if most & (most + 1) or most > 0xFFFFFF:
        raise NotWholeError("its bit fields are not in one piece")
    if most > 255:
        shift, most = shift + most.bit_length() - 8, 255
    field: Image.Image = ImageMath.lambda_eval(lambda names: ((names["v"] >> shift) & most) * 255 / most, v=values)
    return field.convert("L")
