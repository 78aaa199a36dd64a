"""A disk that shares as that of Windows: no file is renamed or removed while a program has it open."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vi._transfer import open_folder

_VIOLATION = 32
_DENIED = 5


class Violation(PermissionError):
    """What Windows says of a file that a program has open."""

    def __init__(self, path: str, winerror: int) -> None:
        super().__init__(errno.EACCES, "The process cannot access the file because it is being used", path)
        self.winerror = winerror


class Sharing:
    """The files that were *refused* because they were open; *busy* are those that another program has open too."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.busy: set[str] = set()
        self.tries = 0

    def still_there(self) -> list[str]:
        """Return those that were not renamed or removed later either."""
        return [path for path in self.refused if os.path.lexists(path)]

    def check(self, path: str, place: int | None, winerror: int) -> None:
        """Raise if this process, or one that it has started, has the file at *path* open or mapped."""
        if path in self.busy:
            self.tries += 1
            raise Violation(path, winerror)
        try:
            found = os.stat(path, dir_fd=place, follow_symlinks=False)
        except OSError:
            return
        if (found.st_dev, found.st_ino) in set(_open_files()):
            self.refused.append(path)
            raise Violation(path, winerror)


def _open_files() -> Iterator[tuple[int, int]]:
    for process in [os.getpid(), *_children(os.getpid())]:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found = descriptor.stat()
                    yield found.st_dev, found.st_ino
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process}/maps").read_text("utf-8", "replace").splitlines():
                _, _, _, device, inode, *_ = line.split(maxsplit=5)
                major, minor = (int(one, 16) for one in device.split(":"))
                yield os.makedev(major, minor), int(inode)


def _children(process: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield int(child)
                yield from _children(int(child))


def as_windows_shares(patch: pytest.MonkeyPatch) -> Sharing:
    """Let the calls of `os` refuse what Windows would."""
    sharing = Sharing()

    def moving(real: Callable[..., None]) -> Callable[..., None]:
        def call(source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
            sharing.check(os.fspath(source), src_dir_fd, _VIOLATION)
            sharing.check(os.fspath(target), dst_dir_fd, _DENIED)
            real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        return call

    def removing(real: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, *, dir_fd: int | None = None) -> None:
            sharing.check(os.fspath(path), dir_fd, _VIOLATION)
            real(path, dir_fd=dir_fd)

        return call

    for name in ("rename", "replace"):
        patch.setattr(os, name, moving(getattr(os, name)))
    for name in ("unlink", "remove"):
        patch.setattr(os, name, removing(getattr(os, name)))
    patch.setattr(open_folder, "RELATIVE", False)
    return sharing
