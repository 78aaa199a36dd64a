"""Files that only their owner reads, and names that outlive a power failure."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import IO

from ..._disk import flush, when_free

_COPY = 4 << 20
_NEW = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)


def open_private(path: Path | str, *, again: bool = False) -> FileIO:
    """Open a new file for writing that only the owner may read; *again* empties one that is there."""
    # By descriptor: `open` would ask the system four more questions, each of which lets go of the interpreter.
    return FileIO(os.open(path, _NEW | (os.O_TRUNC if again else os.O_EXCL), 0o600), "wb")


def write_all(file: FileIO, data: bytes) -> None:
    """Write *data* to an unbuffered file; one call may take only part of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


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
    """Have the disk begin with what *file* holds, where the system has a call for that; it must be flushed all the same.

    Files that were begun get their places on the disk in one transaction of the file system, so that the first flush
    carries them all, while files that were only written cost one each (sync_file_range(2); ext4, delayed allocation).
    """
    if _writeback is not None:
        _writeback(file.fileno(), 0, 0, _BEGIN)


def flush_folder(folder: Path | str) -> None:
    """Make the names in *folder* durable, where the platform knows how."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flush(descriptor)
    except OSError as error:
        if error.errno != errno.EBADF:  # a file system whose folders cannot be flushed
            raise
    finally:
        os.close(descriptor)


def copy(source: IO[bytes], target: FileIO) -> None:
    """Append the rest of *source* to *target*, inside the kernel where it can."""
    if hasattr(os, "copy_file_range"):
        with contextlib.suppress(OSError):
            while os.copy_file_range(source.fileno(), target.fileno(), 1 << 30):
                pass
            return
    while data := source.read(_COPY):
        write_all(target, data)


def write_private(path: Path, content: bytes) -> None:
    """Write *content* under a name that appears only when it is whole, readable by the owner alone."""
    staging = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open_private(staging) as file:
            write_all(file, content)
            flush(file.fileno())
        when_free(staging.replace, path)
        flush_folder(path.parent)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
