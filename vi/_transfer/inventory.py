"""The files of one upload: kept small, named once, and no two alike before a byte moves.

A million files must fit, so a folder's names are kept joined in blocks of a thousand with their sizes in an array:
about 40 bytes a file.
"""

from __future__ import annotations

import array
import itertools
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal

import attrs

from .._checks import must_be
from .._media import MAX_IMAGE_BYTES, media_type, size_limit
from .._redact import brief
from ..codes import FileCode
from ..errors import ViFileTooLargeError, ViInvalidParameterError
from .file_system import is_same_file
from .names import LONGEST, key_of, name_problem, remote_name, shortened
from .record import KEPT_SKIPS, FileRecord, SkippedFile
from .sources.local import PathSource, Source, shown
from .sources.remote import RemoteObject, RemoteSource

BLOCK = 1000
LISTED_NAMES = 5

Naming = Literal["basename", "relative"] | Callable[[Path], str]


@attrs.frozen
class Broken:
    """Something that was meant to be uploaded and cannot be, with code and reason."""

    path: str
    filename: str
    code: str
    message: str


@attrs.define
class _Block:
    """Up to a thousand files of one folder; *remote* holds their names where a function of the caller's made them."""

    folder: str
    below: str
    names: str
    remote: str | None
    sizes: array.array[int]
    named: bool

    def __iter__(self) -> Iterator[tuple[str, str, str | None, int]]:
        local = self.names.split("\0")
        remote = self.remote.split("\0") if self.remote is not None else itertools.repeat(None, len(local))
        for name, given, size in zip(local, remote, self.sizes, strict=True):
            below = f"{self.below}/{name}" if self.below else name
            yield os.path.join(self.folder, name), below, given, size  # noqa: PTH118


