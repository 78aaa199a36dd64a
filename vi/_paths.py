"""Paths as people give them: ``~``, relative ones, no home folder, a current folder that was deleted.

`Path.home()` and `Path.expanduser()` raise where the system knows no home folder of the user (a container that runs
under a number without a name), `Path.cwd()` where the current folder is gone. Here neither reaches the caller.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ._checks import must_be
from ._redact import brief
from .errors import ViError, ViInvalidParameterError, ViPathError

_ENCODING = sys.getfilesystemencoding()
LACKING = f"file names here are in {_ENCODING}, which lacks a character of it"
"""Why a name cannot be one of a file here."""
USE_UTF_8 = "Use other characters." if _ENCODING == "utf-8" else "Set PYTHONUTF8=1, or use other characters."
"""The next step then."""


def as_path(value: object, name: str, error: type[ViError] = ViPathError) -> Path:
    """Return a path that was given as *name*, with ``~`` and ``~user`` replaced.

    Raises `ViInvalidParameterError` for what cannot be a path, and *error* where ``~`` stands for no folder, the
    current folder, to which a relative path belongs, was deleted, or file names here lack a character.
    """
    if not isinstance(value, (str, os.PathLike)) or not isinstance(text := os.fspath(value), str):
        raise must_be(name, "a path", value)
    check_path_text(text, name)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise error(f"{name} {brief(text)} cannot be used: {LACKING}.", path=text, suggestion=USE_UTF_8) from None
    path = expand(text)
    first = path.split("/", 1)[0] if os.name != "nt" else path.replace("\\", "/").split("/", 1)[0]
    if first.startswith("~") and not os.path.lexists(first):
        whose = f"user {first[1:]!r} has" if first != "~" else "you have"
        raise error(
            f"{name} {text!r} cannot be used: {whose} no home folder here.",
            path=text,
            suggestion="Give an absolute path.",
        )
    if not Path(path).is_absolute() and current_folder() is None:
        raise error(
            f"{name} {text!r} cannot be used: the current folder was deleted.",
            path=text,
            suggestion="Change to another folder, or give an absolute path.",
        )
    return Path(path)


def check_path_text(text: str, name: str, parameter: str | None = None) -> None:
    """Refuse what no path can be; *name* is what the error calls it, and the *parameter* if no other is given."""
    problem = "must not be empty" if not text else f"holds a NUL character: {brief(text)}" if "\0" in text else None
    if problem:
        raise ViInvalidParameterError(f"{name} {problem}.", parameter=parameter or name)
    if sys.platform == "win32" and '"' in text:
        raise ViInvalidParameterError(
            f"{name} holds a quote, which no path of Windows does: {brief(text)}.",
            parameter=parameter or name,
            suggestion='Leave out the backslash before a closing quote: "C:\\my images", not "C:\\my images\\".',
        )


def expand(text: str) -> str:
    """Return *text* with a leading ``~`` or ``~user`` replaced; as it is where that folder does not exist."""
    if text == "~" or text.startswith(("~/", "~" + os.sep)):
        base = home()
        return text if base is None else os.path.join(base, text[2:]) if text[2:] else str(base)  # noqa: PTH118
    if not text.startswith("~"):
        return text
    # Windows does not tell the folders of others: Python puts any name beside the own one there.
    return os.path.expanduser(text) if os.path.isdir(os.path.expanduser(Path(text).parts[0])) else text  # noqa: PTH111, PTH112


def home() -> Path | None:
    """Return the user's home folder; None where the system knows none."""
    found = os.path.expanduser("~") if os.name == "nt" or os.environ.get("HOME") else _home_of_account()  # noqa: PTH111
    return path if (path := Path(found)).is_absolute() else None


def _home_of_account() -> str:
    if sys.platform == "win32":
        return ""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):
        return ""


def current_folder() -> str | None:
    """Return the current folder; None when it was deleted."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return None


def advice_on_missing() -> str:
    """Return the next step for a path that does not exist."""
    if (place := current_folder()) is None:
        return "The current folder was deleted: change to another one, or give absolute paths."
    return f"Check the spelling; relative paths are looked up in {place}."


def temporary_folder() -> Path:
    """Return a folder for this user's private files without a home folder: created on demand, closed to others.

    In a folder that all users share, the name may have been taken by somebody else: then the folder is of this process
    alone. Without a temporary folder either, the returned folder cannot be used.
    """
    import tempfile

    try:
        shared = tempfile.gettempdir()
    except OSError:
        return Path(os.devnull)
    if sys.platform == "win32":
        user = os.environ.get("USERNAME", "")
    else:
        user = str(os.getuid())
    folder = Path(shared) / f"vi-{user}"
    with suppress(OSError):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        ours = sys.platform == "win32" or (status.st_uid == os.getuid() and not status.st_mode & 0o077)
        if stat.S_ISDIR(status.st_mode) and ours:
            return folder
    return _folder_of_process(os.getpid())


@lru_cache(maxsize=1)
def _folder_of_process(_: int) -> Path:
    import tempfile

    try:
        return Path(tempfile.mkdtemp(prefix="vi-"))
    except OSError:
        return Path(os.devnull)
