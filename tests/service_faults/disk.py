"""Makes the n-th operation that changes a service's folder fail; installed from outside, into the process of a service.

Counted are: making, writing, flushing, renaming, truncating and removing files and folders, and every statement of
SQLite that writes, a commit twice (before it and after). What SQLite itself does to its files is its own guarantee: WAL
with ``synchronous=FULL``.

After a ``power`` fault the folder is as the file system promises at the least: bytes that were not flushed are cut off,
and names that were made, moved or removed in a folder that was not flushed since are as before.
"""

# Stands below pathlib, which calls these very functions.
# ruff: noqa: PTH116, PTH117, PTH118, PTH119, PTH120

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from vi import _disk

ERRORS = {"eio": errno.EIO, "enospc": errno.ENOSPC}
DEADLY = ("die", "power")
DIED = 9
"""How a service ends by one of these."""
_WRITING = ("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE", "CREATE")


class Disk:
    """Counts operations below *root* and fails number *number*; what it failed is written to *report*."""

    def __init__(self, root: Path, fault: str, number: int, report: Path) -> None:
        self.root = os.path.realpath(root)
        self.fault = fault
        self._database = os.path.join(self.root, "vi.db")
        self.number = number
        self.count = 0
        self._report = report
        self._lock = threading.RLock()
        self._paths: dict[int, str] = {}
        self._names: list[tuple[str, Callable[[], None]]] = []
        self._flushed: dict[int, int] = {}
        self._removed = Path(f"{self.root}.removed")
        self._real: dict[str, Any] = {}

    def fails_here(self, operation: str, path: str) -> bool:
        """Count an operation; true if it is to fail, and no return at all if the process is to die."""
        with self._lock:
            self.count += 1
            if self.count != self.number:
                return False
            descriptor = self._real["open"](self._report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            self._real["write"](descriptor, f"{operation} {os.path.relpath(path, self.root)}".encode())
            os.close(descriptor)
            if self.fault == "power":
                self._lose_power()
            if self.fault in DEADLY:
                os._exit(DIED)
            return True

    def error(self, path: str) -> OSError:
        """Return the error of a failed operation."""
        return OSError(ERRORS[self.fault], os.strerror(ERRORS[self.fault]), path)

    def step(self, operation: str, path: str) -> None:
        """Count an operation and raise if it is to fail."""
        if self.fails_here(operation, path):
            raise self.error(path)

    def holds(self, path: str) -> bool:
        """Tell whether *path* is of the folder, or the folder itself."""
        return path == self.root or path.startswith(self.root + os.sep)

    # What a loss of power would undo.

    def renamed(self, folder: str, undo: Callable[[], None]) -> None:
        """Note a change of a folder's names, made durable by flushing that folder."""
        self._names.append((folder, undo))

    def _lose_power(self) -> None:
        for _, undo in reversed(self._names):
            with contextlib.suppress(OSError):  # what it was about went in another undoing
                undo()
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                size = self._flushed.get(os.stat(path).st_ino)
                if size is not None:
                    os.truncate(path, size)

    def keep(self, path: str) -> Callable[[], None]:
        """Return what brings back a file that is about to lose its name."""
        self._removed.mkdir(exist_ok=True)
        kept = self._removed / str(len(list(self._removed.iterdir())))
        os.link(path, kept)
        return lambda: self._real["replace"](kept, path)

    # The operations.

    def install(self) -> None:
        """Stand between the process and the system; there is no way back."""
        for name in ("open", "write", "fsync", "replace", "unlink", "mkdir", "rmdir", "ftruncate"):
            self._real[name] = getattr(os, name)
            setattr(os, name, getattr(self, f"_{name}"))
        if hasattr(os, "copy_file_range"):
            self._real["copy_file_range"] = os.copy_file_range
            os.copy_file_range = self._copy_file_range
        _disk.FileIO = lambda descriptor, mode: _File(self, descriptor, mode)  # type: ignore[misc,assignment]
        self._execute, self._execute_many = DefaultDialect.do_execute, DefaultDialect.do_executemany
        self._commit = DefaultDialect.do_commit
        disk = self
        DefaultDialect.do_execute = lambda s, *a, **k: disk._statement(disk._execute, s, *a, **k)
        DefaultDialect.do_executemany = lambda s, *a, **k: disk._statement(disk._execute_many, s, *a, **k)
        DefaultDialect.do_commit = lambda s, connection: disk._committing(s, connection)

    def _full(self, path: Any, dir_fd: int | None) -> str:
        path = os.fspath(path)
        if dir_fd is not None and not os.path.isabs(path):
            path = os.path.join(self._paths.get(dir_fd, "/"), path)
        return str(path)

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        full = self._full(path, dir_fd)
        with self._lock:
            new = self.holds(full) and bool(flags & os.O_CREAT) and not os.path.lexists(full)
            if new:
                self.step("create", full)
            descriptor = self._real["open"](path, flags, mode, dir_fd=dir_fd)
            self._paths[descriptor] = full
            if new and not os.path.basename(full).startswith("vi.db"):
                self._flushed[os.fstat(descriptor).st_ino] = 0
                self.renamed(os.path.dirname(full), lambda: self._real["unlink"](full))
        return int(descriptor)

    def _changing(self, operation: str, descriptor: int) -> str | None:
        path = self._paths.get(descriptor)
        if path is None or not self.holds(path):
            return None
        info = os.fstat(descriptor)
        self._flushed.setdefault(info.st_ino, info.st_size)
        return path

    def writing(self, descriptor: int, data: Any, write: Callable[[Any], int]) -> int:
        """Write *data*; a failure comes after half of it."""
        with self._lock:
            path = self._changing("write", descriptor)
            half = memoryview(data)[: len(data) // 2]
            if path is not None and self.count + 1 == self.number:
                write(half)
            if path is not None:
                self.step("write", path)
            return write(data)

    def _write(self, descriptor: int, data: Any) -> int:
        return self.writing(descriptor, data, lambda piece: int(self._real["write"](descriptor, piece)))

    def _ftruncate(self, descriptor: int, length: int) -> None:
        with self._lock:
            path = self._changing("truncate", descriptor)
            if path is not None:
                self.step("truncate", path)
            self._real["ftruncate"](descriptor, length)

    def _copy_file_range(self, source: int, target: int, count: int) -> int:
        with self._lock:
            path = self._changing("copy", target)
            if path is not None:
                self.step("copy", path)
            return int(self._real["copy_file_range"](source, target, count))

    def _fsync(self, descriptor: int) -> None:
        with self._lock:
            path = self._paths.get(descriptor, "")
            if not self.holds(path) and path != os.path.dirname(self.root):
                return
            self.step("flush", path)
            # Nothing is sent to the disk itself: what a flush is worth is known here.
            self._flushed.pop(os.fstat(descriptor).st_ino, None)
            self._names = [entry for entry in self._names if entry[0] != path]

    def _replace(self, source: Any, target: Any) -> None:
        before, after = self._full(source, None), self._full(target, None)
        with self._lock:
            self.step("rename", after)
            restore = self.keep(after) if os.path.lexists(after) else None
            self._real["replace"](source, target)

            def undo() -> None:
                self._real["replace"](after, before)
                if restore is not None:
                    restore()

            self.renamed(os.path.dirname(after), undo)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        full = self._full(path, dir_fd)
        with self._lock:
            if not self.holds(full) or not os.path.lexists(full):
                self._real["unlink"](path, dir_fd=dir_fd)
                return
            self.step("remove", full)
            self.renamed(os.path.dirname(full), self.keep(full))
            self._real["unlink"](path, dir_fd=dir_fd)

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        full = self._full(path, dir_fd)
        with self._lock:
            if self.holds(full) and not os.path.lexists(full):
                self.step("mkdir", full)
                self.renamed(os.path.dirname(full), lambda: shutil.rmtree(full, ignore_errors=True))
            self._real["mkdir"](path, mode, dir_fd=dir_fd)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        full = self._full(path, dir_fd)
        with self._lock:
            if self.holds(full):
                self.step("rmdir", full)
                self.renamed(os.path.dirname(full), lambda: self._real["mkdir"](full))
            self._real["rmdir"](path, dir_fd=dir_fd)

    def _statement(self, run: Callable[..., None], dialect: Any, cursor: Any, statement: str, *rest: Any) -> None:
        words = statement.lstrip()
        if words.startswith(_WRITING) and self.fails_here(words.partition("\n")[0][:60], self._database):
            self._refuse(lambda: self._execute(dialect, cursor, "ROLLBACK", ()))
        run(dialect, cursor, statement, *rest)

    def _committing(self, dialect: Any, connection: Any) -> None:
        if self.fails_here("before COMMIT", self._database):
            self._refuse(connection.rollback)
        self._commit(dialect, connection)
        # A commit that SQLite calls failed is undone for this process, so only death can come after one that was made.
        if self.fault in DEADLY:
            self.fails_here("after COMMIT", self._database)

    def _refuse(self, roll_back: Callable[[], None]) -> None:
        """Fail as SQLite does: it undoes the whole transaction by itself."""
        with contextlib.suppress(sqlite3.OperationalError):  # there may be none
            roll_back()
        message = "database or disk is full" if self.fault == "enospc" else "disk I/O error"
        raise sqlite3.OperationalError(message)


class _File(io.FileIO):
    def __init__(self, disk: Disk, descriptor: int, mode: str) -> None:
        super().__init__(descriptor, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        return self._disk.writing(self.fileno(), data, super().write)
