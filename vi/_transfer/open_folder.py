"""A local folder that files are saved in, opened once: what happens to its path afterwards changes nothing.

Below it no link is followed. Where the system opens names relative to an open folder, that cannot be got round;
elsewhere (Windows) each folder above a file is looked at each time. Everything here blocks and belongs in a lane.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
from pathlib import Path
from types import TracebackType

from .._disk import LINK, when_free

RELATIVE: bool = {os.open, os.mkdir, os.link, os.rename, os.unlink, os.stat} <= os.supports_dir_fd
# Some systems have separate rights to search and to read a folder.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_BELOW = _FOLDER | getattr(os, "O_NOFOLLOW", 0)
_NOT_A_FOLDER = LINK | {errno.ENOTDIR}
NOT_BELOW = frozenset({errno.ENOTDIR, errno.EXDEV, errno.EINVAL})
"""What the errors say of a path that leads out of the folder, or through a link."""
_NO_NAMES = frozenset({"", ".", ".."})
_IN_THE_WAY = "a file or a link has the name of its folder"


class OpenFolder:
    """A folder; every path that is given begins with that of the folder.

    It is opened when it is first used, and closed by the last of its users.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._prefix = os.path.join(self.path, "")  # noqa: PTH118
        self._lock = threading.Lock()
        self._users = 1
        self._descriptor: int | None = None
        self._real: str | None = None

    def make(self) -> None:
        """Make the folder if it is missing."""
        Path(self.path).mkdir(parents=True, exist_ok=True)

    def hold(self) -> None:
        """Keep the folder open until `leave` is called as well."""
        with self._lock:
            if not self._users:
                raise OSError(errno.EBADF, "closed", self.path)
            self._users += 1

    def leave(self) -> None:
        """End what `hold` began."""
        with self._lock:
            self._users -= 1
            if not self._users and self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    close = leave

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        """Open a file as `os.open` does; *flags* say whether a link in its place is followed."""
        with self._at(path) as (name, folder):
            return os.open(name, flags, mode, dir_fd=folder)

    def lstat(self, path: str) -> os.stat_result:
        """Look at a file without following a link."""
        with self._at(path) as (name, folder):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def link(self, path: str, other: str) -> None:
        """Give a file a second name; fails if that is taken, in one step."""
        with self._at(path) as (name, folder), self._at(other) as (new, beside):
            os.link(name, new, src_dir_fd=folder, dst_dir_fd=beside, follow_symlinks=False)

    def rename(self, path: str, other: str) -> None:
        """Give a file another name."""
        with self._at(path) as (name, folder), self._at(other) as (new, beside):
            when_free(os.rename, name, new, src_dir_fd=folder, dst_dir_fd=beside)

    def replace(self, path: str, other: str) -> None:
        """Put a file in the place of another."""
        with self._at(path) as (name, folder), self._at(other) as (new, beside):
            when_free(os.replace, name, new, src_dir_fd=folder, dst_dir_fd=beside)

    def bring(self, source: str, path: str) -> None:
        """Move a file of the same file system from outside to *path*; fails if that is taken, in one step if it can."""
        with self._at(path) as (name, folder):
            try:
                os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                raise
            except (OSError, NotImplementedError):  # a file system without second names
                with contextlib.suppress(FileNotFoundError):
                    os.stat(name, dir_fd=folder, follow_symlinks=False)
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
                when_free(os.rename, source, name, dst_dir_fd=folder)
                return
            try:
                when_free(os.unlink, source)
            except OSError:
                os.unlink(name, dir_fd=folder)
                raise

    def unlink(self, path: str, *, patient: bool = True) -> None:
        """Remove a file; *patient*, wait a moment while another program has it open."""
        with self._at(path) as (name, folder):
            when_free(os.unlink, name, dir_fd=folder) if patient else os.unlink(name, dir_fd=folder)

    def make_folders(self, path: str) -> None:
        """Make the folders above a file. `NotADirectoryError` names what is in the way, a link among others."""
        above = self.path
        for part in self._parts(path)[:-1]:
            above = os.path.join(above, part)  # noqa: PTH118
            with self._at(above) as (name, folder):
                try:
                    os.mkdir(name, dir_fd=folder)
                except FileExistsError:
                    continue
        self._check_above(path)

    def _check_above(self, path: str) -> None:
        with self._at(path):
            return

    def _parts(self, path: str) -> list[str]:
        if not path.startswith(self._prefix):
            raise OSError(errno.EXDEV, f"not below {self.path}", path)
        parts = path[len(self._prefix) :].replace(os.sep, "/").split("/")
        if not _NO_NAMES.isdisjoint(parts):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        return parts

    def _at(self, path: str) -> _Place:
        """Return a block that gets what to call a file, and the open folder that this is relative to."""
        return _Place(self, path)

    def _root(self) -> int:
        if (there := self._descriptor) is not None:  # and stays: who asks holds the folder
            return there
        with self._lock:
            if self._descriptor is None:
                self._descriptor = os.open(self.path, _FOLDER)
            return self._descriptor

    def _enter(self, part: str, folder: int, above: list[str]) -> int:
        try:
            return os.open(part, _BELOW, dir_fd=folder)
        except OSError as error:
            place = os.path.join(self.path, *above)  # noqa: PTH118
            if error.errno in _NOT_A_FOLDER:
                raise NotADirectoryError(errno.ENOTDIR, _IN_THE_WAY, place) from None
            error.filename = place
            raise

    def _compare(self, above: list[str]) -> None:
        """Raise `NotADirectoryError` unless a folder really is where its path says."""
        # The folder may lie behind a link from the start. What is below it is looked at folder by folder: the real path
        # of one is not always told where it is longer than 260 characters.
        os.stat(self.path)  # noqa: PTH116
        real = os.path.normcase(os.path.realpath(self.path))
        if self._real is None:
            self._real = real
        place = self.path
        if real != self._real or not os.path.isdir(place):  # noqa: PTH112
            raise NotADirectoryError(errno.ENOTDIR, _IN_THE_WAY, place)
        for part in above:
            place = os.path.join(place, part)  # noqa: PTH118
            status = os.lstat(place)
            if not stat.S_ISDIR(status.st_mode) or leads_away(status):
                raise NotADirectoryError(errno.ENOTDIR, _IN_THE_WAY, place)


def leads_away(status: os.stat_result) -> bool:
    """Tell whether a folder of Windows is another one's name, as a junction is; those of a cloud drive are not."""
    if sys.platform == "win32":
        return bool(status.st_reparse_tag & 0x20000000)  # IsReparseTagNameSurrogate of winnt.h
    return False


class _Place:
    """Where a file is, while the block lasts; an object, since a generator would cost more than the call inside."""

    __slots__ = ("_folder", "_name", "_opened", "_path")

    def __init__(self, folder: OpenFolder, path: str) -> None:
        self._folder = folder
        self._path = path
        self._opened: int | None = None

    def __enter__(self) -> tuple[str, int | None]:
        folder = self._folder
        *above, self._name = folder._parts(self._path)
        folder.hold()
        try:
            if not RELATIVE:
                folder._compare(above)
                return self._path, None
            at = folder._root()
            for number, part in enumerate(above, 1):
                inner = folder._enter(part, at, above[:number])
                if self._opened is not None:
                    os.close(self._opened)
                at = self._opened = inner
            return self._name, at
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            os.close(self._opened)
        self._folder.leave()
        if isinstance(error, OSError) and error.filename == self._name != self._path:
            error.filename = self._path
