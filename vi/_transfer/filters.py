"""Which files and names are taken: patterns that mean what they mean in a .gitignore.

A filter protects files from being sent and assets from being deleted, so it fails closed: what cannot be a pattern, or
cannot be read, is an error, and a pattern that matched nothing is reported. The same rule is asked about a local path
below its folder, before a folder is entered, and about a remote name.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from .._checks import must_be_of_type
from .._disk import read_regular
from .._optional import require
from ..errors import ViInvalidParameterError, ViPathError
from . import file_system

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".viignore"
MOST_IGNORED = 1 << 20
"""Bytes of such a file: it lies in a folder that somebody else may have made."""
_ESCAPES = re.compile(r"#.*|[^\\]*+(?:\\[\\#!\[\] ][^\\]*+)*+", re.DOTALL)
"""Patterns in which no backslash can be one that was to end a folder, as it does in paths of Windows."""


def read_patterns(given: object, parameter: str) -> tuple[str, ...]:
    """Return patterns as a tuple: None means none, a text is one pattern, anything else is read once."""
    if given is None:
        return ()
    if isinstance(given, str):
        given = (given,)
    if isinstance(given, (bytes, bytearray, memoryview)) or not isinstance(given, Iterable):
        raise must_be_of_type(parameter, "a pattern or a list of patterns", given)
    patterns = tuple(given)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ViInvalidParameterError(
                f"{parameter} must hold patterns as text, got {type(pattern).__name__}: {pattern!r:.60}.",
                parameter=parameter,
            )
        if not pattern.strip() or pattern.startswith("#") or "\n" in pattern or pattern.strip("/") == "":
            raise ViInvalidParameterError(
                f"{parameter} holds {pattern!r:.60}, which matches nothing.",
                parameter=parameter,
                suggestion="Patterns are those of .gitignore: '*.gif', 'private/', '/top.png'; a leading # is written \\#.",
            )
        _spec((pattern,), parameter)
    return patterns


def _letters(text: str) -> str:
    """Return a pattern or a path with its letters composed, and small where file names that differ in case are one.

    Systems and keyboards differ in how they write an accent, and people in how they write the name of a folder.
    """
    text = unicodedata.normalize("NFC", text)
    return text.lower() if file_system.FOLDS else text


def _normal(pattern: str) -> str:
    """Return the pattern without a leading ``./``, and so that a folder of which it takes all is not matched itself."""
    pattern = _letters(pattern)
    sign, rest = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    if rest.startswith("./"):
        rest = rest[1:]
    if rest.endswith("/**"):
        rest = rest[:-1]  # the same, since folders above a path are asked about too
    return sign + rest


def _spec(patterns: Sequence[str], parameter: str) -> GitIgnoreSpec:
    if sys.platform == "win32" and (wrong := [one for one in patterns if not _ESCAPES.fullmatch(one)]):
        raise ViInvalidParameterError(
            f"{parameter} holds {wrong[0]!r:.60}, in which the backslash ends no folder.",
            parameter=parameter,
            suggestion="Write / between folders, and [*] or [?] for these characters in the name of an asset.",
        )
    pathspec: Any = require("pathspec", "A pattern")
    try:
        found: GitIgnoreSpec = pathspec.GitIgnoreSpec.from_lines([_normal(one) for one in patterns], backend="simple")
        return found
    except ValueError as error:
        raise ViInvalidParameterError(
            f"{parameter} holds a pattern that cannot be read: {error}.",
            parameter=parameter,
            suggestion="Patterns are those of .gitignore: '*.gif', 'private/', '/top.png', '**/x', '!kept.png'.",
        ) from None


@attrs.define(eq=False)
class Filters:
    """Which files of a folder, and which names of a dataset, are taken.

    *include* and *exclude* are patterns as in a .gitignore; *ignored* are the lines of the folder's .viignore, which
    come before those of *exclude*. As in git, what lies in an excluded folder cannot be taken back by a later ``!``.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    follow_links: bool = False
    ignored: Sequence[str] | None = None
    _unmatched: dict[tuple[str, str], GitIgnoreSpec] | None = attrs.field(
        default=None, alias="unmatched", kw_only=True, repr=False
    )
    _folders: dict[str, bool] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self._unmatched is None:
            self._unmatched = {
                (parameter, pattern): _spec((pattern.removeprefix("!"),), parameter)
                for parameter, patterns in (("include", self.include), ("exclude", self.exclude))
                for pattern in patterns
            }

    def beside(self, folder: str | os.PathLike[str]) -> Filters:
        """Return these filters together with the .viignore of *folder*; itself when that has been read. Blocking."""
        if self.ignored is not None:
            return self
        return self.with_ignored(read_ignore_file(os.path.join(folder, IGNORE_FILE)))  # noqa: PTH118

    def with_ignored(self, lines: Sequence[str]) -> Filters:
        """Return these filters with the lines of a .viignore; what they match counts for both."""
        return Filters(self.include, self.exclude, self.follow_links, lines, unmatched=self._unmatched)

    @functools.cached_property
    def _included(self) -> GitIgnoreSpec | None:
        return _spec(self.include, "include") if self.include else None

    @functools.cached_property
    def _excluded(self) -> GitIgnoreSpec | None:
        patterns = (*(self.ignored or ()), *self.exclude)
        return _spec(patterns, "exclude" if not self.ignored else f"exclude or {IGNORE_FILE}") if patterns else None

    @functools.cached_property
    def _emptied(self) -> GitIgnoreSpec | None:
        """The folders of which a pattern such as ``private/**`` takes all, unless a ``!`` may take something back."""
        patterns = [_normal(pattern).rstrip() for pattern in (*(self.ignored or ()), *self.exclude)]
        if any(pattern.startswith("!") for pattern in patterns):
            return None
        above = [pattern[:-2] for pattern in patterns if pattern.endswith("/*") and not pattern.startswith("#")]
        folders = [f"/{folder.lstrip('/')}/" for folder in above if folder.strip("/*") and not folder.endswith("\\")]
        return _spec(folders, "exclude") if folders else None

    def takes(self, path: str) -> bool:
        """Tell whether a file is taken, by its path below the folder or its remote name."""
        path = _letters(path)
        if self._unmatched:
            self._mark(path)
        if self._excluded is not None:
            folder = path.rpartition("/")[0]
            if (folder and self.leaves_out(folder)) or self._excluded.match_file(path):
                return False
        return self._included is None or self._included.match_file(path)

    def leaves_out(self, folder: str) -> bool:
        """Tell whether a folder, and so everything in it, is excluded."""
        if self._excluded is None:
            return False
        folder = _letters(folder)
        known = self._folders.get(folder)
        if known is None:
            above = folder.rpartition("/")[0]
            if self._unmatched:
                self._mark(f"{folder}/")
            known = bool(above and self.leaves_out(above)) or self._excluded.match_file(f"{folder}/")
            if not known and self._emptied is not None and self._emptied.match_file(f"{folder}/"):
                known = True
                if self._unmatched:
                    self._mark(f"{folder}/\1")
            self._folders[folder] = known
        return known

    def _mark(self, path: str) -> None:
        assert self._unmatched is not None
        for key in [key for key, spec in self._unmatched.items() if spec.match_file(path)]:
            del self._unmatched[key]

    @property
    def notes(self) -> list[str]:
        """What is to be said once everything has been seen: the patterns that matched nothing."""
        return [f"{parameter} {pattern!r:.80} matched nothing" for parameter, pattern in self._unmatched or ()]


def read_ignore_file(path: str) -> list[str]:
    """Return the lines of a .viignore, none if there is none; `ViPathError` when it is there and cannot be read."""
    try:
        data = read_regular(path, MOST_IGNORED + 1)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ViPathError(
            f"{path} cannot be read: {error.strerror}.",
            path=path,
            suggestion="It lists files that must not be sent: make it readable, or remove it.",
        ) from None
    return read_ignored(data, path)


def read_ignored(data: bytes, path: str) -> list[str]:
    """Return the lines of a .viignore's contents; a byte order mark and the line ends of Windows are fine."""
    if len(data) > MOST_IGNORED:
        limit = f"{MOST_IGNORED >> 20} MiB"
        raise ViPathError(f"{path} is longer than {limit}.", path=path, suggestion="Use patterns instead of names.")
    try:
        lines = [line.removesuffix("\r") for line in data.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise ViPathError(f"{path} is not UTF-8 text.", path=path, suggestion="Save it as UTF-8.") from None
    for number, line in enumerate(lines, 1):
        _spec((line,), f"Line {number} of {path}")
    return lines
