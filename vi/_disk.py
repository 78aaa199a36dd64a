"""Private files that appear whole or not at all, and what file systems do not all offer: flushing, names that are free.

Shares, FUSE and folders of virtual machines answer ``fsync`` with an error that says "not here"; everything else it
says is a fault of the disk. On Windows a virus scanner or an indexer opens a new file for a moment, and nobody may
rename or remove it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shlex
import stat
import sys
import time
from collections.abc import Callable
from io import BufferedReader, FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

logger: logging.Logger = logging.getLogger("vi.private")
"""Shown on stderr without `VI_LOG` too."""

P = ParamSpec("P")
R = TypeVar("R")

UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
LINK = frozenset({errno.ELOOP, errno.EMLINK})
"""What Linux and macOS, and FreeBSD, say of a link that is opened with ``O_NOFOLLOW``."""
_DENIED = 5  # of a file that is about to go, and of one that may not be changed
SHARING = frozenset({_DENIED, 32, 33})  # the others: sharing and lock violation
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_told: set[str] = set()
WAITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


if sys.platform == "darwin":
    import fcntl

    def _sync(descriptor: int) -> None:
        # `fsync` leaves the bytes in the cache of the drive there, which a loss of power empties.
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            # A share, or a drive without it. A fault is told once: `fsync` after it would say that all is well.
            if error.errno not in UNSUPPORTED | {errno.ENOTTY}:
                raise
            os.fsync(descriptor)
else:

    def _sync(descriptor: int) -> None:
        os.fsync(descriptor)


def flush(descriptor: int) -> None:
    """Flush a file to the disk, where the file system can."""
    try:
        _sync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def when_free(call: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """Call, and again for up to a second while another program has the file open (Windows); blocking."""
    for seconds in WAITS:
        try:
            return call(*arguments, **options)
        except OSError as error:
            reason = getattr(error, "winerror", None)
            if reason not in SHARING or (reason == _DENIED and any(map(_stays, arguments))):
                raise
        time.sleep(seconds)
    return call(*arguments, **options)


def _stays(path: object) -> bool:
    """Tell whether *path* is a folder or a file that may not be written to: waiting frees neither."""
    try:
        mode = os.lstat(path).st_mode if isinstance(path, (str, os.PathLike)) else 0o200
    except OSError:
        return False
    return stat.S_ISDIR(mode) or not mode & stat.S_IWRITE


def open_private(path: Path | str, *, again: bool = False) -> FileIO:
    """Open a new file for writing that only the owner may read; *again* takes the place of one that is there.

    What is there may be a second name of a file of somebody else, or a pipe: it is removed, and never written to.
    """
    # By descriptor: `open` would ask the system four more questions, each of which releases the interpreter.
    try:
        return FileIO(os.open(path, _NEW, 0o600), "wb")
    except FileExistsError:
        if not again:
            raise
    when_free(os.unlink, path)
    return FileIO(os.open(path, _NEW, 0o600), "wb")


def read_regular(path: Path | str, most: int) -> bytes:
    """Return up to *most* bytes of a regular file; a pipe or device in a folder that others have made has no end."""
    with FileIO(os.open(path, _READ), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, f"{Path(path).name} is not a regular file", str(path))
        with BufferedReader(file) as reader:
            return reader.read(most)


def write_all(file: FileIO, data: bytes) -> None:
    """Write *data* to an unbuffered file; one call may take only part of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


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


def open_to_others(path: Path, *, written: bool = False) -> tuple[str, str] | None:
    """Say that other users of this machine can read *path*, or with *written* change it, and what to do; else None.

    In a folder such as the temporary one, where each may only remove what is theirs, nothing is open.
    """
    if os.name == "nt":
        return None
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if not mode & (0o022 if written else 0o066) or (written and mode & stat.S_ISVTX):
        return None
    can, fix = ("write to", "go-w") if written else ("read or change", "go-rwx")
    return f"other users can {can} {path}", f"Run: chmod {fix} {shlex.quote(str(path))}"


def warn_of_others(path: Path, *, written: bool = False) -> None:
    """Log what `open_to_others` finds, once for each path."""
    if (found := open_to_others(path, written=written)) and str(path) not in _told:
        _told.add(str(path))
        logger.warning("%s%s. %s", found[0][0].upper(), found[0][1:], found[1])


def write_private(path: Path, content: bytes) -> None:
    """Write *content* under a name that appears only when it is whole, readable by the owner alone."""
    import secrets

    staging = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open_private(staging) as file:
            write_all(file, content)
            flush(file.fileno())
        when_free(os.replace, staging, path)
        flush_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            when_free(os.unlink, staging)
        raise
