"""What a worker does with a file: it reads the open descriptor, decodes, and answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import attrs

from ... import _media
from ...codes import FileCode
from .frames import AloneError, Answer, InspectionJob, RefusedError


@attrs.frozen
class Picture:
    """What a decoder made of an image."""

    width: int
    height: int
    frames: int
    thumbnail: bytes | None


Decode = Callable[[str, str, bytes], Picture]
"""Decodes bytes of a family that were announced as a type; raises `RefusedError`."""


def inspect(job: InspectionJob, file: int | None, decode: Decode, memory: int, *, alone: bool) -> Answer:
    """Decode the picture behind the descriptor *file*, or at its path, and close *file*; never raises.

    *memory* is the number of bytes that this process may take, *alone* whether that is all that one picture may.
    """
    try:
        data = _read(file, job.size) if file is not None else _read_path(job.path)
        picture = decode(_media.family_of(job.mime) or "", job.mime, data)
    except AloneError:
        return Answer(None, None, alone=True)
    except MemoryError:
        if not alone:
            return Answer(None, None, alone=True)
        message = f"Decoding the image takes more than the {memory >> 20} MiB of memory that one image may take."
        return Answer(FileCode.EBADSIZE, message)
    except RefusedError as refused:
        return Answer(refused.code, refused.message)
    except OSError as error:
        return Answer(FileCode.EUNKNOWN, f"The stored bytes cannot be read: {error.strerror}.")
    return Answer(None, None, picture.width, picture.height, picture.frames, picture.thumbnail)


def _read(file: int, size: int) -> bytes:
    if sys.platform == "win32":
        raise NotImplementedError("there is a path instead")
    # Nothing but reads: where no path can be opened, nothing can be asked about one either.
    try:
        data = os.pread(file, size, 0)
        while len(data) < size and (piece := os.pread(file, size - len(data), len(data))):
            data += piece
    finally:
        os.close(file)
    return data


def _read_path(path: str) -> bytes:
    assert sys.platform == "win32", "elsewhere a descriptor is handed over"
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - one name lookup instead of five
        return file.readall()
