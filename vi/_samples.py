"""Small pictures in every supported format, for the demo and the tests: the same seed gives the same pictures.

Pillow is imported inside the functions, because it comes with the extra `local`. It cannot write HEIF, so those files
are one stored picture whose bytes differ by a ``free`` box, which decoders skip.
"""

from __future__ import annotations

import io
import os
import random
import struct
from collections.abc import Callable, Iterator
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._checksums import crc32c
from ._media import IMAGE_TYPES

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Size = tuple[int, int]
Colour = tuple[int, int, int]

EXTENSIONS = tuple(IMAGE_TYPES)
DEFAULT_SIZE: Size = (320, 240)
SMALLEST_SCENE = 16

_HEIF = (".heif", ".heic")
_COMMON = (".jpg", ".jpg", ".png", ".jpeg", ".webp", ".jpg", ".bmp", ".tiff")
_ORIENTATION = 0x0112
_WORDS = ("STOP", "30", "50", "P", "EXIT 4", "SCHOOL", "YIELD", "BUS", "80", "ONE WAY")
_SAVE: dict[str, tuple[str, dict[str, Any]]] = {
    ".avif": ("AVIF", {"quality": 60, "speed": 10, "max_threads": 1}),
    ".bmp": ("BMP", {}),
    ".gif": ("GIF", {}),
    ".jp2": ("JPEG2000", {"quality_mode": "rates", "quality_layers": [24], "irreversible": True}),
    ".j2k": ("JPEG2000", {"quality_mode": "rates", "quality_layers": [24], "irreversible": True, "no_jp2": True}),
    ".png": ("PNG", {"compress_level": 3}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
    ".webp": ("WEBP", {"quality": 75, "method": 0}),
}
_SAVE |= dict.fromkeys((".jpg", ".jpeg", ".jfif"), ("JPEG", {"quality": 85}))


def make_samples(
    folder: str | os.PathLike[str], *, count: int = 28, seed: int = 1, size: Size = DEFAULT_SIZE
) -> list[Path]:
    """Write *count* images into *folder* and return their paths.

    From 14 on every extension is there; among them are an animated GIF, a 16-bit PNG and JPEGs that are stored turned.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, extension in enumerate(islice(_extensions(), count)):
        picture = seed * 100_000 + number
        scene = _SCENES[0 if extension in _HEIF else picture % len(_SCENES)].__name__.lstrip("_")
        # Some names with a space, as people have them.
        path = folder / f"{scene}{' ' if number % 5 == 3 else '-'}{number + 1:04d}{extension}"
        path.write_bytes(_special(number, extension, picture, size) or encode(picture, extension, size))
        paths.append(path)
    return paths


def encode(picture: int | Image.Image, extension: str, size: Size = DEFAULT_SIZE, **options: Any) -> bytes:
    """Return an image file of the type of *extension*: of the picture given, or of the one that a seed stands for.

    *options* go to Pillow. A HEIF file holds the stored picture whatever *size* is asked for; a seed makes its bytes
    its own.
    """
    if extension in _HEIF:
        return _heif(picture if isinstance(picture, int) else crc32c(picture.tobytes()))
    image = draw(picture, size) if isinstance(picture, int) else picture
    format, defaults = _SAVE[extension]
    if format == "GIF" and image.mode == "RGB":
        image = image.quantize(64)
    out = io.BytesIO()
    image.save(out, format, **{**defaults, **options})
    return _padded(out.getvalue()) if format == "TIFF" else out.getvalue()


def _padded(tiff: bytes) -> bytes:
    """Return a TIFF whose only byte between the pixels and the directory, if there is one, is zero.

    Pillow before 13 leaves there what the memory held, and equal pictures would not be equal files.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    if not tiff.startswith(b"II*\0"):
        return tiff
    directory = int.from_bytes(tiff[4:8], "little")
    with TiffImageFile(io.BytesIO(tiff)) as image:
        strips = zip(image.tag_v2.get(273, ()), image.tag_v2.get(279, ()), strict=True)  # where each begins, its length
        padded = max((at + length for at, length in strips), default=0) == directory - 1
    return tiff[: directory - 1] + bytes(1) + tiff[directory:] if padded else tiff


def draw(seed: int, size: Size = DEFAULT_SIZE) -> Image.Image:
    """Return the picture of a seed."""
    from PIL import Image, ImageDraw

    if min(size) < SMALLEST_SCENE:
        return draw(seed, (max(SMALLEST_SCENE, size[0]), max(SMALLEST_SCENE, size[1]))).resize(size)
    rng = random.Random(seed)  # noqa: S311 - pictures, no secrets
    image = _gradient(_pale(rng), _pale(rng), size)
    _SCENES[seed % len(_SCENES)](rng, ImageDraw.Draw(image), *size)
    # Some grain, so that files have the sizes of photographs and no two are alike.
    grain_size = (max(1, size[0] // 4), max(1, size[1] // 4))
    grain = Image.frombytes("L", grain_size, rng.randbytes(grain_size[0] * grain_size[1])).resize(size)
    return Image.blend(image, grain.convert("RGB"), 0.08)


def _extensions() -> Iterator[str]:
    yield from EXTENSIONS
    while True:
        yield from _COMMON


def _special(number: int, extension: str, picture: int, size: Size) -> bytes | None:
    """Return the files that are not a plain picture: the first GIF, the second PNG, and every fourth JPEG."""
    from PIL import Image

    if extension == ".gif":
        frames = [draw(picture + step, size).quantize(64) for step in range(3)]
        return encode(frames[0], extension, save_all=True, append_images=frames[1:], duration=200, loop=0)
    if extension == ".png" and number == len(EXTENSIONS) + _COMMON.index(".png"):
        deep = draw(picture, size).convert("L").convert("I").point(lambda value: value * 257)
        return encode(deep.convert("I;16"), extension)
    if extension in (".jpg", ".jpeg") and number % 4 == 1:
        exif = Image.Exif()
        exif[_ORIENTATION] = (6, 3, 8)[number // 4 % 3]
        return encode(picture, extension, size, exif=exif)
    return None


def _heif(seed: int) -> bytes:
    stored = resources.files(__package__ or "").joinpath("data", "sample.heic").read_bytes()
    filling = random.Random(seed).randbytes(24)  # noqa: S311
    return stored + struct.pack(">I4s", 8 + len(filling), b"free") + filling


def _gradient(top: Colour, bottom: Colour, size: Size) -> Image.Image:
    from PIL import Image

    ramp = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), ramp)


def _pale(rng: random.Random) -> Colour:
    return rng.randrange(120, 245), rng.randrange(140, 245), rng.randrange(160, 250)


def _strong(rng: random.Random) -> Colour:
    return rng.randrange(20, 190), rng.randrange(20, 160), rng.randrange(20, 180)


def _text(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, height: float, fill: str) -> None:
    from PIL import ImageFont

    pen.text(at, text, fill=fill, font=ImageFont.load_default(max(6, height)), anchor="mm")


def _street(rng: random.Random, pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Houses, a road, and a sign on its post."""
    horizon, x = height * 0.55, 0.0
    while x < width:
        wide = rng.uniform(0.1, 0.25) * width
        pen.rectangle((x, horizon - rng.uniform(0.1, 0.4) * height, x + wide, horizon), fill=_strong(rng))
        x += wide
    pen.rectangle((0, horizon, width, height), fill=(110, 130, 100))
    pen.polygon(
        [(width * 0.42, horizon), (width * 0.58, horizon), (width * 0.95, height), (width * 0.05, height)], "#444"
    )
    for step in range(4):
        y = horizon + (height - horizon) * (step + 0.3) / 4
        pen.rectangle((width * 0.49, y, width * 0.51, y + height * 0.04), fill="white")
    _sign(rng, pen, width * rng.uniform(0.2, 0.8), height * 0.35, min(width, height) * 0.2)


def _sign(rng: random.Random, pen: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    pen.rectangle((x - radius * 0.07, y, x + radius * 0.07, y + radius * 3), fill="#777")
    sides, fill = rng.choice([(8, "#b01020"), (4, "#e0a800"), (3, "#c02020"), (60, "#1040a0")])
    pen.regular_polygon((x, y, radius), sides, fill=fill, outline="white")
    word = rng.choice(_WORDS)
    _text(pen, (x, y), word, radius * 1.6 / max(2, len(word) * 0.7), "white")


def _aerial(rng: random.Random, pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Fields from above, with a river through them."""
    columns, rows = rng.randrange(3, 7), rng.randrange(3, 6)
    for column in range(columns):
        for row in range(rows):
            left, upper = column * width / columns, row * height / rows
            green = (rng.randrange(60, 190), rng.randrange(110, 200), rng.randrange(40, 110))
            pen.rectangle((left, upper, left + width / columns - 2, upper + height / rows - 2), fill=green)
    bends = [(width * step / 5, height * rng.uniform(0.2, 0.8)) for step in range(6)]
    pen.line(bends, fill=(70, 120, 190), width=max(2, width // 25), joint="curve")


def _parcel(rng: random.Random, pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """A box with a printed label."""
    pen.rectangle((width * 0.12, height * 0.15, width * 0.88, height * 0.9), fill=(176, 134, 84), outline=(90, 60, 30))
    pen.rectangle((width * 0.25, height * 0.3, width * 0.75, height * 0.72), fill="white")
    x = width * 0.3
    while x < width * 0.7:
        thick = rng.uniform(0.003, 0.012) * width
        pen.rectangle((x, height * 0.35, x + thick, height * 0.52), fill="black")
        x += thick * 2 + 1
    _text(pen, (width * 0.5, height * 0.62), f"LOT {rng.randrange(10_000):04d}", height * 0.09, "black")


def _shapes(rng: random.Random, pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
    """Coloured shapes that overlap."""
    for _ in range(rng.randrange(8, 20)):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.04, 0.2) * min(width, height)
        pen.regular_polygon((x, y, max(2, radius)), rng.randrange(3, 9), rng.randrange(90), fill=_strong(rng))


_SCENES: tuple[Callable[[random.Random, ImageDraw.ImageDraw, int, int], None], ...] = (
    _street,
    _aerial,
    _parcel,
    _shapes,
)
