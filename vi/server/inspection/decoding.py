"""Decoding images: dimensions, frames and a thumbnail, or why not.

Runs in a worker process, so that a bomb or a hole in a decoder costs one file.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from . import structure
from .checking import Picture, RefusedError
from .frames import InspectionLimits

# Importing a plug-in registers it; with these there, `Image.open` never loads the other forty.
_PLUGINS = (BmpImagePlugin, GifImagePlugin, Jpeg2KImagePlugin, JpegImagePlugin, WebPImagePlugin)
_FORMATS = {"jpeg2000": "JPEG2000"}
_HEIF = "pi_heif"
_FEATURES = {"avif": "avif", "jpeg": "jpg", "jpeg2000": "jpg_2000", "png": "zlib", "webp": "webp"}
_IMAGE_WIDTH, _IMAGE_LENGTH = 256, 257
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_LARGE = 64_000_000
"""Pixels beyond which a preview is made of some of them."""
# A frame costs something however small it is.
_LEAST_FRAME = 4096


def libraries() -> dict[str, Callable[[], None]]:
    """Return how to load what is not always there, by name; loading may raise anything, or end the process."""
    return {_HEIF: _load_heif}


def _load_heif() -> None:
    import pi_heif

    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def prepare() -> None:
    """Set the decoders up for a worker process: strict, quiet, one thread each."""
    warnings.simplefilter("ignore")
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = None  # `_check_pixels` is stricter, and does not warn first
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20  # long comments are no reason to refuse a picture


@attrs.frozen
class Decoder:
    """Decodes within *limits*; *missing* are the libraries that are not there, and why."""

    limits: InspectionLimits
    missing: Mapping[str, str] = attrs.Factory(dict)

    def __call__(self, family: str, mime: str, data: bytes) -> Picture:
        """Decode an image; raises `RefusedError` for one that cannot be, or may not be, read."""
        self._require(family)
        try:
            structure.check(family, data)
            return _decode(family, data, self.limits)
        except RefusedError:
            raise
        except MemoryError:
            allowed = self.limits.memory_bytes >> 20
            message = f"Decoding the image takes more than the {allowed} MiB of memory that one image may take."
            raise RefusedError("EBADSIZE", message) from None
        except UnidentifiedImageError:
            raise RefusedError("ECORRUPT", f"The content cannot be read as {mime}.") from None
        except Exception as error:  # noqa: BLE001 - decoders raise whatever they like; each means "unreadable"
            raise RefusedError("ECORRUPT", f"The content cannot be read as {mime}: {str(error)[:200]}.") from None

    def _require(self, family: str) -> None:
        if family == "heif" and _HEIF in self.missing:
            why = self.missing[_HEIF]
            raise RefusedError(
                "EBADMIME", f"HEIF is not supported here: install pi-heif where the service runs ({why})."
            )
        if family in _FEATURES and not features.check(_FEATURES[family]):
            message = f"{family.upper()} is not supported here: the service's Pillow was built without it."
            raise RefusedError("EBADMIME", message)


def _decode(family: str, data: bytes, limits: InspectionLimits) -> Picture:
    name = _FORMATS.get(family, family.upper())
    with Image.open(io.BytesIO(data), formats=(name,)) as image:
        _check_pixels(image, limits)
        size = _raster_size(image)
        if family == "jpeg":
            # Decodes at a fraction of the scale, and as strictly: every coefficient is read all the same.
            image.draft(None, _fit(image.size, limits.thumbnail_side * 3 // 2))
        image.load()
        if family == "heif":
            size = image.size  # the real one is known only now
        thumbnail = _thumbnail(image, limits.thumbnail_side)
        # What follows the first image of a JPEG is previews and gain maps, often stale after an edit.
        frames = 1 if family == "jpeg" else getattr(image, "n_frames", 1)
        if frames > 1:
            _decode_others(image, frames, limits)
    return Picture(*size, frames, thumbnail)


def _decode_others(image: Image.Image, frames: int, limits: InspectionLimits) -> None:
    first = image.tell()
    spent = image.width * image.height
    for index in range(frames):
        if index == first:
            continue
        image.seek(index)
        _check_pixels(image, limits)
        spent += max(image.width * image.height, _LEAST_FRAME)
        if spent > limits.max_decoded_pixels:
            return
        image.load()


def _check_pixels(image: Image.Image, limits: InspectionLimits) -> None:
    if image.width * image.height > limits.max_pixels:
        raise RefusedError(
            "EBADSIZE",
            f"The image has {image.width} x {image.height} pixels ({image.width * image.height:,}); "
            f"at most {limits.max_pixels:,} are accepted: divide it into smaller ones.",
        )


def _raster_size(image: Image.Image) -> tuple[int, int]:
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # Pillow turns these by their tag while loading
        return int(image.tag_v2[_IMAGE_WIDTH]), int(image.tag_v2[_IMAGE_LENGTH])
    return image.size


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _thumbnail(image: Image.Image, side: int) -> bytes | None:
    """Return a JPEG, or a WebP where there is transparency; None for pixels that have no such picture."""
    try:
        small = _small(image, side)
        out = io.BytesIO()
        if small.mode == "RGBA":
            small.save(out, "WEBP", quality=75, method=0)
        else:
            small.save(out, "JPEG", quality=80)
    except Exception:  # noqa: BLE001 - the file itself is sound; only its preview cannot be made
        return None
    return out.getvalue()


def _small(image: Image.Image, side: int) -> Image.Image:
    whole: Image.Image = image
    if image.width * image.height > _LARGE:
        # Every change of mode below would make another copy of all pixels.
        whole = image = _sampled(image, side * 8)
    if image.mode in ("P", "PA"):
        whole = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    elif image.mode == "1":
        whole = image.convert("L")
    elif image.mode in _DEEP_MODES:
        whole = image.convert("F")
    elif "transparency" in image.info:
        whole = image.convert("RGBA")
    small = whole.resize(_fit(whole.size, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    small = ImageOps.exif_transpose(small)
    if small.mode == "F":
        small = _stretched(small)
    elif small.mode in ("LA", "La", "RGBa"):
        small = small.convert("RGBA")
    elif small.mode not in ("L", "RGB", "RGBA"):
        small = small.convert("RGB")
    small.info = {}  # no profile or comment travels into the preview
    return small


def _sampled(image: Image.Image, side: int) -> Image.Image:
    """Return some of the pixels as they are, which needs no second copy of the others."""
    sampled = image.resize(_fit(image.size, side), Image.Resampling.NEAREST)
    sampled.info = image.info
    return sampled


def _stretched(small: Image.Image) -> Image.Image:
    """Spread the values there are over black to white; deep images seldom use their range."""
    low, high = (float(value) for value in _extrema(small))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("values that are no numbers")
    scale = 255 / (high - low) if high > low else 0.0
    return small.point(lambda value: value * scale - low * scale).convert("L")


def _extrema(image: Image.Image) -> tuple[Any, Any]:
    low, high = image.getextrema()
    return low, high
