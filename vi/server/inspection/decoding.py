"""Decoding images: dimensions, frames and a thumbnail, or why not.

Runs in a worker process, so that a bomb or a hole in a decoder costs one file.
"""

from __future__ import annotations

import codecs
import io
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence

import attrs
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageColor,
    ImageFile,
    ImagePalette,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from ..._optional import require
from ...codes import FileCode
from ...errors import ViConfigurationError
from . import bitmaps, heif, jpeg, jpeg2000, structure, tiff
from .checking import Picture
from .frames import AloneError, InspectionJob, InspectionLimits, RefusedError
from .previews import LARGE, fit, thumbnail

# Importing a plug-in registers it; with these there, `Image.open` never loads the other forty.
_PLUGINS = (
    *(BmpImagePlugin, GifImagePlugin, Jpeg2KImagePlugin, JpegImagePlugin, MpoImagePlugin, TiffImagePlugin),
    *(WebPImagePlugin, ImageColor, ImagePalette),
)
_ENCODINGS = ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp437", "cp1252")
_FORMATS = {"jpeg2000": "JPEG2000"}
_HEIF = "pi_heif"
_FEATURES = {"avif": "avif", "jpeg": "jpg", "jpeg2000": "jpg_2000", "png": "zlib", "webp": "webp"}
_PIXEL, _PIXEL_BYTES = 8, {"jpeg2000": 24}
"""Bytes that a pixel takes while it is decoded and made smaller."""
# A frame costs something however small it is.
_LEAST_FRAME = 4096


def libraries() -> dict[str, Callable[[], None]]:
    """Return how to load what is not always there, by name; loading may raise anything, or end the process."""
    return {_HEIF: _load_heif}


def _load_heif() -> None:
    try:
        pi_heif = require("pi_heif", "HEIF")
    except ViConfigurationError as error:
        raise ImportError(error.message) from None
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def prepare() -> None:
    """Set the decoders up for a worker process: strict, quiet, one thread each."""
    warnings.simplefilter("ignore")
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = None  # `_check_pixels` is stricter, and does not warn first
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20  # a long comment does not make a picture invalid
    # What Pillow imports at the first picture that needs it must be there before no file can be opened.
    Image.preinit()
    for feature in _FEATURES.values():
        features.check(feature)
    for encoding in _ENCODINGS:
        codecs.lookup(encoding)


@attrs.frozen
class Decoder:
    """Decodes within *limits*; *missing* are the libraries that are not there, and why."""

    limits: InspectionLimits
    missing: Mapping[str, str] = attrs.Factory(dict)

    def __call__(self, family: str, mime: str, data: bytes) -> Picture:
        """Decode an image; raises `RefusedError` for one that cannot be, or may not be, read."""
        self._require(family)
        try:
            return _decode(family, data, self.limits)
        except (RefusedError, AloneError):
            raise
        except MemoryError:
            allowed = self.limits.memory_bytes >> 20
            message = f"Decoding the image takes more than the {allowed} MiB of memory that one image may take."
            raise RefusedError(FileCode.EBADSIZE, message) from None
        except UnidentifiedImageError:
            raise RefusedError(FileCode.ECORRUPT, f"The content cannot be read as {mime}.") from None
        except Exception as error:  # noqa: BLE001 - decoders raise whatever they like; each means "unreadable"
            raise RefusedError(
                FileCode.ECORRUPT, f"The content cannot be read as {mime}: {str(error)[:200]}."
            ) from None

    def of_job(self, job: InspectionJob) -> Decoder:
        """Return a decoder for the size that *job* asks for, and for the memory that it may take."""
        limits = self.limits
        if job.side is not None:
            limits = attrs.evolve(limits, thumbnail_side=job.side)
        if job.alone:
            limits = attrs.evolve(limits, share_bytes=sys.maxsize)
        return self if limits is self.limits else Decoder(limits, self.missing)

    def _require(self, family: str) -> None:
        if family == "heif" and _HEIF in self.missing:
            why = self.missing[_HEIF]
            raise RefusedError(
                FileCode.EBADMIME, f"HEIF is not supported here: install pi-heif where the service runs ({why})."
            )
        if family in _FEATURES and not features.check(_FEATURES[family]):
            message = f"{family.upper()} is not supported here: the service's Pillow was built without it."
            raise RefusedError(FileCode.EBADMIME, message)


def _decode(family: str, data: bytes, limits: InspectionLimits) -> Picture:
    if family == "jpeg":
        return _decode_jpeg(data, limits)
    if family == "tiff":
        return _decode_tiff(data, limits)
    if family == "jpeg2000":
        return _decode_jpeg_2000(data, limits)
    if family == "bmp" and (image := bitmaps.read(data)) is not None:
        return Picture(*image.size, 1, thumbnail(image, limits.thumbnail_side))
    data = structure.check(family, data)
    return _decode_common(family, data, limits)


