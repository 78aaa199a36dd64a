"""Decoding images: dimensions, frames and a thumbnail, or why not.

Runs in a worker process, so that a bomb or a hole in a decoder costs one file.
"""

from __future__ import annotations

import codecs
import io
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

from ..._optional import obstacle, require
from ...codes import FileCode
from ...errors import ViConfigurationError
from . import bitmaps, heif, jpeg, jpeg2000, structure, tiff
from .checking import Picture
from .frames import AloneError, InspectionJob, InspectionLimits, RefusedError
from .memory import may_lack
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
_PIXEL, _PIXEL_BYTES = 8, {"jpeg2000": 24, "webp": 16}
"""Bytes that a pixel takes while it is decoded and made smaller."""
_UNCERTAIN = 8
"""How many times as much as expected a decoder may have asked for."""
_DOUBTFUL = 2
"""The same for one that is alone: a picture that may have failed for this reason is not called damaged."""
# A frame costs something however small it is.
_LEAST_FRAME = 4096


def libraries() -> dict[str, Callable[[], None]]:
    """Return how to load what is not always there, by name; loading may raise anything, or end the process."""
    return {_HEIF: _load_heif}


def _load_heif() -> None:
    try:
        pi_heif = require(_HEIF, "HEIF")
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
    """Decodes within *limits*; *missing* are the libraries that are not there, and why.

    Unless it is *alone*, it has a share of the memory, and leaves to one that is alone what may take more.
    """

    limits: InspectionLimits
    missing: Mapping[str, str] = attrs.Factory(dict)
    alone: bool = True

    def __call__(self, family: str, mime: str, data: bytes) -> Picture:
        """Decode an image; raises `RefusedError` for one that cannot be, or may not be, read, and `MemoryError`."""
        if why := self.unsupported().get(family):
            raise RefusedError(FileCode.EBADMIME, why)
        bounds = _Bounds(self.limits, len(data), self.alone)
        try:
            return _decode(family, data, bounds)
        except (RefusedError, AloneError, MemoryError):
            raise
        except UnidentifiedImageError:
            raise bounds.unreadable(f"The content cannot be read as {mime}") from None
        except Exception as error:  # noqa: BLE001 - decoders raise whatever they like; each means "unreadable"
            raise bounds.unreadable(f"The content cannot be read as {mime}: {str(error)[:200]}") from None

    def of_job(self, job: InspectionJob) -> Decoder:
        """Return a decoder for the size that *job* asks for."""
        if job.side is None:
            return self
        return attrs.evolve(self, limits=attrs.evolve(self.limits, thumbnail_side=job.side))

    def unsupported(self) -> dict[str, str]:
        """Return the families that cannot be decoded here, and why."""
        found = {
            family: f"{family.upper()} is not supported here: the service's Pillow was built without it."
            for family, feature in _FEATURES.items()
            if not features.check(feature)
        }
        if why := self.missing.get(_HEIF):
            how = obstacle(_HEIF) or "install pi-heif where the service runs"
            found["heif"] = f"HEIF is not supported here: {how} ({why.removesuffix('.')})."
        return found


@attrs.define
class _Bounds:
    """What one picture may be; *need* is what it takes, as far as that can be told."""

    limits: InspectionLimits
    size: int
    """Of the file, which is in memory as well."""
    alone: bool
    need: int = attrs.field(default=attrs.Factory(lambda self: self.size, takes_self=True), init=False)

    def check(self, size: tuple[int, int], each: int = _PIXEL) -> None:
        """Refuse too many pixels, or leave a picture that needs more than a share to one that is alone."""
        count = size[0] * size[1]
        if count > self.limits.max_pixels:
            raise RefusedError(
                FileCode.EBADSIZE,
                f"The image has {size[0]} x {size[1]} pixels ({count:,}); "
                f"at most {self.limits.max_pixels:,} are accepted: divide it into smaller ones.",
            )
        self.need = max(self.need, self.size + count * each)
        if self.need > self.limits.share_bytes and not self.alone:
            raise AloneError

    def thumbnail(self, image: Image.Image, *, deep: bool = False) -> bytes | None:
        """Return the preview of *image*; None if there cannot be one."""
        try:
            return thumbnail(image, self.limits.thumbnail_side, deep=deep)
        except MemoryError:
            if not self.alone:
                raise AloneError from None
            return None

    def unreadable(self, reason: str) -> RefusedError:
        """Return why the picture is refused, or leave it to a decoder that is alone."""
        self.check_memory()
        if self.need * _DOUBTFUL <= self.limits.memory_bytes:
            return RefusedError(FileCode.ECORRUPT, f"{reason}.")
        return RefusedError(FileCode.EBADSIZE, f"{reason[:100]}. {may_lack(self.limits.memory_bytes)}")

    def check_memory(self) -> None:
        """Leave a picture that failed to one that is alone, if a share may have been too little for it.

        Few decoders say that they could not get memory: to most, the picture is broken then.
        """
        if self.need * _UNCERTAIN > self.limits.share_bytes and not self.alone:
            raise AloneError


