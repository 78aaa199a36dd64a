"""What processes that were killed left in a folder that others serve: told by its age, since others write there."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from .blobs import OBJECT, THUMBNAIL

_LOOKED_AT_SECONDS = 4 * 24 * 3600.0
"""Folders in which nothing was made or removed for so long were looked through before."""


@attrs.frozen
class Leftovers:
    """Old files below the folder of the bytes. Blocking."""

    root: Path

    def objects(self, old_seconds: float) -> list[str]:
        """Return the ids of objects that are older than *old_seconds*, in folders that changed in the last days."""
        found: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            for folder in (self.root / "objects").iterdir():
                if _age(folder) < _LOOKED_AT_SECONDS:
                    found += [path.name for path in _old(folder, old_seconds) if OBJECT.fullmatch(path.name)]
        return found

    def uploads(self, old_seconds: float) -> list[str]:
        """Return the ids of multipart uploads whose parts are older than *old_seconds*."""
        return [path.name for path in _old(self.root / "parts", old_seconds)]

    def remove(self, uploads: Sequence[str], old_seconds: float) -> None:
        """Remove the parts of *uploads*, partly written files, and thumbnails without an object."""
        for upload in uploads:
            with contextlib.suppress(OSError):
                shutil.rmtree(self.root / "parts" / upload)
        for path in _old(self.root / "staging", old_seconds):
            with contextlib.suppress(OSError):
                path.unlink()
        objects = self.root / "objects"  # missing where a bucket has them
        for folder in objects.iterdir() if objects.is_dir() else ():
            if _age(folder) < _LOOKED_AT_SECONDS:
                for path in _old(folder, old_seconds):
                    if path.suffix == THUMBNAIL and not path.with_suffix("").exists():
                        with contextlib.suppress(OSError):
                            path.unlink()


def _old(folder: Path, seconds: float) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if _age(path) >= seconds:
                yield path


def _age(path: Path) -> float:
    """Return the seconds since a file was written or got its name."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    return time.time() - max(found.st_mtime, found.st_ctime)
