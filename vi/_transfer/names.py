"""One map between the names of a dataset and paths below a folder, the same for every command.

A ``/`` in a name is a folder on disk. What the folder's file system cannot hold as it is, is written as ``%{3A}``: the
code points in hexadecimal, joined by dots. A name is read back from its path alone, so a copy that another tool made,
on another machine, is understood without a list beside it:

- ``remote_name(path)`` gives the name for every path, whatever rules it was written by;
- ``remote_name(local_path(name, rules)) == name`` for every name and all rules.

Two names that the file system takes for one (case, Unicode form) get distinct paths by writing all that could be folded
in one of them as ``%{..}``; which one depends on the names and on what is in the folder, not on an order.

Whoever may upload to a dataset chooses the names that others download: whatever the rules are, a path stays below its
folder, is not hidden, and holds no control characters.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal

import attrs

from .._media import media_type
from .sources.local import shown

LIMIT = 255
"""Bytes, or UTF-16 units where these count, that one part of a path may have."""
PIECE = 200
LONGEST = 3500
"""Bytes of a whole path below its folder; systems end paths at 4,096 or so."""
EXTENDED = "\\\\?\\"
"""How paths begin that Windows takes as they are written."""

_ALWAYS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_IGNORABLE = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Unicode's Default_Ignorable_Code_Point."""
_SPECIAL = re.compile(r'[<>:"\\|?*]')
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?", re.DOTALL)
_WRITTEN = re.compile(r"%\{([0-9A-Fa-f]{1,6}(?:\.[0-9A-Fa-f]{1,6})*)\}")
_EMPTY = "%{-}"
_EMPTIES = (_EMPTY, _EMPTY * 2)
_MORE = "%{+}"


@attrs.frozen
class NameRules:
    """What a file system holds as it is written, and which names it takes for one."""

    special: bool = True
    """Whether it holds ``<>:"\\|?*``."""
    edges: bool = True
    """Whether it keeps dots and blanks at the end."""
    devices: bool = True
    """Whether names such as CON and aux.png are files."""
    form: Literal["NFC", "NFD"] | None = None
    """The Unicode form in which it gives every name back, if not as it was written."""
    capitals: bool = True
    """Whether it keeps capital letters; some give every name back in small ones."""
    folds: bool = False
    """Whether names that differ in case or Unicode form are one."""
    wide: bool = False
    """Whether 255 counts UTF-16 units instead of bytes."""
    encoding: str = "utf-8"
    """The encoding in which Python gives it names: that of the locale, which may hold ASCII alone."""


POSIX = NameRules()
STRICT = NameRules(special=False, edges=False, devices=False)
"""What every file system can hold; used for names where the file system cannot be probed."""


def remote_name(path: str) -> str:
    """Return the name that *path*, below its folder and with ``/``, stands for."""
    if "%{" not in path:
        return path
    parts: list[str] = []
    more = False
    for part in path.split("/"):
        text, goes_on = (part.removesuffix(_MORE), part.endswith(_MORE))
        text = "" if text in _EMPTIES else _WRITTEN.sub(_read, text)
        if more:
            parts[-1] += text
        else:
            parts.append(text)
        more = goes_on
    return "/".join(parts) + (_MORE if more else "")


def local_path(name: str, rules: NameRules) -> str:
    """Return the path, with ``/``, for a name that has no twin."""
    if len(name) > LONGEST:
        return shortened(name)
    path = "/".join(_part(part, rules) for part in name.split("/"))
    path += _EMPTY * (not name or name.endswith("/"))  # a file, apart from a folder without a name
    return path if len(path) <= LONGEST // 4 or len(path.encode()) <= LONGEST else shortened(name)


def shortened(name: str) -> str:
    """Return a path for a name that no path can hold: the one that is not read back, but recognized by its name."""
    stem, dot, extension = name.rpartition("/")[2].rpartition(".")
    if not dot or len(extension) > 16:
        stem, dot, extension = name.rpartition("/")[2], "", ""
    return local_path(f"{stem[:40]}~{_short(name)}{dot}{extension}", STRICT)


