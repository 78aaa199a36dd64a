"""What an upload or a sync is going to do, as data: printed, saved as JSON lines, cut into shards, applied later."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, get_args

import attrs

from ....._paths import as_path
from ....._redact import brief
from ....._show.sheet import Sheet, Table
from ....._show.units import counted, noted, several, size, skipped
from .....errors import ViInvalidParameterError, ViPathError
from ....display import Report
from .types import AssetCustomMetadata

Action = Literal["upload", "download", "set_metadata", "delete_asset", "delete_file", "keep"]
Direction = Literal["up", "down"]

FORMAT = 1

GIVEN = "given"
"""The reason of an upload that replaces whatever has its name."""

_RETENTION = frozenset({"RemoveLinkedResource", "KeepLinkedResource", "KeepLinkedResources"})
_ACTIONS = frozenset(get_args(Action))
DELETIONS: frozenset[str] = frozenset({"delete_asset", "delete_file"})


@attrs.frozen
class PlannedTransfer:
    """One thing to do: with which name, where it is on disk, how many bytes, and why.

    *asset_id* and *etag* are those of the asset concerned, *mtime_ns* the time of the local file that is to be replaced
    or deleted, when the plan was made.
    """

    action: Action
    filename: str
    path: str
    size: int
    reason: str
    asset_id: str | None = None
    etag: str | None = None
    mtime_ns: int | None = None
    custom_metadata: AssetCustomMetadata | None = attrs.field(default=None, hash=False)
    """The metadata to upload, or to set of an asset whose contents are the same."""
    annotations: int | None = None
    """How many annotations the replacement of an asset removes."""
    code: str | None = None
    """Why a file that is kept cannot be transferred, as in `vi.FileFailure`; None for one with other content."""


@attrs.define
class TransferPlan(Report):
    """What differs between a folder and a dataset, and what would be done about it.

    *existing* counts the files that are the same on both sides; nothing is done about them or about ``keep`` entries.
    """

    dataset_id: str
    direction: Direction
    folder: str = ""
    entries: list[PlannedTransfer] = attrs.Factory(list)
    existing: int = 0
    skipped: dict[str, int] = attrs.Factory(dict)
    notes: list[str] = attrs.Factory(list)
    """What is to be told beside the counts: patterns that matched nothing."""
    on_asset_overwritten: str = "RemoveLinkedResource"
    """What happens to the annotations of assets that are replaced, unless `apply` is given another value."""

    def __iter__(self) -> Iterator[PlannedTransfer]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __bool__(self) -> bool:
        return True

    @property
    def bytes(self) -> int:
        """How many bytes would be moved."""
        return sum(entry.size for entry in self.entries if entry.action in ("upload", "download"))

    @property
    def counts(self) -> dict[str, int]:
        """How many entries there are of each action."""
        return dict(Counter(entry.action for entry in self.entries))

    @property
    def deletions(self) -> int:
        """How many assets or files would be deleted."""
        return sum(entry.action in DELETIONS for entry in self.entries)

    @property
    def annotations(self) -> int:
        """How many annotations the uploads would remove with the assets that they replace."""
        return sum(entry.annotations or 0 for entry in self.entries)

    def shard(self, index: int, count: int) -> TransferPlan:
        """Return the part of the plan for worker *index* (from 0) of *count*: the name decides the part.

        So workers that plan apart and share no folder still divide the work alike. With a folder that all reach, a run
        is better: ``upload(plan=...)`` has parts of equal size, reports and retries.

        Deletions are in no shard, because one worker cannot know that all others have succeeded. Apply the whole plan
        when every shard is done: it moves what is still missing, and deletes last.
        """
        if not all(type(number) is int for number in (index, count)) or not 0 <= index < count:
            raise ViInvalidParameterError(
                f"shard needs 0 <= index < count, got {brief(index)} of {count!r}.", parameter="index"
            )
        mine = [
            entry for entry in self.entries if entry.action not in DELETIONS and _part(entry.filename, count) == index
        ]
        first = index == 0
        left = f"{several(self.deletions, 'deletion')} left to the whole plan: apply it when every shard is done"
        return attrs.evolve(
            self,
            entries=mine,
            existing=self.existing if first else 0,
            skipped=self.skipped if first else {},
            notes=[*self.notes, left] if self.deletions else self.notes,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON lines, the first one its head."""
        head = attrs.asdict(self, filter=lambda attribute, _: attribute.name != "entries")
        with as_path(path, "path").open("w", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps({"vi-plan": FORMAT, **head, "entries": len(self.entries)}) + "\n")
            for entry in self.entries:
                file.write(line_of(entry) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TransferPlan:
        """Read a saved plan; `ViInvalidParameterError` names the line that cannot be read."""
        number = 0
        file_of_plan = as_path(path, "path")
        try:
            with file_of_plan.open(encoding="utf-8-sig") as file:
                number = 1
                head = json.loads(file.readline())
                if head.pop("vi-plan") != FORMAT:
                    raise ValueError("of another format")
                announced = head.pop("entries")
                plan = cls(**head)
                plan.check()
                for number, line in enumerate(file, 2):  # noqa: B007 - named in the error
                    plan.entries.append(read_entry(json.loads(line)))
        except OSError as error:
            raise ViPathError(f"The plan {path} cannot be read: {error.strerror}.", path=str(path)) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ViInvalidParameterError(
                f"Line {number} of {path} is not a valid plan entry.", path=str(path)
            ) from None
        if announced != len(plan.entries):
            raise ViInvalidParameterError(
                f"{path} is truncated: {announced} entries announced, {len(plan.entries)} found.", path=str(path)
            )
        return plan

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data."""
        return {**super().to_dict(), "counts": self.counts, "bytes": self.bytes, "deletions": self.deletions}

    def check(self) -> None:
        """Raise `ValueError` if a saved plan has the wrong shape."""
        texts = (self.dataset_id, self.folder)
        if (
            self.direction not in ("up", "down")
            or not all(type(text) is str and "\0" not in text for text in texts)
            or not all(type(reason) is str and _is_count(count) for reason, count in self.skipped.items())
            or not _is_count(self.existing)
            or type(self.notes) is not list
            or not all(type(note) is str for note in self.notes)
            or self.on_asset_overwritten not in _RETENTION
        ):
            raise ValueError("of another shape")

    def _sheet(self) -> Sheet:
        there = self.counts
        counts = [
            (there.get("upload", 0), "to upload"),
            (there.get("download", 0), "to download"),
            (there.get("set_metadata", 0), "to get new metadata"),
            (self.deletions, "to delete"),
            (self.existing, "unchanged"),
            (there.get("keep", 0), "kept"),
            (sum(self.skipped.values()), "skipped"),
        ]
        moves = f", {size(self.bytes)} to transfer" if self.bytes else ""
        removed = (
            [
                f"{several(self.annotations, 'annotation')} would be removed with replaced assets; "
                "on_asset_overwritten='KeepLinkedResource' keeps them"
            ]
            if self.annotations
            else []
        )
        same = "" if self.entries else "Already in sync: " if self.existing else "Nothing to do"
        return Sheet(
            f"{same}{counted(counts[:-1])}{moves}",
            counts,
            table=Table.of(
                ("To do", "Name", "Size", "Why"),
                self.entries,
                lambda entry: (entry.action.replace("_", " "), entry.filename, size(entry.size), entry.reason),
                numbers=frozenset({2}),
                where=".entries",
            )
            if self.entries
            else None,
            notes=[*removed, *skipped(self.skipped), *noted(self.notes)],
        )

    def _dry_run(self) -> Sheet:
        sheet = self._sheet()
        return attrs.evolve(sheet, headline=f"Dry run: {sheet.headline}")


def _part(name: str, count: int) -> int:
    # A CRC would be linear: numbered names can leave a worker without files.
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest()) % count


def line_of(entry: PlannedTransfer) -> str:
    """Return an entry as a line of JSON."""
    return json.dumps(attrs.asdict(entry, filter=lambda _, value: value is not None))


def read_entry(fields: dict[str, Any]) -> PlannedTransfer:
    """Return the entry of a line; raises `ValueError` or `TypeError` for what is none."""
    entry = PlannedTransfer(**fields)
    texts = (entry.filename, entry.path, entry.reason, entry.asset_id or "", entry.etag or "", entry.code or "")
    if (
        entry.action not in _ACTIONS
        or not _is_count(entry.size)
        or type(entry.mtime_ns or 0) is not int  # below 0 before 1970
        or not _is_count(0 if entry.annotations is None else entry.annotations)
        or not _is_metadata({} if entry.custom_metadata is None else entry.custom_metadata)
        or not all(type(text) is str and "\0" not in text for text in texts)
    ):
        raise ValueError("of another shape")
    return entry


def _is_metadata(value: object) -> bool:
    return isinstance(value, dict) and all(
        type(key) is str and (type(one) in (str, int, bool) or (type(one) is float and math.isfinite(one)))
        for key, one in value.items()
    )


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
