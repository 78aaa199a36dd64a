"""Look at one arrived file: its size, checksum, type by content, and for an image every pixel.

Runs in a worker process, so that a bomb or a hole in a decoder costs one file. Order matters for the verdict: what is
wrong on the way (size, then checksum) is said before what is wrong with the content. Content that does not
begin as what was announced is EBADMIME, as the SDK says before it sends it. What begins so and cannot be read to its
end is ECORRUPT; what is sound and too large to be decoded is EBADSIZE.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
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
)

from ... import _checksums, _media
from . import structure
from .frames import InspectionJob, InspectionLimits, Verdict

# Importing a plug-in registers it; with these there, `Image.open` never loads the other forty.
_PLUGINS = (BmpImagePlugin, GifImagePlugin, Jpeg2KImagePlugin, JpegImagePlugin, WebPImagePlugin)
_FORMATS = {"jpeg2000": "JPEG2000"}
_PIECE = 1 << 20
_IMAGE_WIDTH, _IMAGE_LENGTH = 256, 257
_KNOWN_TYPES = frozenset({*_media.IMAGE_TYPES.values(), *_media.VIDEO_TYPES.values()})
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_LARGE = 64_000_000
"""Pixels beyond which a preview is made of some of them."""
# A frame costs something however small it is.
_LEAST_FRAME = 4096


class _RefusedError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@attrs.frozen
class _Picture:
    width: int
    height: int
    frames: int
    thumbnail: bytes | None


def prepare() -> None:
    """Set the decoders up for a worker process: strict, quiet, one thread each."""
    warnings.simplefilter("ignore")
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = None  # `_check_pixels` is stricter, and does not warn first
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20  # long comments are no reason to refuse a picture
    try:
        import pi_heif
    except ImportError:  # no wheel for Windows on ARM
        return
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def inspect(job: InspectionJob, limits: InspectionLimits) -> Verdict:
    """Return the verdict on one file; never raises for what the file holds."""
    verdict = Verdict(None, None, 0, mime=job.mime)
    try:
        with open(job.path, "rb", buffering=0) as file:  # noqa: PTH123 - one name lookup instead of five
            verdict = attrs.evolve(verdict, size=file.seek(0, io.SEEK_END))
            file.seek(0)
            _check_size(job, verdict.size)
            if _media.family_of(job.mime) == "video":
                return _inspect_video(job, file, verdict)
            return _inspect_image(job, file.readall(), verdict, limits)
    except _RefusedError as refused:
        return attrs.evolve(verdict, error=refused.code, message=refused.message)
    except OSError as error:
        return attrs.evolve(verdict, error="EUNKNOWN", message=f"The stored bytes cannot be read: {error.strerror}.")


def _check_size(job: InspectionJob, size: int) -> None:
    if size == 0:
        raise _RefusedError("EBADSIZE", "The file is empty.")
    if size != job.size:
        raise _RefusedError("EBADSIZE", f"{job.size} bytes were announced, {size} arrived.")
    if size > (limit := _media.size_limit(job.kind)):
        raise _RefusedError("EBADSIZE", f"The file has {size} bytes; the limit is {limit}.")
    if job.mime not in _KNOWN_TYPES:
        raise _RefusedError("EBADMIME", f"Files of type {job.mime[:80]!r} are not accepted.")
    if (job.kind == "Video") != (_media.family_of(job.mime) == "video"):
        raise _RefusedError("EBADMIME", f"The type {job.mime} does not belong to the kind {job.kind[:80]}.")


def _check_digest(job: InspectionJob, crc: int) -> None:
    if job.crc32c is not None and _checksums.to_unsigned(job.crc32c) != crc:
        raise _RefusedError("ECORRUPT", "The bytes do not match the announced CRC32C.")


def _check_family(job: InspectionJob, head: bytes) -> str:
    announced, found = _media.family_of(job.mime), _media.sniff(head)
    if found is None:
        raise _RefusedError("EBADMIME", f"The content is not {job.mime}, nor any other supported type.")
    if found != announced:
        raise _RefusedError("EBADMIME", f"The file was announced as {job.mime} but holds {found} data.")
    return found


def _inspect_video(job: InspectionJob, file: io.FileIO, verdict: Verdict) -> Verdict:
    crc, digest, head = 0, hashlib.sha256(), b""
    buffer = bytearray(_PIECE)
    view = memoryview(buffer)
    while length := file.readinto(buffer):
        piece = view[:length]
        head = head or bytes(piece[: _media.SNIFF_BYTES])
        crc = _checksums.crc32c(piece, crc)
        digest.update(piece)
    _check_digest(job, crc)
    _check_family(job, head)
    return attrs.evolve(verdict, crc32c=crc, sha256=digest.hexdigest())


def _inspect_image(job: InspectionJob, data: bytes, verdict: Verdict, limits: InspectionLimits) -> Verdict:
    crc = _checksums.crc32c(data)
    _check_digest(job, crc)
    family = _check_family(job, data[: _media.SNIFF_BYTES])
    try:
        structure.check(family, data)
        picture = _decode(family, data, limits)
    except _RefusedError:
        raise
    except MemoryError:
        allowed = limits.memory_bytes >> 20
        message = f"Decoding the image takes more than the {allowed} MiB of memory that one image may take."
        raise _RefusedError("EBADSIZE", message) from None
    except UnidentifiedImageError:
        raise _RefusedError("ECORRUPT", f"The content cannot be read as {job.mime}.") from None
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like; each means "unreadable"
        raise _RefusedError("ECORRUPT", f"The content cannot be read as {job.mime}: {str(error)[:200]}.") from None
    return Verdict(
        None,
        None,
        len(data),
        crc,
        hashlib.sha256(data).hexdigest(),
        job.mime,
        picture.width,
        picture.height,
        picture.frames,
        picture.thumbnail,
    )


def _decode(family: str, data: bytes, limits: InspectionLimits) -> _Picture:
    name = _FORMATS.get(family, family.upper())
    if name not in Image.OPEN:
        raise _RefusedError("EUNKNOWN", f"This service cannot read {family} files: install pi-heif.")
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
    return _Picture(*size, frames, thumbnail)


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
        raise _RefusedError(
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
