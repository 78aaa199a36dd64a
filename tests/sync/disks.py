"""A folder on a file system of another kind: every call of the system below it goes through that one's rules."""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from vi._transfer import open_folder
from vi._transfer.names import key_of

_ONE = (
    "stat",
    "lstat",
    "open",
    "mkdir",
    "rmdir",
    "unlink",
    "remove",
    "listdir",
    "scandir",
    "access",
    "readlink",
    "utime",
)
_TWO = ("rename", "replace", "link")
_FOLDERS = ("src_dir_fd", "dst_dir_fd")
_MAKES = ("open", "mkdir", *_TWO)


class OtherDisk:
    """Below *root* names that differ in case or Unicode form are one, and come back in *form*.

    With *windows* it refuses what Windows refuses, and takes trailing dots and blanks away.
    """

    def __init__(self, root: str, form: str | None, *, windows: bool) -> None:
        self.root, self.form, self.windows = root, form, windows
        self._lstat, self._readlink = os.lstat, os.readlink
        self._known: dict[str, dict[str, str]] = {}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of the system's calls."""
        if self.windows:  # which opens nothing relative to a folder
            patch.setattr(open_folder, "RELATIVE", False)
        for name in (*_ONE, *_TWO):
            patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
        for module in (builtins, io):
            patch.setattr(module, "open", self._wrapped("file", builtins.open if module is builtins else io.open))

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        count = 2 if name in _TWO else 1

        def wrapper(*arguments: Any, **options: Any) -> Any:
            folders = [options.pop(option, None) for option in (_FOLDERS if count == 2 else ("dir_fd",))]
            makes = name in _MAKES and not (name == "open" and not arguments[1] & os.O_CREAT)
            given = [
                self.real(self._whole(one, folders[at]), makes=makes and at == count - 1)
                for at, one in enumerate(arguments[:count])
            ]
            return call(*given, *arguments[count:], **options)

        return wrapper

    def _whole(self, path: Any, folder: int | None) -> Any:
        """Return the path of a name that is given relative to an open folder."""
        return path if folder is None else f"{self._readlink(f'/proc/self/fd/{folder}')}/{os.fspath(path)}"

    def real(self, path: Any, *, makes: bool = False) -> Any:
        """Return the path that is really there, or under which something is really made."""
        if not isinstance(path, (str, os.PathLike)):
            return path
        text = os.path.abspath(os.fspath(path))  # noqa: PTH100
        if not text.startswith(self.root + os.sep):
            return path
        found = self.root
        parts = text[len(self.root) + 1 :].split(os.sep)  # noqa: PTH206
        for at, part in enumerate(parts):
            found = f"{found}/{self._spelled(found, part, makes=makes and at == len(parts) - 1)}"
        return found

    def _is_there(self, path: str) -> bool:
        try:
            self._lstat(path)
        except OSError:
            return False
        return True

    def _spelled(self, folder: str, part: str, *, makes: bool) -> str:
        if self.windows:
            part = part.rstrip(". ") or part
        key = key_of(part)
        known = self._known.setdefault(folder, {})
        if key in known and not self._is_there(f"{folder}/{known[key]}"):
            del known[key]
        if key in known:
            return known[key]
        if makes:
            if self.windows and re.search(r'[<>:"\\|?*\x00-\x1f]|^(?i:con|prn|aux|nul|com\d|lpt\d)( *\.|$)', part):
                raise OSError(errno.EINVAL, "Invalid argument", part)
            known[key] = unicodedata.normalize(self.form, part) if self.form else part  # type: ignore[arg-type]
            return known[key]
        return part
