"""Small pictures of large ones: upright, in the colours of the web, and of any depth."""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Any

from PIL import Image, ImageCms, ImageOps

_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_COLOURS = frozenset({"RGB", "RGBA"})
LARGE = 64_000_000
"""Pixels beyond which a preview is made of some of them."""


def fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the size of a picture that fits into a square, and is not larger than it was."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def thumbnail(image: Image.Image, side: int, *, deep: bool = False) -> bytes | None:
    """Return a JPEG, or a WebP where there is transparency; None for pixels that have no such picture.

    *deep* colours had more than 8 bits in the file, of which the upper 8 came.
    """
    try:
        if deep and _wraps(image):
            return None
        small = _small(image, side)
        if deep and small.mode in _COLOURS:
            small = _lightened(small)
        out = io.BytesIO()
        if small.mode == "RGBA":
            small.save(out, "WEBP", quality=75, method=0)
        else:
            small.save(out, "JPEG", quality=80)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the file itself is sound; only its preview cannot be made
        return None
    return out.getvalue()


def _wraps(image: Image.Image) -> bool:
    """Tell whether white may have become black: Pillow rounds the colours of JPEG 2000 up to 256, which is 0 again."""
    if image.format != "JPEG2000" or image.mode not in ("LA", "RGB", "RGBA", "YCbCr"):
        return False
    return any(_extrema(band)[0] == 0 for band in image.split())


def _lightened(small: Image.Image) -> Image.Image:
    """Spread values of 12 bits or fewer that were stored in 16; those of 16 bits stay as they are."""
    colours = small.convert("RGB")
    most = max(_extrema(band)[1] for band in colours.split())
    if not 0 < most < 16:
        return small
    light = colours.point(lambda value: min(255, value * 255 // most))
    if small.mode == "RGBA":
        light.putalpha(small.getchannel("A"))
    return light


def _small(image: Image.Image, side: int) -> Image.Image:
    whole: Image.Image = image
    if image.width * image.height > LARGE:
        # Every change of mode below would make another copy of all pixels.
        whole = image = _sampled(image, side * 8)
    elif image.mode == "La":
        whole = image = image.convert("LA")  # the only way from there to other modes
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "PA"):
        whole = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode == "1":
        whole = image.convert("L")
    elif image.mode in _DEEP_MODES:
        whole = image.convert("F")
    elif "transparency" in image.info:
        whole = image.convert("RGBA")
    small = whole.resize(fit(whole.size, side), Image.Resampling.HAMMING, reducing_gap=2.0)
    small = _in_srgb(_upright(small, image.info), profile)
    if small.mode == "F":
        small = _stretched(small)
    elif small.mode in ("LA", "RGBa"):
        small = small.convert("RGBA")
    elif small.mode not in ("L", "RGB", "RGBA"):
        small = small.convert("RGB")
    small.info = {}  # no profile or comment travels into the preview
    return small


def _sampled(image: Image.Image, side: int) -> Image.Image:
    """Return some of the pixels as they are, which needs no second copy of the others."""
    sampled = image.resize(fit(image.size, side), Image.Resampling.NEAREST)
    sampled.info = image.info
    return sampled


def _stretched(small: Image.Image) -> Image.Image:
    """Spread the values there are over black to white; deep images seldom use their range."""
    low, high = (float(value) for value in _extrema(small))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("values that are not numbers")
    scale = 255 / (high - low) if high > low else 0.0
    return small.point(lambda value: value * scale - low * scale).convert("L")


def _extrema(image: Image.Image) -> tuple[Any, Any]:
    low, high = image.getextrema()
    return low, high


def _upright(small: Image.Image, info: dict[str | tuple[int, int], Any]) -> Image.Image:
    """Turn a picture by its EXIF orientation alone, as browsers do; EXIF that cannot be read turns nothing."""
    small.info = {name: value for name, value in info.items() if name == "exif"}
    try:
        return ImageOps.exif_transpose(small)
    except Exception:  # noqa: BLE001 - a damaged note says nothing of the pixels
        return small


def _in_srgb(small: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the colours that *profile* gives to the values; a profile that cannot be used changes nothing."""
    if not profile or small.mode not in ("RGB", "RGBA", "CMYK"):
        return small
    colours = small.convert("RGB") if small.mode == "RGBA" else small
    try:
        shown = ImageCms.applyTransform(colours, _transform(profile, colours.mode))
    except Exception:  # noqa: BLE001 - as above
        return small
    if shown is None:
        return small
    if small.mode == "RGBA":
        shown.putalpha(small.getchannel("A"))
    return shown


@lru_cache(16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB"
    )
