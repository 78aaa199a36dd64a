"""System calls that flush and copy files faster, where they exist."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import IO

from ... import _checksums
from ..._disk import open_private, write_all
from .own import open_object

_COPY = 4 << 20
_SUM = 4


def _find_writeback() -> Callable[[int, int, int, int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        import ctypes

        call = ctypes.CDLL(None).sync_file_range
    except (ImportError, OSError, AttributeError):  # a Python without libffi, a libc without the call
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    found: Callable[[int, int, int, int], int] = call
    return found


_writeback = _find_writeback()
_BEGIN = 2  # SYNC_FILE_RANGE_WRITE of linux/fs.h


def begin_flush(file: FileIO) -> None:
    """Start writing *file* to the disk, if the system has a call for that; it must still be flushed.

    The file system allocates blocks for all started files in one transaction, so that the first flush covers all of
    them; otherwise each file costs one (sync_file_range(2); ext4, delayed allocation).
    """
    if _writeback is not None:
        _writeback(file.fileno(), 0, 0, _BEGIN)


def copy(source: IO[bytes], target: FileIO) -> None:
    """Append the rest of *source* to *target*, inside the kernel where it can."""
    if sys.platform == "linux" and hasattr(os, "copy_file_range"):
        with contextlib.suppress(OSError):
            while os.copy_file_range(source.fileno(), target.fileno(), 1 << 30):
                pass
            return
    while data := source.read(_COPY):
        write_all(target, data)


def write_summed(path: Path, data: bytes) -> None:
    """Write a file that can be made again, so it is not flushed: a checksum at its end detects damage by power loss."""
    with open_private(path, again=True) as file:
        write_all(file, data + _checksums.crc32c(data).to_bytes(_SUM, "big"))


def read_summed(path: Path) -> bytes | None:
    """Return what `write_summed` wrote; None when it is missing or damaged."""
    try:
        with open_object(path) as file:
            content = file.read()
    except OSError:
        return None
    data, stored = content[:-_SUM], content[-_SUM:]
    return data if data and _checksums.crc32c(data).to_bytes(_SUM, "big") == stored else None
