"""What the file system of a folder holds, found out by asking it: the one place that does."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import attrs

from .names import EXTENDED, POSIX, STRICT, NameRules, inside, is_kept_by_windows, key_of, local_path, remote_name

ENCODING = sys.getfilesystemencoding()
FOLDS = sys.platform in ("win32", "darwin")
"""Whether folders take names that differ in case for one, as a rule of the system."""
_NFC, _NFD = "\u00e9", "e\u0301"


def rules_of(folder: str | os.PathLike[str]) -> NameRules:
    """Return which names *folder*, or the nearest folder above that is there, holds. Blocking.

    Empty files of telling names are made in a temporary folder and looked at; where none can be made, it is assumed
    what is usual on the platform. Windows is not asked: by extended paths it makes what no other program can open, and
    what a scanner has open there would stay behind.
    """
    if sys.platform == "win32":
        return _usual()
    place = Path(folder).absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".vi-", dir=place, ignore_cleanup_errors=True) as probe:
            return _ask(probe)
    except OSError:
        return _usual()


def _usual() -> NameRules:
    if sys.platform == "win32":
        return NameRules(special=False, edges=False, devices=False, folds=True, wide=True)
    return NameRules(folds=sys.platform == "darwin", wide=sys.platform == "darwin", encoding=ENCODING)


def _ask(probe: str) -> NameRules:
    def make(name: str) -> str | None:
        """Make a file and return under which name it is listed."""
        before = set(os.listdir(probe))  # noqa: PTH208
        try:
            os.close(os.open(os.path.join(probe, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # noqa: PTH118
        except (OSError, ValueError):
            return None
        return next(iter(set(os.listdir(probe)) - before), None)  # noqa: PTH208

    def holds(name: str) -> bool:
        return make(name) == name

    if not holds("lower"):
        return attrs.evolve(STRICT, encoding=ENCODING)
    folds_case = os.path.lexists(os.path.join(probe, "LOWER"))  # noqa: PTH118
    composed = make(f"{_NFC}1")
    folds_forms = os.path.lexists(os.path.join(probe, f"{_NFD}1"))  # noqa: PTH118
    decomposed = make(f"{_NFD}2")
    return NameRules(
        special=holds('a<>:"\\|?*b'),
        edges=holds("edge. ") and holds("edge."),
        devices=holds("aux"),
        capitals=holds("Capital"),
        form="NFD" if composed == f"{_NFD}1" else "NFC" if decomposed == f"{_NFC}2" else None,
        folds=folds_case or folds_forms,
        wide=holds("\u3042" * 200),
        encoding=ENCODING,
    )


def opens_itself(path: str, *, folder: bool = False) -> bool:
    """Tell whether a listed *path* leads to what was listed.

    Windows cuts dots and blanks at the end of a name, and takes ``aux.png`` for a device up to version 10; such files
    come from other systems, and from programs that use extended paths.
    """
    if sys.platform == "win32" and not path.startswith(EXTENDED):
        name = os.path.basename(path)  # noqa: PTH119
        if not is_kept_by_windows(name):
            whole = os.path.abspath(os.path.join(path, "x") if folder else path)  # noqa: PTH100, PTH118 - as it is opened
            return os.path.basename(os.path.dirname(whole) if folder else whole) == name  # noqa: PTH119, PTH120
    return True


def spellings(folder: str | os.PathLike[str], below: str) -> Collection[str]:
    """Return the names in a folder below *folder*, as the file system gives them back. Blocking."""
    try:
        return set(os.listdir(inside(folder, below)))  # noqa: PTH208
    except OSError:
        return ()


def local_paths(name: str) -> tuple[str, str]:
    """Return the paths, with ``/``, at which a file for *name* may be, by the mildest and the strictest rules."""
    return local_path(name, POSIX), local_path(name, STRICT)


def name_on_disk(path: str, folder: str | os.PathLike[str]) -> str:
    """Return the name that the file stands for to which *path* leads: its own, or that of a twin. Blocking."""
    parts: list[str] = []
    for part in path.split("/"):
        listed = spellings(folder, "/".join(parts))
        twins = (one for one in sorted(listed) if key_of(one) == key_of(part))
        parts.append(part if part in listed else next(twins, part))
    return remote_name("/".join(parts))


class OwnNames:
    """What files are called on disk, where a path may spell their names in another way; each folder is listed once."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, str]] = {}

    def of(self, folder: str, name: str) -> str:
        """Return the name of a file in *folder* as it is on disk. Blocking."""
        if not FOLDS:
            return name
        if (listed := self._listed.get(folder)) is None:
            listed = self._listed[folder] = {}
            for one in spellings(folder or os.curdir, ""):
                listed[one] = one
                listed.setdefault(key_of(one), one)
        return listed.get(name) or listed.get(key_of(name), name)


def is_same_file(name: str, path: str, root: str | os.PathLike[str]) -> bool:
    """Tell whether the file system takes a path for *name* below *root* for *path*. Blocking."""
    for relative in local_paths(name):
        try:
            if os.path.samefile(inside(root, relative), path):  # noqa: PTH121
                return True
        except (OSError, ValueError):
            continue
    return False
