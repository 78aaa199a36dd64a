"""Look at one arrived file: its size, checksum, type by content, and for an image every pixel.

Order matters for the verdict: what is wrong on the way (size, then checksum) is said before what is wrong with the
content. Content that does not begin as what was announced is EBADMIME, as the SDK says before it sends it. What begins
so and cannot be read to its end is ECORRUPT; what is sound and too large to be decoded is EBADSIZE.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import attrs

from ... import _checksums, _media
from .frames import InspectionJob, Verdict

_PIECE = 1 << 20
_KNOWN_TYPES = frozenset({*_media.IMAGE_TYPES.values(), *_media.VIDEO_TYPES.values()})


class RefusedError(Exception):
    """The file is not accepted: a wire code, and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@attrs.frozen
class Picture:
    """What a decoder made of an image."""

    width: int
    height: int
    frames: int
    thumbnail: bytes | None


Decode = Callable[[str, str, bytes], Picture]
"""Decodes bytes of a family that were announced as a type; raises `RefusedError`."""


def inspect(job: InspectionJob, decode: Decode | None) -> Verdict:
    """Return the verdict on one file; never raises for what the file holds. Videos need no *decode*."""
    verdict = Verdict(None, None, 0, mime=job.mime)
    try:
        with open(job.path, "rb", buffering=0) as file:  # noqa: PTH123 - one name lookup instead of five
            verdict = attrs.evolve(verdict, size=file.seek(0, io.SEEK_END))
            file.seek(0)
            _check_size(job, verdict.size)
            if decode is None or _media.family_of(job.mime) == "video":
                return _inspect_video(job, file, verdict)
            return _inspect_image(job, file.readall(), verdict, decode)
    except RefusedError as refused:
        return attrs.evolve(verdict, error=refused.code, message=refused.message)
    except OSError as error:
        return attrs.evolve(verdict, error="EUNKNOWN", message=f"The stored bytes cannot be read: {error.strerror}.")


def _check_size(job: InspectionJob, size: int) -> None:
    if size == 0:
        raise RefusedError("EBADSIZE", "The file is empty.")
    if size != job.size:
        raise RefusedError("EBADSIZE", f"{job.size} bytes were announced, {size} arrived.")
    if size > (limit := _media.size_limit(job.kind)):
        raise RefusedError("EBADSIZE", f"The file has {size} bytes; the limit is {limit}.")
    if job.mime not in _KNOWN_TYPES:
        raise RefusedError("EBADMIME", f"Files of type {job.mime[:80]!r} are not accepted.")
    if (job.kind == "Video") != (_media.family_of(job.mime) == "video"):
        raise RefusedError("EBADMIME", f"The type {job.mime} does not belong to the kind {job.kind[:80]}.")


def _check_digest(job: InspectionJob, crc: int) -> None:
    if job.crc32c is not None and _checksums.to_unsigned(job.crc32c) != crc:
        raise RefusedError("ECORRUPT", "The bytes do not match the announced CRC32C.")


def _check_family(job: InspectionJob, head: bytes) -> str:
    announced, found = _media.family_of(job.mime), _media.sniff(head)
    if found is None:
        raise RefusedError("EBADMIME", f"The content is not {job.mime}, nor any other supported type.")
    if found != announced:
        raise RefusedError("EBADMIME", f"The file was announced as {job.mime} but holds {found} data.")
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


def _inspect_image(job: InspectionJob, data: bytes, verdict: Verdict, decode: Decode) -> Verdict:
    crc = _checksums.crc32c(data)
    _check_digest(job, crc)
    family = _check_family(job, data[: _media.SNIFF_BYTES])
    picture = decode(family, job.mime, data)
    return attrs.evolve(
        verdict,
        crc32c=crc,
        sha256=hashlib.sha256(data).hexdigest(),
        width=picture.width,
        height=picture.height,
        frames=picture.frames,
        thumbnail=picture.thumbnail,
    )