def _part(part: str, rules: NameRules, *, folded: bool = False, dotted: bool = False) -> str:
    """Write one part of a name; *folded* writes out all that could be folded, *dotted* tells a folder from a file."""
    if not part:
        return _EMPTY
    written = _written(part, _unheld(part, rules, folded, dotted), rules)
    return written if _size(written, rules) <= LIMIT else _in_pieces(part, rules, folded, dotted)


def _unheld(part: str, rules: NameRules, folded: bool, dotted: bool = False) -> set[int]:
    """Return where the characters are that must be written out."""
    flags = {match.start() for match in _ALWAYS.finditer(part)}
    if part.startswith("."):  # hidden, or the folder itself, or the one above
        flags.add(0)
    if "%{" in part:
        flags |= {match.start() for match in _WRITTEN.finditer(part)}
        if part in _EMPTIES:
            flags.add(0)
        if part.endswith(_MORE):
            flags.add(len(part) - len(_MORE))
    if not rules.special:
        flags |= {match.start() for match in _SPECIAL.finditer(part)}
    if not rules.edges:
        flags |= set(range(len(part.rstrip(". ")), len(part)))
    if not rules.devices and _DEVICE.fullmatch(part):
        flags.add(0)
    if rules.encoding != "utf-8" and not part.isascii():
        flags |= {at for at, c in enumerate(part) if not _is_held(c, rules.encoding)}
    if rules.form is not None and unicodedata.normalize(rules.form, part) != part:
        flags |= {at for at, c in enumerate(part) if not c.isascii()}
    if not rules.capitals:
        flags |= {at for at, c in enumerate(part) if c != c.lower()}
    if folded:  # one more than the plain form has, also where nothing could be folded
        free = [at for at in range(len(part)) if at not in flags]
        flags |= (_foldable(part) - flags) or set(free[:1])
    if dotted:  # one more than a file of this name has, the dot of the extension if it can be
        free = [at for at in range(len(part)) if at not in flags]
        flags |= {max(free, key=lambda at: (part[at] == ".", at))} if free else set()
    return flags


def _foldable(part: str) -> set[int]:
    return {at for at, c in enumerate(part) if not c.isascii() or c.isupper()}