def _decode(family: str, data: bytes, bounds: _Bounds) -> Picture:
    if family == "jpeg":
        return _decode_jpeg(data, bounds)
    if family == "tiff":
        return _decode_tiff(data, bounds)
    if family == "jpeg2000":
        return _decode_jpeg_2000(data, bounds)
    if family == "bmp" and (image := bitmaps.read(data)) is not None:
        return Picture(*image.size, 1, bounds.thumbnail(image))
    data = structure.check(family, data)
    return _decode_common(family, data, bounds)


def _decode_common(family: str, data: bytes, bounds: _Bounds) -> Picture:
    name = _FORMATS.get(family, family.upper())
    if family == "webp" and (canvas := structure.size_of_webp(data)) is not None:
        bounds.check(canvas, _PIXEL_BYTES[family])  # its pixels are allocated when it is opened
    with Image.open(io.BytesIO(data), formats=(name,)) as image:
        bounds.check(image.size, _PIXEL_BYTES.get(family, _PIXEL))
        width, height = image.size
        image.load()
        # A row that came is seldom all zeros; asked exactly, each picture would be unpacked twice.
        if family == "png" and (structure.is_interlaced(data) or _is_black_below(image)):
            structure.check_rows(data)
        if family == "heif":
            # The decoder turns the picture; the real size is known only now.
            width, height = image.size
            if heif.is_turned(data):
                width, height = height, width
        small = bounds.thumbnail(image, deep=_is_deep(family, data))
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            _decode_others(image, [index for index in range(frames) if index != image.tell()], bounds)
        # The picture that an animated PNG shows to those who know of no animations is not one of its frames.
        frames -= frames > 1 and getattr(image, "default_image", False)
    return Picture(width, height, frames, small)


def _is_black_below(image: Image.Image) -> bool:
    last = image.crop((0, image.height - 1, image.width, image.height))
    return not any(last.tobytes())


def _decode_jpeg_2000(data: bytes, bounds: _Bounds) -> Picture:
    """Decode what Pillow has a mode for; the rest is there in full, as far as the parts of its tiles tell."""
    stream = jpeg2000.read(data)
    bounds.check((stream.width, stream.height), _PIXEL_BYTES["jpeg2000"])
    try:
        return _decode_common("jpeg2000", stream.to_decode, bounds)
    except (OSError, SyntaxError, ValueError):
        if stream.is_common:
            raise
        bounds.check_memory()
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


def _decode_jpeg(data: bytes, bounds: _Bounds) -> Picture:
    first, other = jpeg.to_decode(data)
    with Image.open(io.BytesIO(first), formats=("JPEG",)) as image:
        bounds.check(size := image.size)
        # Decodes at a fraction of the scale, and as strictly: every coefficient is read all the same.
        image.draft(None, fit(image.size, bounds.limits.thumbnail_side * 3 // 2))
        image.load()
        small = bounds.thumbnail(image)
    if other is not None and size[0] * size[1] <= LARGE and _pixels(first) != _pixels(other):
        raise structure.NotWholeError("it ends before its pixels")
    # What follows the first image of a JPEG is previews and gain maps, often stale after an edit.
    return Picture(*size, 1, small)


def _pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        return image.tobytes()


def _decode_tiff(data: bytes, bounds: _Bounds) -> Picture:
    """Decode the pictures that Pillow has a mode for; others are there in full, as far as their directory tells."""
    pages = tiff.pages(data)
    pictures = [page for page in pages if page.is_picture] or pages[:1]
    if not pictures:
        raise structure.NotWholeError("it has no picture")
    small, spent = None, 0
    for page in pictures:
        bounds.check((page.width, page.height))
        spent += max(page.width * page.height, _LEAST_FRAME)
        if page is not pictures[0] and spent > bounds.limits.max_decoded_pixels:
            break
        image = _page(data, page.index)
        if image is None:
            bounds.check_memory()
            continue
        with image:
            try:
                image.load()
            except ValueError:  # of samples in planes of their own, for which Pillow has no raw mode
                bounds.check_memory()
                continue
            except OSError:
                if page.is_common:
                    raise
                bounds.check_memory()
                continue
            if page is pictures[0] and not page.is_deep_planar:
                small = bounds.thumbnail(image, deep=page.is_deep)
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


def _decode_others(image: Image.Image, others: Sequence[int], bounds: _Bounds) -> None:
    spent = image.width * image.height
    for index in others:
        image.seek(index)
        bounds.check(image.size)
        spent += max(image.width * image.height, _LEAST_FRAME)
        if spent > bounds.limits.max_decoded_pixels:
            return
        image.load()
