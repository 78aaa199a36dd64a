"""Open files of a data folder that another user may have made: links are not followed."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from io import FileIO
from pathlib import Path

from ..._disk import LINK

logger: logging.Logger = logging.getLogger("vi.server")

_MOST = 1 << 20
"""Bytes of a file that is read whole: a few hundred, but a sparse one could have any number."""
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
# Without O_NONBLOCK, opening a pipe under one of our names would never return.
_UNFOLLOWED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)

_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""What a journal of SQLite begins with, and ends with where a name comes before it (sqlite.org/fileformat2.html)."""


class ForeignFileError(OSError):
    """A file of the data folder that the service did not make: a link, a device, or a file of another user."""

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(errno.EPERM, f"{Path(path).name} {problem}", str(path))


def open_own(path: Path | str, flags: int, *, alone: bool = True) -> int:
    """Open a file of the data folder and return its descriptor; links are not followed.

    A folder of another user may hold anything under the names of the service. It must be a regular file of this
    user, and with *alone* it must have no second name: what is written here must not appear in another place.
    """
    try:
        descriptor = os.open(path, flags | _UNFOLLOWED, 0o600)
    except OSError as error:
        if error.errno in LINK:
            raise ForeignFileError(path, "is a link, which is not followed") from None
        raise
    try:
        check_own(path, os.fstat(descriptor), alone=alone)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_own(path: Path | str, found: os.stat_result, *, alone: bool = True, folder: bool = False) -> None:
    """Raise `ForeignFileError` unless what was *found* at *path* is a file, or a *folder*, of this user."""
    right = stat.S_ISDIR(found.st_mode) if folder else stat.S_ISREG(found.st_mode)
    if not right:
        raise ForeignFileError(path, f"is not a {'folder' if folder else 'regular file'}")
    # An administrator may serve the folder of a user, as a container does with one that is mounted into it.
    if sys.platform != "win32" and os.geteuid() not in (0, found.st_uid):
        raise ForeignFileError(path, "belongs to another user")
    if alone and not folder and found.st_nlink > 1:
        raise ForeignFileError(path, "has a second name (a hard link)")


def make_own_folder(path: Path) -> None:
    """Make the folder *path* unless it exists; an existing one must be a real folder of this user."""
    path.mkdir(mode=0o700, exist_ok=True)
    check_own(path, path.lstat(), folder=True)


def open_object(path: Path | str) -> FileIO:
    """Open a stored object for reading. It may have a second name: folders can be copied as hard links."""
    return FileIO(open_own(path, _READ, alone=False), "rb")


def read_own(path: Path) -> bytes:
    """Return the contents of a small file of the data folder."""
    with FileIO(open_own(path, _READ), "rb") as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise ForeignFileError(path, "is too large")
    return data


def discard(path: Path) -> None:
    """Remove a file, if it is there; a folder in its place stays, for the service has made none."""
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return  # so it is not there
    except OSError:
        if path.is_symlink() or not path.is_dir():
            raise
        logger.warning("%s is a folder in the place of a file of the service, and stays", path.name)


def check_journal(path: Path | str) -> None:
    """Raise `ForeignFileError` for a rollback journal of SQLite that names a file of somebody else, or is not ours.

    Such a journal belongs to several databases, and SQLite removes the file that it names when it has rolled back.
    """
    try:
        descriptor = open_own(path, _READ)
    except FileNotFoundError:
        return
    with FileIO(descriptor, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(_JOURNAL)))
        if file.read() == _JOURNAL:
            raise ForeignFileError(path, "names another file, which SQLite would remove")
