"""Previews: pictures larger than a thumbnail, made on request and stored within a size limit.

Each can be made again; the least recently used ones are removed first.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from .files import read_summed, write_summed
from .own import discard, make_own_folder

SMALL, LARGE = SIDES = (512, 1440)
"""Pixels of the longer side: for a tile of a grid on a dense screen, and for a screen."""
MOST = 4000
MOST_BYTES = 256 << 20


class Previews:
    """The previews of objects, below one folder. Blocking."""

    def __init__(self, root: Path) -> None:
        make_own_folder(root)
        self._root = root
        self._lock = threading.Lock()

    def read(self, blob: str, side: int) -> bytes | None:
        """Return the preview of an object that fits *side*; None when it is missing or damaged."""
        path = self._path(blob, side)
        data = read_summed(path)
        if data is not None:
            with contextlib.suppress(OSError):
                os.utime(path)
        return data

    def write(self, blob: str, side: int, data: bytes) -> None:
        """Store a preview, unless the disk refuses, and remove the least recently used ones over the limit."""
        if len(data) > MOST_BYTES:
            return
        with self._lock, contextlib.suppress(OSError):
            try:
                write_summed(self._path(blob, side), data)
            except OSError:
                self._path(blob, side).unlink(missing_ok=True)
                return
            self._evict()

    def remove(self, blob: str) -> None:
        """Remove the previews of an object, if there are any."""
        for side in SIDES:
            discard(self._path(blob, side))

    def sweep(self, is_there: Callable[[str], bool]) -> None:
        """Remove the previews of objects that do not exist."""
        for name in self._names():
            if not is_there(name.rpartition("-")[0] or name):
                with contextlib.suppress(OSError):
                    (self._root / name).unlink()

    def _path(self, blob: str, side: int) -> Path:
        return self._root / f"{blob}-{side}"

    def _names(self) -> list[str]:
        return [path.name for path in self._root.iterdir()]

    def _evict(self) -> None:
        kept = []
        for name in self._names():
            with contextlib.suppress(FileNotFoundError):
                found = (self._root / name).stat()
                kept.append((found.st_mtime_ns, found.st_size, name))
        kept.sort(reverse=True)
        left = MOST_BYTES
        for position, (_, size, name) in enumerate(kept):
            left -= size
            if position >= MOST or left < 0:
                discard(self._root / name)
