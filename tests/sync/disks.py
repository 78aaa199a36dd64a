"""A folder on a file system of another kind: every call of the system below it goes through that one's rules."""

from __future__ import annotations

import builtins
import errno
import io
import os
import re
import unicodedata
from collections.abc import Callable
from typing import Any, Literal

import attrs
import pytest

from vi._transfer import open_folder

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


def _decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _without_ignorable(name: str) -> str:
    return re.sub("[\u00ad\u034f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]", "", _decomposed(name))


def _upper(name: str) -> str:
    return "".join(c.upper() if len(c.upper()) == 1 else c for c in name)


@attrs.frozen
class Kind:
    """What a kind of file system does with names; written here apart from what the code under test knows of it."""

    key: Callable[[str], str]
    """Names for which it is equal are one."""
    form: Literal["NFC", "NFD"] | None = None
    """The Unicode form in which names come back, if not as they were written."""
    special: bool = True
    """Whether it holds ``<>:"\\|?*``."""
    windows: bool = False
    """Whether it refuses names of devices, and takes trailing dots and blanks away."""
    capitals: bool = True
    """Whether names come back with capital letters."""
    unassigned: bool = True
    """Whether it holds characters that its version of Unicode does not know."""


KINDS = {
    "APFS": Kind(_decomposed, unassigned=False),
    "HFS+": Kind(_without_ignorable, "NFD"),
    "ZFS": Kind(_decomposed, "NFC"),
    "ext4 with casefold": Kind(_without_ignorable),
    "exFAT": Kind(_upper, special=False),
    "NTFS": Kind(_upper, special=False, windows=True),
    "NTFS, ignore_case": Kind(_upper, special=False, windows=True, capitals=False),  # of lowntfs-3g
}


class OtherDisk:
    """A folder *root* that holds names as a file system of another kind does."""

    def __init__(self, root: str, kind: Kind) -> None:
        self.root, self.kind = root, kind
        self._lstat, self._readlink, self._listdir = os.lstat, os.readlink, os.listdir
        self._known: dict[str, dict[str, str]] = {}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of the system's calls."""
        if self.kind.windows:  # which opens nothing relative to a folder
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
            if name == "file":
                makes = not {*"wax"}.isdisjoint([*arguments[1:2], options.get("mode", "")][0])
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
        kind = self.kind
        if kind.windows:
            part = part.rstrip(". ") or part
        key = kind.key(part)
        if (known := self._known.get(folder)) is None:
            there = self._listdir(folder) if self._is_there(folder) else []
            known = self._known[folder] = {kind.key(one): one for one in there}
        if key in known and not self._is_there(f"{folder}/{known[key]}"):
            del known[key]
        if key in known:
            return known[key]
        if makes:
            if not kind.special and re.search(r'[<>:"\\|?*\x00-\x1f]', part):
                raise OSError(errno.EINVAL, "Invalid argument", part)
            if kind.windows and re.match(r"(?i:con|prn|aux|nul|com\d|lpt\d)( *\.|$)", part):
                raise OSError(errno.EINVAL, "Invalid argument", part)
            if not kind.unassigned and any(unicodedata.category(c) in ("Cn", "Cs") for c in part):
                raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ), part)
            written = unicodedata.normalize(kind.form, part) if kind.form else part
            known[key] = written if kind.capitals else written.lower()
            return known[key]
        return part