def _decode_common(family: str, data: bytes, limits: InspectionLimits) -> Picture:
    name = _FORMATS.get(family, family.upper())
    with Image.open(io.BytesIO(data), formats=(name,)) as image:
        _check_pixels(image.size, limits, _PIXEL_BYTES.get(family, _PIXEL))
        size = image.size
        image.load()
        if family == "heif":
            # The decoder turns the picture; the real size is known only now.
            size = image.size[::-1] if heif.is_turned(data) else image.size
        small = thumbnail(image, limits.thumbnail_side, deep=_is_deep(family, data))
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            _decode_others(image, [index for index in range(frames) if index != image.tell()], limits)
        # The picture that an animated PNG shows to those who know of no animations is not one of its frames.
        frames -= frames > 1 and getattr(image, "default_image", False)
    return Picture(*size, frames, small)


def _decode_jpeg_2000(data: bytes, limits: InspectionLimits) -> Picture:
    """Decode what Pillow has a mode for; the rest is there in full, as far as the parts of its tiles tell."""
    stream = jpeg2000.read(data)
    _check_pixels((stream.width, stream.height), limits, _PIXEL_BYTES["jpeg2000"])
    try:
        return _decode_common("jpeg2000", stream.to_decode, limits)
    except (OSError, SyntaxError, ValueError):
        if stream.is_common:
            raise
    return Picture(stream.width, stream.height, 1, None)


def _is_deep(family: str, data: bytes) -> bool:
    """Tell whether a sample of the picture has more than 8 bits."""
    if family == "png":
        return data[24] == 16
    if family == "jpeg2000":
        head = data.find(b"\xff\x4f\xff\x51")  # of the code stream: the number of samples, then 3 bytes for each
        count = int.from_bytes(data[head + 40 : head + 42], "big")
        return head >= 0 and any(depth & 0x7F > 7 for depth in data[head + 42 : head + 42 + 3 * count : 3])
    return False


def _decode_jpeg(data: bytes, limits: InspectionLimits) -> Picture:
    first, other = jpeg.to_decode(data)
    with Image.open(io.BytesIO(first), formats=("JPEG",)) as image:
        _check_pixels(size := image.size, limits)
        # Decodes at a fraction of the scale, and as strictly: every coefficient is read all the same.
        image.draft(None, fit(image.size, limits.thumbnail_side * 3 // 2))
        image.load()
        small = thumbnail(image, limits.thumbnail_side)
    if other is not None and size[0] * size[1] <= LARGE and _pixels(first) != _pixels(other):
        raise structure.NotWholeError("it ends before its pixels")
    # What follows the first image of a JPEG is previews and gain maps, often stale after an edit.
    return Picture(*size, 1, small)


def _pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return image.tobytes()


def _decode_tiff(data: bytes, limits: InspectionLimits) -> Picture:
    """Decode the pictures that Pillow has a mode for; others are there in full, as far as their directory tells."""
    pages = tiff.pages(data)
    pictures = [page for page in pages if page.is_picture] or pages[:1]
    if not pictures:
        raise structure.NotWholeError("it has no picture")
    small, spent = None, 0
    for page in pictures:
        _check_pixels((page.width, page.height), limits)
        spent += max(page.width * page.height, _LEAST_FRAME)
        if page is not pictures[0] and spent > limits.max_decoded_pixels:
            break
        image = _page(data, page.index)
        if image is None:
            continue
        with image:
            try:
                image.load()
            except OSError:
                if page.is_common:
                    raise
                continue
            if page is pictures[0] and not page.is_deep_planar:
                small = thumbnail(image, limits.thumbnail_side, deep=page.is_deep)
    return Picture(pictures[0].width, pictures[0].height, len(pictures), small)


def _page(data: bytes, index: int) -> Image.Image | None:
    """Open a page; None if Pillow has no mode or no decoder for it."""
    try:
        image = Image.open(io.BytesIO(data), formats=("TIFF",))
        image.seek(index)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the directory was read before: what is said here is that it is not known
        return None
    return image


def _decode_others(image: Image.Image, others: Sequence[int], limits: InspectionLimits) -> None:
    spent = image.width * image.height
    for index in others:
        image.seek(index)
        _check_pixels(image.size, limits)
        spent += max(image.width * image.height, _LEAST_FRAME)
        if spent > limits.max_decoded_pixels:
            return
        image.load()


def _check_pixels(size: tuple[int, int], limits: InspectionLimits, each: int = _PIXEL) -> None:
    count = size[0] * size[1]
    if count > limits.max_pixels:
        raise RefusedError(
            FileCode.EBADSIZE,
            f"The image has {size[0]} x {size[1]} pixels ({count:,}); "
            f"at most {limits.max_pixels:,} are accepted: divide it into smaller ones.",
        )
    if count * each > limits.share_bytes:
        raise AloneError
