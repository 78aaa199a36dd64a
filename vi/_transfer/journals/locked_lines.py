"""Files of JSON lines in the user's cache folder, each locked by the run that writes it until that run ends.

Lines are appended with one system call each, so a process killed at any instant leaves at most a torn last line, which
is not read. The system releases the lock when its holder dies, whatever happens to the file.

Some file systems grant every lock to everybody. So the first line also names the process that writes, and a file whose
process lives on this machine is not taken over, whatever the lock says.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..._disk import warn_of_others, when_free
from ..._lock import try_lock
from ..._paths import as_path, home, temporary_folder
from ...errors import ViConfigurationError

CACHE_VARIABLE = "VI_CACHE_DIR"
MAX_BYTES = 256 << 20
MAX_LINE = 64 << 10
KEPT_SECONDS = 30 * 86_400

_FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_FLAGS |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NAMES_TRIED = 100

_text_of = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_held: dict[int, str] = {}
"""The files that this process holds, by their descriptors."""


def is_old(began: float) -> bool:
    """Tell whether a journal of that time is no longer kept."""
    return time.time() - began >= KEPT_SECONDS


def cache_folder() -> Path:
    """Return where unfinished transfers are recorded: in the temporary folder without a home folder."""
    if named := os.environ.get(CACHE_VARIABLE):
        return as_path(named, CACHE_VARIABLE, ViConfigurationError) / "transfers"
    base, below = ("LOCALAPPDATA", "AppData/Local") if os.name == "nt" else ("XDG_CACHE_HOME", ".cache")
    if named := os.environ.get(base):
        return Path(named) / "vi" / "transfers"
    folder = home()
    return folder / below / "vi" / "transfers" if folder is not None else temporary_folder() / "transfers"


def create(folder: Path, prefix: str) -> tuple[Path, int]:
    """Make a file of an unused name ``<prefix>.<random>.jsonl`` and lock it."""
    for place in (folder, folder.parent):
        warn_of_others(place, written=True)
    for _ in range(_NAMES_TRIED):
        path = folder / f"{prefix}.{secrets.token_hex(4)}.jsonl"
        try:
            descriptor = lock(path, os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            continue
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        if descriptor is not None:
            return path, descriptor
        # Another run has locked it between the making and the locking: it takes it for a dead one's and removes it.
    raise OSError(errno.EEXIST, "no name for a journal is free", str(folder))


def lock(path: Path, flags: int = 0) -> int | None:
    """Open and lock a file; None when a living run holds it, its run has just removed it, or it is none of a run."""
    try:
        descriptor = os.open(path, _FLAGS | flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        # One of a second name is not ours alone, and would be emptied; one of none was just removed.
        free = stat.S_ISREG(status.st_mode) and try_lock(descriptor) and os.fstat(descriptor).st_nlink == 1
        if free and (flags & os.O_CREAT or not _is_written(path)):
            _held[descriptor] = str(path)
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def owner() -> dict[str, Any]:
    """Return what a file's first line says of the process that writes it."""
    return {"host": platform.node(), "pid": os.getpid(), "started": _started(os.getpid())}


def _is_written(path: Path) -> bool:
    """Tell whether a living process of this machine writes the file: this one, or that of its first line."""
    if str(path) in _held.values():
        return True
    head = next(read(path), {})
    pid = head.get("pid")
    if type(pid) is not int or pid <= 0 or pid == os.getpid() or head.get("host") != platform.node():
        return False
    return _lives(pid) and head.get("started") == _started(pid)


def _lives(pid: int) -> bool:
    if sys.platform == "win32":  # a signal would end it, and there the locks are the system's own
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _started(pid: int) -> int | None:
    """Return when a process began, in the system's own count; it tells one from a later one of the same number."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def release(descriptor: int) -> None:
    """Close a file and release its lock."""
    _held.pop(descriptor, None)
    os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Tell whether a living run holds a file."""
    descriptor = lock(path)
    if descriptor is None:
        return True
    release(descriptor)
    return False


def remove(path: Path, descriptor: int) -> None:
    """Remove a locked file and close it."""
    # Emptied first: where it has to be unlocked before it is removed, another run may take it, and learns nothing.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
    removed = False
    with contextlib.suppress(OSError):
        path.unlink()
        removed = True
    release(descriptor)
    if not removed:  # Windows removes no file that is open
        with contextlib.suppress(OSError):
            when_free(os.unlink, path)


def close_all(descriptors: list[int]) -> None:
    """Close several files."""
    while descriptors:
        release(descriptors.pop())


class LineWriter:
    """Appends lines to an open file, up to a bound."""

    def __init__(self, descriptor: int) -> None:
        self.size = 0
        self._descriptor = descriptor
        self._torn = False

    def write(self, *lines: dict[str, Any]) -> None:
        """Append *lines* in one call; one that is too long, or goes beyond the bound, is left out."""
        data = bytearray(b"\n" if self._torn else b"")
        for line in lines:
            text = _text_of(line).encode("utf-8", "surrogatepass") + b"\n"
            if len(text) <= MAX_LINE and self.size + len(data) + len(text) <= MAX_BYTES:
                data += text
        self.size += len(data)
        # A full disk must not end a transfer that needs no disk: the next run then knows less.
        with contextlib.suppress(OSError):
            written = os.write(self._descriptor, data) if data else 0
            self._torn = written < len(data) if written else self._torn


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Read the lines that can be read, passing over others, the torn last one first of all."""
    for text in _lines(path):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            yield line


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        whole = True
        while text := file.readline(MAX_LINE):
            ends = text.endswith(b"\n")
            if whole and ends:
                yield text
            whole = ends