def _is_held(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _written(part: str, flags: Collection[int], rules: NameRules) -> str:
    if not flags:
        return part
    form = "X" if rules.capitals else "x"
    found: list[str] = []
    run: list[str] = []
    for at, c in enumerate(part):
        if at in flags:
            run.append(f"{ord(c):{form}}")
            continue
        if run:
            found.append(f"%{{{'.'.join(run)}}}")
            run = []
        found.append(c)
    if run:
        found.append(f"%{{{'.'.join(run)}}}")
    return "".join(found)


def _read(match: re.Match[str]) -> str:
    points = [int(point, 16) for point in match[1].split(".")]
    return "".join(map(chr, points)) if max(points) <= 0x10FFFF else match[0]


def _size(text: str, rules: NameRules) -> int:
    return len(text.encode("utf-16-le")) // 2 if rules.wide else len(text.encode("utf-8", "surrogatepass"))


def _in_pieces(part: str, rules: NameRules, folded: bool, dotted: bool) -> str:
    """Write a part that is too long as folders within each other, the last of which holds the file."""

    def written(piece: str, *, dotted: bool = False) -> str:
        return _written(piece, _unheld(piece, rules, folded, dotted), rules)

    pieces: list[str] = []
    while _size(written(part), rules) > LIMIT:
        count = min(PIECE, len(part) - 1)
        while _size(written(part[:count]), rules) > PIECE:
            count = count * 3 // 4
        pieces.append(written(part[:count]) + _MORE)
        part = part[count:]
    return "/".join([*pieces, written(part, dotted=dotted)])


def key_of(name: str) -> str:
    """Return what names that some file system takes for one have in common.

    Some do not look at characters without a width: HFS+ at joiners, ext4 with casefold at variation selectors too.
    """
    if name.isascii():
        return name.lower()
    name = _IGNORABLE.sub("", name)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _rules_of_others(part: str, rules: NameRules) -> list[NameRules]:
    """Return the rules of every file system that could have written *part*, as far as they differ for it."""
    matters = {
        "special": _SPECIAL.search(part) is not None,
        "edges": part[-1:] in (".", " "),
        "devices": _DEVICE.fullmatch(part) is not None,
    }
    differing = ["capitals", *(name for name, differs in matters.items() if differs)]  # hex digits are letters too
    forms: tuple[Literal["NFC", "NFD"] | None, ...] = (None,) if part.isascii() else (None, "NFC", "NFD")
    found: list[NameRules] = []
    for held in itertools.product((True, False), repeat=len(differing)):
        changes: dict[str, Any] = dict(zip(differing, held, strict=True))
        found += [NameRules(form=form, wide=rules.wide, encoding=rules.encoding, **changes) for form in forms]
    return found


class LocalNames:
    """The paths of one dataset's names below one folder.

    Most names are mapped independently. Those for which `needs_listing` is true may have twins: *learn* is told all
    names of the dataset first. *spellings* lists a folder below this one, as it is on disk.
    """

    def __init__(self, rules: NameRules, spellings: Callable[[str], Collection[str]] = lambda below: ()) -> None:
        self._rules = rules
        self._spellings = spellings
        self._parts: dict[str, str] = {}
        """How the last part of a name, or of a folder, is written where it is not as usual."""
        self._folders: dict[str, str] = {}
        """The same for folders."""
        self._taken: set[int] = set()
        self._is_empty: bool | None = None
        """Whether the folder held nothing when it was first looked at."""
        self.learned: bool = False

    def needs_listing(self, name: str) -> bool:
        """Tell whether the path of *name* depends on what else the dataset holds."""
        if self.learned:
            return False
        # A folder can only have the name of an asset if it looks like one, or is one that a hostile service makes up.
        folders = name.split("/")[:-1]
        return self._rules.folds or any(media_type(part) is not None or not part.strip(".") for part in folders)

    def learn(self, names: Iterable[str]) -> None:
        """Find the twins among all names of the dataset. Blocking, where the file system folds names."""
        self.learned = True
        if not self._rules.folds:
            listed = set(names)
            for name in listed:
                for folder in _folders_of(name):
                    if folder in listed and f"/{folder}" not in self._folders:
                        last = folder.rpartition("/")[2]
                        self._folders[f"/{folder}"] = _part(last, self._rules, dotted=True)
            return
        self._is_empty = not self._spellings("")
        files: defaultdict[str, set[str]] = defaultdict(set)
        folders: defaultdict[str, set[str]] = defaultdict(set)
        for name in names:
            above, _, last = f"/{name}".rpartition("/")
            files[above].add(last)
            for folder in _folders_of(name):
                above, _, last = f"/{folder}".rpartition("/")
                folders[above].add(last)
        for above in sorted({*files, *folders}, key=lambda one: one.count("/")):  # a folder before what it holds
            self._tell_apart(above, files[above], folders[above])

    def _tell_apart(self, above: str, files: set[str], folders: set[str]) -> None:
        below = self._path(above[1:]) if above else ""
        there = () if self._is_empty else self._spellings(below)
        self._keep_apart(above, below, files, folders, [one for one in there if "%{" in one])
        twins: defaultdict[str, set[str]] = defaultdict(set)
        for part in files | folders:
            twins[key_of(_part(part, self._rules))].add(part)
        for parts in twins.values():
            plain_ones = {part for part in parts if f"{above}/{part}" not in self._parts}
            if len(plain_ones) > 1:
                for part in plain_ones - {self._plain_one(plain_ones, there)}:
                    self._parts[f"{above}/{part}"] = _part(part, self._rules, folded=True)
            for part in parts & files & folders:
                path = f"{above}/{part}"
                self._folders[path] = _part(part, self._rules, folded=path in self._parts, dotted=True)

    def _keep_apart(self, above: str, below: str, files: set[str], folders: set[str], there: Collection[str]) -> None:
        """Keep the paths of names that were written out because of others, which may have left the dataset since."""
        if not there:
            return
        listed = set(there)

        def is_there(path: str) -> bool:
            first, _, rest = path.partition("/")
            if first not in listed:
                return False
            at = f"{below}/{first}" if below else first
            for piece in rest.split("/") if rest else ():
                if piece not in self._spellings(at):
                    return False
                at = f"{at}/{piece}"
            return True

        for part in files | folders:
            path = f"{above}/{part}"
            if is_there(_part(part, self._rules)):
                continue
            if is_there(written := _part(part, self._rules, folded=True)):
                self._parts[path] = written
            if part in folders - files:
                forms = (_part(part, self._rules, folded=folded, dotted=True) for folded in (True, False))
                found = next(filter(is_there, forms), None)
                if found is not None:
                    self._folders[path] = found

    def _plain_one(self, parts: set[str], there: Collection[str]) -> str:
        """Return the one of several twins that keeps its name: what is on disk, else what nothing would fold."""
        held = [part for part in parts if _part(part, self._rules) in there]
        stable = [part for part in parts if not _foldable(part) - _unheld(part, self._rules, folded=False)]
        return min(held or stable or parts)

    def _path(self, name: str, *, is_file: bool = False) -> str:
        if (not self._parts and not self._folders) or len(name) > LONGEST:
            return local_path(name, self._rules)
        found: list[str] = []
        for prefix in (*_folders_of(name), name):
            key = f"/{prefix}"
            written = None if is_file and prefix is name else self._folders.get(key)
            found.append(written or self._parts.get(key) or _part(key.rpartition("/")[2], self._rules))
        path = "/".join(found) + _EMPTY * (not name or name.endswith("/"))
        return path if len(path.encode()) <= LONGEST else shortened(name)

    def path(self, name: str) -> str:
        """Return where *name* is, below the folder and with ``/``."""
        return self._path(name, is_file=True)

    def _where(self, name: str, there: Callable[[str], bool]) -> str | None:
        """Return where *name* is, as another file system's rules would have written it: a copy may come from it."""
        if self._rules.folds:  # what seems to be there may be a twin's
            return None
        if self._is_empty is None:
            self._is_empty = not self._spellings("")
        if self._is_empty:
            return None
        found = [""]
        for part in name.split("/"):
            ways = dict.fromkeys(
                _part(part, rules, folded=folded, dotted=dotted)
                for rules in _rules_of_others(part, self._rules)
                for folded in (False, True)
                for dotted in (False, True)
            )
            paths = (f"{above}/{way}" if above else way for above in found for way in ways)
            found = [path for path in paths if there(path)]
        return min(found, default=None)

    def choose(self, name: str, asset_id: str, there: Callable[[str], bool] = lambda path: False) -> str:
        """Return the path for an asset to be written: where it is *there* already, else the usual one.

        Two assets with the same name get two paths: the second has the asset's id in it.
        """
        path = self.path(name)
        if not there(path):
            path = self._where(name, there) or path
        while (key := hash(key_of(path) if self._rules.folds else path)) in self._taken:
            path = apart(path, asset_id)
        self._taken.add(key)
        return path


def apart(name: str, asset_id: str) -> str:
    """Return a name beside *name* that only this asset has."""
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem or "/" in extension:
        return f"{name}~{_short(asset_id)}"
    return f"{stem}~{_short(asset_id)}.{extension}"


def _folders_of(name: str) -> list[str]:
    """Return the folders of a name from the top: ``a``, ``a/b`` for ``a/b/c.png``."""
    return [name[:at] for at, c in enumerate(name) if c == "/"]


def below(folder: str | os.PathLike[str], path: str) -> str:
    """Return a path below *folder* with ``/`` on every system."""
    return os.path.relpath(path, folder).replace(os.sep, "/")


def inside(folder: str | os.PathLike[str], path: str) -> str:
    """Return the path of this system for one with ``/`` below *folder*; extended paths of Windows know no ``/``."""
    return os.path.join(folder, path.replace("/", os.sep))  # noqa: PTH118 - once per file


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def is_kept_by_windows(part: str) -> bool:
    """Tell whether one part of a path names the same thing where Windows makes a path of it."""
    return part == part.rstrip(". ") and not _DEVICE.fullmatch(part)


def name_problem(name: str) -> str | None:
    """Say why a file name cannot be sent, or None."""
    if "\0" in name:
        return f"The name {name!r} holds a NUL character."
    if name in (".", ".."):
        return f"{name!r} is not a valid file name."
    try:
        name.encode()
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        advice = "" if encoding == "utf-8" else f" File names are read as {encoding} here: set PYTHONUTF8=1."
        return f"The name {shown(name)!r} is not valid Unicode.{advice}"
    return None
