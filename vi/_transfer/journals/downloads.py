"""Which part files a download has in its folder, so that the next one resumes the large ones and removes the others.

A part file is named ``.<name>.<run><number>.part``, where *run* is eight digits of the download's own. Its journal lies
in the cache folder, is locked while the download lives, and says which folder it is about, and of each large file what
it is (asset, size, digest, ETag) and which bytes have arrived. So a part file of another run is touched only if a
journal on this machine names that run and this very folder, and is unlocked: its download is dead. Whatever else is in
the folder, part files of other machines too, stays untouched.

What the journal says is a hint. Resumed ranges are pinned by the ETag, and the whole is digested before it gets its
name, so bytes that the disk lost cost a download from the beginning and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import stat
import time
import weakref
from pathlib import Path
from typing import Any

import attrs

from ..._checksums import Expected
from ..byte_ranges import ByteRange, range_size
from ..files import PartFile, discard
from ..names import below
from ..open_folder import OpenFolder
from . import locked_lines
from .locked_lines import LineWriter
from .uploads import JournalKey

VERSION = 1
NAME_BYTES = 100
"""How much of a file's name its part file shows; all of it may be as long as a name can be."""
WORTH_KEEPING = 32 << 20
"""How many bytes of a file must have arrived for a download that is stopped, not killed, to leave them to the next."""

_PART = re.compile(r"\..+\.([0-9a-f]{8})([0-9a-f]{4,8})\.part", re.DOTALL)
Spans = list[tuple[int, int]]


@attrs.define
class KeptPart:
    """A large file that was begun: what it is, and the bytes that arrived, as sorted spans that do not touch."""

    path: str
    name: str
    asset_id: str
    size: int
    digest: str
    etag: str
    arrived: Spans = attrs.Factory(list)

    @property
    def count(self) -> int:
        """How many bytes have arrived."""
        return sum(end - start for start, end in self.arrived)

    def add(self, start: int, end: int) -> None:
        """Note that the bytes from *start* up to but excluding *end* are there."""
        if not 0 <= start < end <= self.size:
            return
        merged: Spans = []
        for one, other in sorted([*self.arrived, (start, end)]):
            if merged and one <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(merged[-1][1], other)
            else:
                merged.append((one, other))
        self.arrived = merged

    def cut(self, each: int) -> tuple[list[ByteRange], list[ByteRange]]:
        """Divide the file into ranges in order: those that have arrived, and missing ones of at most *each* bytes."""
        each = range_size(self.size, each)
        numbers = itertools.count(1)
        there: list[ByteRange] = []
        missing: list[ByteRange] = []
        at = 0
        for start, end in [*self.arrived, (self.size, self.size)]:
            missing += [ByteRange(next(numbers), one, min(one + each, start)) for one in range(at, start, each)]
            there += [ByteRange(next(numbers), start, end)] if start < end else []
            at = end
        return there, missing

    def _line(self, part: str) -> dict[str, Any]:
        return {
            "part": part,
            "name": self.name,
            "asset": self.asset_id,
            "size": self.size,
            "digest": self.digest,
            "etag": self.etag,
        }


@attrs.define
class PartsSaid:
    """What a journal says."""

    key: JournalKey
    folder: str
    began: float
    run: str
    kept: dict[str, KeptPart] = attrs.Factory(dict)
    """Large files by the name of their part file."""


