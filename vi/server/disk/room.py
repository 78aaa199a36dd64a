"""Disk space: a reserve that uploads leave free, and a ballast file that is removed so that deletions work.

A deletion writes rows before it frees space. So uploads are refused while less than the reserve is free, and if other
programs fill the disk, removing the ballast gives a deletion the space that it needs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
from sqlalchemy.exc import OperationalError

from ..._disk import open_private, write_all

MIB = 1 << 20
_RESERVE, _RESERVE_SHARE = 64 * MIB, 20
_BALLAST, _BALLAST_SHARE = 4 * MIB, 40
_POSTGRES_FULL = "53100"
_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: BaseException) -> bool:
    """Tell whether *error* says that the disk is full."""
    if isinstance(error, OperationalError):
        return getattr(error.orig, "sqlstate", None) == _POSTGRES_FULL or "disk is full" in str(error.orig)
    return isinstance(error, OSError) and error.errno in _FULL


@attrs.define(eq=False)
class Taking:
    """Bytes on their way to the disk, counted in *room* until the disk counts them."""

    size: int
    _room: Room
    _left: int = 0

    def wrote(self, size: int) -> None:
        """Say that the disk counts the first *size* bytes by now."""
        left = max(0, self.size - size)
        self._room.on_way += left - self._left
        self._left = left


class Room:
    """How much of the disk below *root* may be used."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "ballast"
        self._lock = threading.Lock()
        self.on_way = 0
        """Bytes that the disk does not count yet; changed by the event loop alone."""
        total = shutil.disk_usage(root).total
        self.reserve: int = min(_RESERVE, total // _RESERVE_SHARE)
        self._ballast = min(_BALLAST, total // _BALLAST_SHARE)
        self._held = False

    @property
    def free(self) -> int:
        """Free bytes, less those on their way to the disk."""
        return shutil.disk_usage(self._root).free - self.on_way

    def require(self, size: int = 0) -> None:
        """Raise `OSError` (ENOSPC) if *size* more bytes would not leave the reserve free."""
        # A file system that does not report its size has no reserve, only its own error.
        if self.reserve and self.free - size < self.reserve:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextlib.contextmanager
    def taking(self, size: int) -> Iterator[Taking]:
        """Reserve space for *size* bytes; raises `OSError` (ENOSPC) if the reserve would not stay free."""
        self.require(size)
        taking = Taking(size, self)
        taking.wrote(0)
        try:
            yield taking
        finally:
            taking.wrote(size)

    def prepare(self) -> None:
        """At a start: make the ballast, or remove it if the start needs its space. Blocking."""
        self._held = self._path.is_file()
        if self._ballast and shutil.disk_usage(self._root).free < self._ballast:
            self.give_up()
        else:
            self.refill()

    def give_up(self) -> bool:
        """Free the ballast for a deletion; false when there is none. Blocking."""
        with self._lock:
            try:
                self._path.unlink()
            except OSError:
                return False
            finally:
                self._held = False
            return True

    @property
    def is_held(self) -> bool:
        """Whether the ballast is on the disk."""
        return self._held or not self._ballast

    def is_exhausted(self) -> bool:
        """Return whether the disk is nearly full, which may explain an error of the disk."""
        return shutil.disk_usage(self._root).free < self._ballast

    def refill(self) -> None:
        """Make the ballast again once there is space for it, before uploads get any. Blocking."""
        if self.is_held:
            return
        with self._lock, contextlib.suppress(OSError):
            if shutil.disk_usage(self._root).free < 2 * self._ballast:
                return
            try:
                with open_private(self._path) as file:
                    if sys.platform != "win32" and sys.platform != "darwin":
                        os.posix_fallocate(file.fileno(), 0, self._ballast)
                    else:
                        write_all(file, bytes(self._ballast))
            except FileExistsError:
                pass  # of another process
            except OSError:
                self._path.unlink(missing_ok=True)
                raise
            self._held = True