class Inventory:
    """The files of one upload."""

    def __init__(self, names: Naming, known: Collection[str] = ()) -> None:
        """Begin; a remote file whose path below its folder is one of the *known* names keeps its path as its name."""
        check_naming(names)
        self._names = names
        self._known: Collection[str] = known
        self._aliases: dict[str, str] = {}
        self._blocks: list[_Block] = []
        self._others: list[tuple[Source, str, int]] = []
        self.skips: list[SkippedFile] = []
        """The first ten thousand files left out; *skip_reasons* counts all of them."""
        self.skip_reasons: Counter[str] = Counter()
        self.broken: list[Broken] = []
        self.notes: list[str] = []
        """Notes about the search, such as patterns that matched nothing."""
        self.count: int = 0
        self.bytes: int = 0

    @property
    def named_by_path(self) -> bool:
        """Whether a file's remote name is its path below the folder."""
        return self._names == "relative"

    @property
    def named_bare(self) -> bool:
        """Whether it is its name without a folder, unless the dataset knows it by its path."""
        return self._names == "basename"

    def __iter__(self) -> Iterator[FileRecord]:
        for path, filename, size in self._on_disk():
            yield FileRecord(PathSource(path), filename, size)
        for source, filename, size in self._others:
            yield FileRecord(source, filename, size)

    def _on_disk(self) -> Iterator[tuple[str, str, int]]:
        for block in self._blocks:
            for path, below, given, size in block:
                yield path, given if given is not None else self._name(path, below), size

    def _name(self, path: str, below: str) -> str:
        """Return the remote name of a file by its path below the folder."""
        if (alias := self._aliases.get(path)) is not None:
            return alias
        name = remote_name(below)
        return name if self._names == "relative" or name in self._known else name.rpartition("/")[2]

    def match(self, names: Collection[str]) -> None:
        """Find the files among the *names* that a dataset holds. Blocking.

        A file whose whole path below its folder is a name there has this name, also where bare names are given. So has
        one that the file system takes for the file of the name, under another case or Unicode form.
        """
        if callable(self._names):
            return
        self._known = names
        long = {shortened(name): name for name in names if len(name) > LONGEST // 4}
        seen: set[str] = set()
        others: list[tuple[str, str]] = []
        for block in self._blocks:
            for path, below, _, _ in block:
                if below in long:
                    self._aliases[path] = long[below]
                name = self._name(path, below)
                if name in names:
                    seen.add(name)
                else:
                    others.append((path, below))
        if not others:
            return
        keys = {key_of(name): name for name in names if name not in seen}
        for path, below in others:
            roots = [(below, path[: len(path) - len(below)])]
            if self.named_bare and "/" in below:
                folder, bare = os.path.split(path)
                roots.append((bare, folder))
            for local, root in roots:
                twin = keys.get(key_of(remote_name(local)))
                if twin is not None and is_same_file(twin, path, root):
                    self._aliases[path] = twin
                    break

    def _given(self, folder: str, names: Iterable[str]) -> str | None:
        """Ask the caller's function, once for each file; it may count, or look into the file."""
        if not callable(self._names):
            return None
        given: list[str] = []
        for local in names:
            path = os.path.join(folder, local)  # noqa: PTH118
            given.append(_checked_name(self._names(Path(path)), path))
        return "\0".join(given)

    def skip(self, path: str, reason: str) -> None:
        """Leave a file out."""
        self.skip_reasons[reason] += 1
        if len(self.skips) < KEPT_SKIPS:
            self.skips.append(SkippedFile(shown(path), reason))

    def add_source(self, source: Source, filename: str, size: int) -> None:
        self._others.append((source, filename, size))
        self.count += 1
        self.bytes += max(size, 0)

    def add_remote(self, found: RemoteObject, below: str, size: int = -1) -> None:
        if callable(self._names):
            filename = _checked_name(self._names(found.path), found.label)
        else:
            filename = self._name(found.label, below)
        if problem := name_problem(filename):
            self.broken.append(Broken(shown(found.label), shown(filename), FileCode.EBADNAME, problem))
        else:
            self.add_source(RemoteSource(found), filename, size)

    def add_block(self, folder: str, below: str, files: list[tuple[str, int]], *, named: bool = False) -> None:
        sizes = array.array("Q", [size for _, size in files])
        names = "\0".join(name for name, _ in files)
        remote = self._given(folder, (name for name, _ in files))
        last = self._blocks[-1] if self._blocks else None
        if named and last is not None and last.named and last.folder == folder and len(last.sizes) < BLOCK:
            last.names = f"{last.names}\0{names}"
            last.remote = f"{last.remote}\0{remote}" if remote is not None else None
            last.sizes.extend(sizes)
        else:
            self._blocks.append(_Block(folder, below, names, remote, sizes, named))
        self.count += len(files)
        self.bytes += sum(sizes)

    def check_names(self) -> None:
        """Refuse two sources with one name, listing the pairs; compares 8-byte hashes first to stay small."""
        names = itertools.chain((name for _, name, _ in self._on_disk()), (name for _, name, _ in self._others))
        hashes = array.array("q", map(hash, names))
        ordered = sorted(hashes)
        twice = {a for a, b in itertools.pairwise(ordered) if a == b}
        if not twice:
            return
        paths: dict[str, list[str]] = {}
        for record in self:
            if hash(record.filename) in twice:
                paths.setdefault(record.filename, []).append(record.path)
        pairs = {name: where for name, where in paths.items() if len(where) > 1}
        if not pairs:
            return
        lines = [
            f"{len(pairs)} names would be used more than once:"
            if len(pairs) > 1
            else "A name would be used more than once:"
        ]
        lines += [f"  {shown(name)}: {_sources(where)}" for name, where in list(pairs.items())[:LISTED_NAMES]]
        lines += [f"  and {len(pairs) - LISTED_NAMES:,} more"] * (len(pairs) > LISTED_NAMES)
        raise ViInvalidParameterError(
            "\n".join(lines) + ".",
            parameter="paths",
            suggestion=self._way_out(pairs),
            details={"names": {name: where[:10] for name, where in list(pairs.items())[:1000]}},
        )

    def _way_out(self, pairs: dict[str, list[str]]) -> str:
        if all(len(set(where)) == 1 for where in pairs.values()):
            return "Give each file once."
        if self._names == "basename":
            return "Keep folders in the names with names='relative', or pass a function as names."
        return "Pass a function as names that gives each file its own name."

    def check_sizes(self) -> None:
        """Raise for the first file over its size limit."""
        if self.bytes <= MAX_IMAGE_BYTES:
            return
        for record in self:
            if (error := too_large(record)) is not None:
                raise error


def _checked_name(name: object, path: str) -> str:
    """Return what the caller's function made of *path*, if it can be a name."""
    if not isinstance(name, str) or not name:
        problem = f"names() must return text, got {brief(name)}"
    elif found := name_problem(name):
        problem = f"names() must return a name that can be sent. {found.rstrip('.')}"
    else:
        return name
    raise ViInvalidParameterError(f"{problem} for {shown(path)}.", parameter="names")


def _sources(where: list[str]) -> str:
    return f"{where[0]}, given twice" if len(set(where)) == 1 else " and ".join(where[:3])


def check_naming(names: object) -> None:
    """Refuse what is not a way of naming."""
    if not callable(names) and names not in ("basename", "relative"):
        raise must_be("names", "'basename', 'relative' or a function of the path", names)


def too_large(record: FileRecord) -> ViFileTooLargeError | None:
    """Return the error for a file over the limit of its kind, or None."""
    if record.size <= MAX_IMAGE_BYTES:  # the least limit
        return None
    found = media_type(record.filename)
    limit = size_limit(found[0]) if found else MAX_IMAGE_BYTES
    if record.size <= limit:
        return None
    return ViFileTooLargeError(
        f"{record.path} has {record.size} bytes; the limit is {limit}.",
        suggestion="Reduce it, split it, or leave it out.",
        file_size=record.size,
        max_size=limit,
        path=record.path,
    )