class PartJournal:
    """The part files of one download into one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.folder = OpenFolder(folder)
        """Through which everything is saved there; the journal closes it."""
        self._numbers = itertools.count()
        self._kept: dict[str, KeptPart] = {}
        """What interrupted runs have left and no run has resumed, by the final name of the file."""
        self._begun: dict[str, KeptPart] = {}
        self._left: set[str] = set()
        """Part files that another program had open when they were to be removed: the next download does it."""
        self._lines: LineWriter | None = None
        self._path: Path | None = None
        self._held: list[int] = []
        # A caller that is cancelled while the journal is opened for it must not leave it locked.
        weakref.finalize(self, locked_lines.close_all, self._held)
        self._run = os.urandom(4).hex()

    @classmethod
    def open(cls, target: Path, key: JournalKey, folder: Path | None = None) -> PartJournal:
        """Begin a journal, and take over those of interrupted downloads into *target*: their small parts are removed.

        Without a cache folder that can be written to nothing is noted: parts then have names of no known run.
        """
        journal = cls(target)
        folder = folder if folder is not None else downloads_folder()
        place = os.path.realpath(target)
        prefix = hashlib.sha256(os.fsencode(place)).hexdigest()[:24]
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            journal._begin(folder, prefix, place, key)
            for path in sorted(folder.glob(f"{prefix}.*.jsonl")):
                with contextlib.suppress(OSError):  # one that cannot be read hinders nothing
                    journal._take_over(path, place)
        return journal

    def _begin(self, folder: Path, prefix: str, place: str, key: JournalKey) -> None:
        self._path, descriptor = locked_lines.create(folder, prefix)
        self._held.append(descriptor)
        self._lines = LineWriter(descriptor)
        self._lines.write(
            {
                "vi": VERSION,
                "endpoint": key.endpoint,
                "organization": key.organization_id,
                "dataset": key.dataset_id,
                "began": time.time(),
                "folder": place,
                "run": self._run,
                **locked_lines.owner(),
            }
        )

    def _take_over(self, path: Path, place: str) -> None:
        descriptor = None if path == self._path else locked_lines.lock(path)
        if descriptor is None:
            return
        said = read_parts(path)
        if said is None or said.folder != place:
            locked_lines.release(descriptor)
            return
        fresh = not locked_lines.is_old(said.began)
        removed = True
        for name in parts_left(said):
            kept = said.kept.get(name)
            if not (
                fresh and kept is not None and kept.count and kept.name not in self._kept and self._adopt(name, kept)
            ):
                removed = discard(self.folder, os.path.join(self._folder, name)) and removed  # noqa: PTH118
        if removed:
            locked_lines.remove(path, descriptor)
        else:
            locked_lines.release(descriptor)

    def _adopt(self, name: str, kept: KeptPart) -> bool:
        """Give a part file of an interrupted run a name of this run, which owns it from here on."""
        old, new = os.path.join(self._folder, name), self.path_for(str(self._folder / kept.name))  # noqa: PTH118
        try:
            found = self.folder.lstat(old)
            if found.st_size > kept.size or stat.S_ISLNK(found.st_mode):
                return False
            self.folder.rename(old, new)
        except OSError:
            return False
        kept.path = new
        self._note(kept)
        self._kept[kept.name] = kept
        return True

    def path_for(self, target: str) -> str:
        """Return a temporary path for *target* at the top of the folder that nothing else uses."""
        name = os.path.basename(target).encode(errors="replace")[:NAME_BYTES].decode(errors="ignore")  # noqa: PTH119
        return os.path.join(self._folder, f".{name}.{self._run}{next(self._numbers):04x}.part")  # noqa: PTH118

    def _name_of(self, target: str) -> str:
        return below(self._folder, target)

    def kept_for(self, target: str, asset_id: str, size: int, expected: Expected) -> KeptPart | None:
        """Return what an earlier download has left of this object, to resume it; leftovers of another are removed."""
        kept = self._kept.pop(self._name_of(target), None)
        if kept is None:
            return None
        if (kept.asset_id, kept.size, kept.digest) != (asset_id, size, expected.text):
            discard(self.folder, kept.path)
            return None
        self._begun[kept.path] = kept
        return kept

    def begun(self, path: str, target: str, asset_id: str, size: int, expected: Expected, etag: str | None) -> None:
        """Note a large file, if it can be resumed: its digest and ETag are known."""
        if not expected or etag is None:
            return
        kept = KeptPart(path, self._name_of(target), asset_id, size, expected.text, etag)
        self._begun[path] = kept
        self._note(kept)

    def arrived(self, path: str, start: int, end: int) -> None:
        """Note that bytes of a large file are there."""
        if (kept := self._begun.get(path)) is not None:
            kept.add(start, end)
            self._write({"arrived": [start, end], "of": os.path.basename(path)})  # noqa: PTH119

    def stopped(self, part: PartFile) -> None:
        """Close a part file, and remove it or leave it to the next download if that is worth it."""
        kept = self._begun.get(part.path)
        if kept is not None and self._lines is not None and kept.count >= WORTH_KEEPING:
            self._kept[kept.name] = self._begun.pop(part.path)
            part.close()
        else:
            self.dropped(part)

    def dropped(self, part: PartFile) -> None:
        """Close and remove a part file."""
        self._begun.pop(part.path, None)
        if not part.discard():
            self.left(part.path)

    def left(self, path: str) -> None:
        """Note a part file that cannot be removed yet, because it is open: it is tried again at the end."""
        self._left.add(path)

    def close(self) -> None:
        """Close the journal, and remove it if it is of no use to the next download."""
        self._left = {path for path in self._left if not discard(self.folder, path)}
        for kept in list(self._kept.values()):
            if os.path.lexists(self._folder / kept.name):  # there is a file of this name by now
                discard(self.folder, kept.path)
                del self._kept[kept.name]
        if self._path is not None and self._held and not self._kept and not self._left:
            locked_lines.remove(self._path, self._held.pop())
        locked_lines.close_all(self._held)
        self.folder.close()

    def _note(self, kept: KeptPart) -> None:
        part = os.path.basename(kept.path)  # noqa: PTH119
        spans = [{"arrived": [start, end], "of": part} for start, end in kept.arrived]
        self._write(kept._line(part), *spans)

    def _write(self, *lines: dict[str, Any]) -> None:
        if self._lines is not None and self._held:
            self._lines.write(*lines)


def downloads_folder() -> Path:
    """Return where the journals of downloads are kept."""
    return locked_lines.cache_folder() / "downloads"


def read_parts(path: Path) -> PartsSaid | None:
    """Return what a journal says; None when it is not one that we can read."""
    said: PartsSaid | None = None
    for line in locked_lines.read(path):
        if line.get("vi", VERSION) != VERSION:
            return None
        match line:
            case {
                "vi": _,
                "endpoint": str(endpoint),
                "organization": str(organization),
                "dataset": str(dataset),
                "began": int(began) | float(began),
                "folder": str(folder),
                "run": str(run),
            } if re.fullmatch(r"[0-9a-f]{8}", run):
                said = PartsSaid(JournalKey(endpoint, organization, dataset), folder, began, run)
            case {
                "part": str(part),
                "name": str(name),
                "asset": str(asset_id),
                "size": int(size),
                "digest": str(digest),
                "etag": str(etag),
            } if (
                said is not None
                and (found := _PART.fullmatch(part))
                and found[1] == said.run
                and _is_bare(part)
                and _is_below(name)
            ):
                path_of = os.path.join(said.folder, part)  # noqa: PTH118
                said.kept[part] = KeptPart(path_of, name, asset_id, size, digest, etag)
            case {"arrived": [int(start), int(end)], "of": str(part)} if said is not None and part in said.kept:
                said.kept[part].add(start, end)
    return said


def _is_part_of(run: str, name: str) -> bool:
    part = _PART.fullmatch(name)
    return part is not None and part[1] == run and _is_bare(name)


def _is_bare(name: str) -> bool:
    return os.path.basename(name) == name not in ("", ".", "..")  # noqa: PTH119


def _is_below(name: str) -> bool:
    return all(_is_bare(part) for part in name.split("/"))


def parts_left(said: PartsSaid) -> list[str]:
    """Return the names of the part files that a download has left in its folder."""
    found: list[str] = []
    with contextlib.suppress(OSError), os.scandir(said.folder) as entries:
        for entry in entries:
            if _is_part_of(said.run, entry.name) and entry.is_file(follow_symlinks=False):
                found.append(entry.name)
    return found
