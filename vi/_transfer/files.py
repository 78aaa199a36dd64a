"""Files that appear whole or not at all: a temporary name beside the target, then a rename.

The temporary name is of `part_journal`'s making and is opened exclusively, without following links. Renaming replaces a
link by the file; it never writes through it. Every function here blocks and belongs in a lane.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .._checksums import Expected
from .._disk import flush
from .open_folder import OpenFolder
from .threads.stopping import still_wanted

CHUNK = 1 << 20

_CREATE = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_GO_ON = (_CREATE & ~(os.O_CREAT | os.O_EXCL)) | getattr(os, "O_NOFOLLOW", 0)
_READ = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
)


class PartFile:
    """A temporary file being filled at any offsets by several threads.

    A cancelled transfer may leave a write under way in a lane, so the descriptor is closed by whoever uses it last: a
    number that the system has handed to another file is never written to. It is removed by that user too: Windows
    removes no file that is open. The folder stays open as long.
    """

    __slots__ = ("_closed", "_descriptor", "_folder", "_lock", "_unwanted", "_users", "path")

    def __init__(self, folder: OpenFolder, path: str, *, there: bool = False) -> None:
        """Make the file in *folder*, or open the one that is *there* already."""
        self.path = path
        self._folder = folder
        folder.hold()
        try:
            self._descriptor = folder.open(path, _GO_ON if there else _CREATE)
        except BaseException:
            folder.leave()
            raise
        self._lock = threading.Lock()
        self._users = 1
        self._closed = False
        self._unwanted = False

    @contextlib.contextmanager
    def _use(self) -> Iterator[int]:
        with self._lock:
            if not self._users:
                raise OSError(errno.EBADF, "closed", self.path)
            self._users += 1
        try:
            yield self._descriptor
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            os.close(self._descriptor)
            if self._unwanted:
                discard(self._folder, self.path)
            self._folder.leave()

    def write_at(self, data: bytes | bytearray, offset: int) -> None:
        """Write all of *data* at *offset*."""
        with self._use() as descriptor:
            _write(descriptor, data, offset)

    def read_at(self, offset: int, count: int) -> bytes:
        """Return up to *count* bytes at *offset*."""
        with self._use() as descriptor:
            return _pread(descriptor, count, offset)

    def sync(self) -> None:
        """Flush the contents to the disk."""
        with self._use() as descriptor:
            flush(descriptor)

    def close(self) -> None:
        """Close the file, now or when the last thread is done with it."""
        if not self._closed:
            self._closed = True
            self._leave()

    def discard(self) -> bool:
        """Close and remove the file, now or when the last thread is done with it; False if it is still there."""
        self._unwanted = True
        self._folder.hold()
        try:
            self.close()
            return discard(self._folder, self.path, patient=not self._users)
        finally:
            self._folder.leave()


if sys.platform != "win32":
    _pwrite, _pread = os.pwrite, os.pread
else:
    _position = threading.Lock()

    def _pwrite(descriptor: int, data: Any, offset: int, /) -> int:
        with _position:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.write(descriptor, data)

    def _pread(descriptor: int, count: int, offset: int, /) -> bytes:
        with _position:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, count)


def write_whole(
    folder: OpenFolder, target: str, pieces: Sequence[bytes | bytearray], *, replace: bool, part_path: str
) -> bool:
    """Put the joined *pieces* at *target* in one step, by way of *part_path*; False if that could not be removed."""
    folder.hold()
    try:
        descriptor = folder.open(part_path, _CREATE)
        try:
            try:
                end = 0
                for piece in pieces:
                    end = _write(descriptor, piece, end)
            finally:
                os.close(descriptor)
            return publish(folder, part_path, target, replace=replace)
        except BaseException:
            discard(folder, part_path)
            raise
    finally:
        folder.leave()


def _write(descriptor: int, data: bytes | bytearray, offset: int) -> int:
    """Write all of *data* at *offset* and return where it ends."""
    view = memoryview(data)
    while view:
        written = _pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
    return offset


def publish(folder: OpenFolder, part: str, target: str, *, replace: bool) -> bool:
    """Give the finished and closed *part* its final name; False if its first name could not be removed.

    `FileExistsError` when the final name is taken and may not be replaced.
    """
    try:
        if replace:
            folder.replace(part, target)
            return True
        folder.link(part, target)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, NotADirectoryError):
            raise
        mode = _mode(folder, target)
        if mode is not None and stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target) from None
        if replace or isinstance(error, FileExistsError):
            raise
        if mode is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        folder.rename(part, target)
        return True
    return discard(folder, part)


def _mode(folder: OpenFolder, path: str) -> int | None:
    try:
        return folder.lstat(path).st_mode
    except OSError:
        return None


def discard(folder: OpenFolder, part: str, *, patient: bool = True) -> bool:
    """Remove a temporary file; *patient*, wait a moment while another program has it open. False if it stays."""
    try:
        folder.unlink(part, patient=patient)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def content_matches(open_: Callable[[str, int], int], path: str, size: int, expected: Expected) -> bool:
    """Tell whether the regular file at *path*, opened by *open_*, has *size* bytes with the *expected* digest.

    A link in its place does not count.
    """
    try:
        descriptor = open_(path, _READ)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size or not expected:
            return False
        check = expected.fresh()
        while data := os.read(descriptor, CHUNK):
            check.update(data)
            still_wanted()
        return check.matches()
    finally:
        os.close(descriptor)


def check_folder(folder: OpenFolder, probe: str) -> None:
    """Make *folder* if it is missing and check that *probe* can be made in it, or raise the `OSError` that says why."""
    folder.make()
    try:
        PartFile(folder, probe).close()
    finally:
        discard(folder, probe)
