"""What travels between the service and the processes that look at arrived files.

A frame is two lengths, a JSON object and raw bytes. Never pickle: the worker decodes files of strangers, and its
answers are read here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from ...codes import FileCode

_LENGTHS = struct.Struct(">II")
_LONGEST_TEXT = 1 << 20
_LARGEST_BLOB = 4 << 20


class RefusedError(Exception):
    """The file is not accepted: a wire code, and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class AloneError(Exception):
    """A picture may take more than a share of the memory: it is to be decoded while no other such is."""


@attrs.frozen
class InspectionJob:
    """A file as it was announced; *crc32c* is signed as on the wire, or None."""

    path: str
    kind: str
    mime: str
    size: int
    crc32c: int | None = None
    side: int | None = None
    """Of the picture to make, in pixels; that of a thumbnail when None."""


@attrs.frozen
class Verdict:
    """What a file turned out to be. *error* is a wire code, or None when it is accepted.

    *crc32c* is unsigned. The digests of a refused file may be missing (0 and empty). *width* and *height* are those of
    the stored raster: an orientation tag turns the thumbnail only. All three are 0 for videos.
    """

    error: str | None
    message: str | None
    size: int
    crc32c: int = 0
    sha256: str = ""
    mime: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    thumbnail: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Answer:
    """What a worker says of an image that the service has measured; *error* is a wire code."""

    error: str | None
    message: str | None
    width: int = 0
    height: int = 0
    frames: int = 0
    thumbnail: bytes | None = attrs.field(default=None, repr=False)
    alone: bool = False
    """It was not decoded: it may take more than a share of the memory, and is to be asked for again, alone."""


@attrs.frozen
class InspectionLimits:
    """What one file may cost."""

    max_pixels: int = 500_000_000
    """Pixels of one frame: twice what phones and scanners make (2026), and half of what `memory_bytes` can hold."""
    max_decoded_pixels: int = 500_000_000
    """Pixels over all frames; further frames are counted, not decoded."""
    seconds_per_file: float = 60.0
    bytes_per_second: int = 8 << 20
    """The slowest disk to wait for: a large file may take that much longer."""
    memory_bytes: int = 4 << 30
    """Of a picture that is decoded alone: address space beyond the worker's own, where that can be limited.

    RGB takes 4 bytes a pixel, JPEG 2000 up to 24.
    """
    share_bytes: int = 1 << 30
    """The same for each of those that are decoded side by side; one that needs more is decoded alone."""
    thumbnail_side: int = 256

    def memory_for(self, *, alone: bool) -> int:
        """Return the bytes that a worker may take beyond what it has when it starts."""
        return self.memory_bytes if alone else min(self.share_bytes, self.memory_bytes)

    def seconds_for(self, size: int) -> float:
        """Return how long a file of *size* bytes may take."""
        return self.seconds_per_file + size / self.bytes_per_second


def frame(message: dict[str, Any], blob: bytes = b"") -> bytes:
    """Write one frame."""
    text = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(blob)) + text + blob


class FrameReader:
    """Frames out of a stream of bytes that arrive in any pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def empty(self) -> bool:
        """Whether nothing has come of a further frame."""
        return not self._buffer

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Take in *data* and yield the frames that are complete; raises ValueError on nonsense."""
        self._buffer += data
        while len(self._buffer) >= _LENGTHS.size:
            text_length, blob_length = _LENGTHS.unpack_from(self._buffer)
            start, middle = _LENGTHS.size, _LENGTHS.size + text_length
            end = middle + blob_length
            if text_length > _LONGEST_TEXT or blob_length > _LARGEST_BLOB:
                raise ValueError("a frame is too long")
            if len(self._buffer) < end:
                return
            try:
                message = json.loads(self._buffer[start:middle])
            except RecursionError:
                raise ValueError("a frame is nested too deeply") from None
            blob = bytes(self._buffer[middle:end])
            del self._buffer[:end]
            yield message, blob


def write_jobs(jobs: Sequence[InspectionJob], *, handed_over: bool) -> bytes:
    """Write a batch; without paths if the open files are *handed_over* with it."""
    return frame({"jobs": [attrs.astuple(attrs.evolve(job, path="") if handed_over else job) for job in jobs]})


def read_jobs(message: dict[str, Any]) -> list[InspectionJob]:
    """Read what `write_jobs` wrote."""
    return [InspectionJob(*values) for values in message["jobs"]]


def write_answer(answer: Answer, number: int) -> bytes:
    """Write the answer to the job that is the *number*-th of its worker; the thumbnail travels as it is."""
    fields = {name: getattr(answer, name) for name in _ANSWER_FIELDS}
    blob = answer.thumbnail
    return frame({**fields, "number": number, "picture": blob is not None}, blob or b"")


def read_answer(message: dict[str, Any], blob: bytes, measured: Verdict) -> Verdict:
    """Add an answer to what the service has *measured*; raises ValueError for one that no worker of ours would write.

    The worker may have been taken over by the file that it decodes: its answer is checked like any foreign
    document, and nothing that the service can say itself is taken from it.
    """
    error, text = message["error"], message["message"]
    numbers = [message[name] for name in ("width", "height", "frames")]
    if any(type(number) is not int or not 0 <= number < _MOST_OF_ANY for number in numbers):
        raise ValueError("a number out of range")
    if not isinstance(text, str | None):
        raise ValueError("a message that is none")
    if error is not None:
        if error not in _CODES or blob or len(text or "") > _LONGEST_MESSAGE:
            raise ValueError("a refusal that is none")
        return attrs.evolve(measured, error=error, message=None if text is None else shown(text))
    if not all(numbers):
        raise ValueError("a picture without pixels")
    if message["picture"] is not bool(blob) or (blob and not blob.startswith((b"\xff\xd8\xff", b"RIFF"))):
        raise ValueError("a thumbnail that is none")
    width, height, frames = numbers
    return attrs.evolve(measured, width=width, height=height, frames=frames, thumbnail=blob or None)


def shown(text: str) -> str:
    """Return what a process said, fit to be stored and shown."""
    return "".join(character if character.isprintable() else " " for character in text)


_CODES = frozenset({FileCode.EBADMIME, FileCode.EBADSIZE, FileCode.ECORRUPT, FileCode.EUNKNOWN})
_LONGEST_MESSAGE = 1000
_MOST_OF_ANY = 1 << 31


_ANSWER_FIELDS = tuple(field.name for field in attrs.fields(Answer) if field.name != "thumbnail")
