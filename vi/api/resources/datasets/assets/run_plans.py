"""A run: a plan as a folder that many machines share, with a head, shards, and a report for each shard.

The head is written last, so a folder whose plan was cut short holds no run. Nothing in it is changed later; reports
are added. What it says to do is sealed (`run_seals`).
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import attrs

from ....._redact import brief
from ....._show.sheet import Sheet
from ....._show.units import counted, noted, several, size, skipped
from ....._transfer.document_folders import MOST, DocumentFolder
from ....._transfer.inventory import Broken, Inventory
from ....._transfer.record import FileRecord
from ....._transfer.remote_folders import RemotePath, is_remote, without_password
from ....._transfer.sources.local import PathSource
from ....._transfer.sources.remote import WEB, RemoteSource
from ....._transfer.threads.stopping import in_thread, still_wanted
from .....errors import ViInvalidParameterError, ViPathError
from ....display import Report
from .metadata.given import Reader
from .packing import SHARD_FILES, packed
from .plans import DELETIONS, GIVEN, Direction, PlannedTransfer, TransferPlan, line_of, read_entry
from .responses import ResourceRetentionMode
from .run_seals import Author, Sealed, digest_of, seal

T = TypeVar("T")

FORMAT = 1
HEAD = "plan.json"
FINISHED = "finished.json"
MOST_OF_HEAD = 16 << 20
"""Bytes of a head, whatever the number of files."""

_COUNTS = ("shards", "bytes", "existing", "created_ms", "deletion_lists")
_TEXTS = ("run_id", "dataset_id", "organization_id", "folder", "on_asset_overwritten")


RunFolder = str | os.PathLike[str] | RemotePath
"""Where a run is: a path, an address, or a path of universal_pathlib."""


def shard_name(index: int) -> str:
    """Return the name of a shard."""
    return f"shard-{index:05}.jsonl"


def report_name(index: int) -> str:
    """Return the name of the report of a shard."""
    return f"report-{index:05}.json"


def deletions_name(index: int) -> str:
    """Return the name of a list of deletions."""
    return f"deletions-{index:05}.jsonl"


@attrs.define
class RunPlan(Report):
    """What a run is going to do, in how many shards: the head of its folder."""

    address: str
    """The folder of the run."""
    run_id: str
    dataset_id: str
    organization_id: str
    direction: Direction
    folder: str
    shards: int
    bytes: int
    """How many bytes would be moved."""
    counts: dict[str, int] = attrs.Factory(dict)
    """How many entries there are of each action."""
    existing: int = 0
    skipped: dict[str, int] = attrs.Factory(dict)
    notes: list[str] = attrs.Factory(list)
    on_asset_overwritten: str = "RemoveLinkedResource"
    created_ms: int = 0
    deletion_lists: int = 0
    """In how many documents the deletions are."""
    _seal: str = attrs.field(default="", repr=False)

    @property
    def deletions(self) -> int:
        """How many assets or files `vi.finish` deletes."""
        return sum(self.counts.get(action, 0) for action in DELETIONS)

    def without_entries(self) -> TransferPlan:
        """Return the plan of all shards, without what it names."""
        return TransferPlan(
            self.dataset_id,
            self.direction,
            self.folder,
            existing=self.existing,
            skipped=dict(self.skipped),
            notes=list(self.notes),
            on_asset_overwritten=self.on_asset_overwritten,
        )

    def _sheet(self) -> Sheet:
        counts = [
            (self.counts.get("upload", 0), "to upload"),
            (self.counts.get("download", 0), "to download"),
            (self.counts.get("set_metadata", 0), "to get new metadata"),
            (self.deletions, "to delete"),
            (self.existing, "unchanged"),
            (self.counts.get("keep", 0), "kept"),
        ]
        moved = f", {size(self.bytes)} to transfer" if self.bytes else ""
        return Sheet(
            f"{several(self.shards, 'shard')} in {self.address}: {counted(counts) or 'nothing to do'}{moved}",
            counts,
            notes=[*skipped(self.skipped), *noted(self.notes)],
        )

    @property
    def _sealed(self) -> Sealed:
        return Sealed(HEAD, _digest_of_head(self), self._seal)


def write_run(
    folder: DocumentFolder,
    plan: TransferPlan,
    organization_id: str,
    files: Iterable[T],
    entry_of: Callable[[T], PlannedTransfer],
    *,
    count: int,
    total: int,
    shards: int | None,
    deletions: Sequence[PlannedTransfer] = (),
    key: str = "",
) -> RunPlan:
    """Write *files*, which are *count* of *total* bytes, as the shards of a new run, and the head last. Blocking.

    They may be gone through twice; *entry_of* is asked once for each. Documents are sealed with the secret *key*;
    without one no worker carries them out.
    """
    refuse_old_run(folder)
    head = RunPlan(
        folder.address,
        secrets.token_hex(8),
        plan.dataset_id,
        organization_id,
        plan.direction,
        plan.folder if not plan.folder or is_remote(plan.folder) else os.path.abspath(plan.folder),  # noqa: PTH100
        0,
        0,
        existing=plan.existing,
        skipped=dict(plan.skipped),
        notes=list(plan.notes),
        on_asset_overwritten=plan.on_asset_overwritten,
        created_ms=time.time_ns() // 1_000_000,
    )
    counts: Counter[str] = Counter()

    def entries(some: Iterable[T]) -> Iterator[PlannedTransfer]:
        for entry in map(entry_of, some):
            still_wanted()
            counts[entry.action] += 1
            head.bytes += _size_of(entry)
            yield entry

    for part in packed(files, _size_of, files=count, total=total, wanted=shards):
        name = shard_name(head.shards)
        data = _document(head, name, entries(part), key)
        if len(data) > MOST:
            raise ViInvalidParameterError(
                f"{name} of the run {folder.address} would be longer than {MOST >> 20} MiB.",
                parameter="shards",
                suggestion="Ask for more shards, in another folder.",
            )
        folder.write(name, data)
        head.shards += 1
    for start in range(0, len(deletions), SHARD_FILES):
        some = deletions[start : start + SHARD_FILES]
        name = deletions_name(head.deletion_lists)
        folder.write(name, _document(head, name, some, key))
        head.deletion_lists += 1
        counts.update(entry.action for entry in some)
    head.counts = dict(counts)
    head._seal = seal(key, HEAD, _digest_of_head(head))
    fields = _fields_of(head)
    folder.write(HEAD, json.dumps({"vi-run": FORMAT, **fields, "seal": head._seal}, indent=1).encode())
    return head


def _fields_of(head: RunPlan) -> dict[str, Any]:
    """Return what a head says wherever its folder is."""
    return {name: value for name, value in head.to_dict().items() if name != "address"}


def _digest_of_head(head: RunPlan) -> bytes:
    return digest_of(head.run_id, [json.dumps(_fields_of(head), sort_keys=True)])


async def open_run(run: object, shards: object, *, dry_run: bool) -> DocumentFolder | None:
    """Return the folder that a run is to be written to, which must hold none; None if no run is wanted."""
    if shards is not None and (type(shards) is not int or shards < 1 or run is None):
        raise ViInvalidParameterError(
            f"shards must be an integer above 0, and belongs to plan; got {brief(shards)}.", parameter="shards"
        )
    if run is None:
        return None
    if dry_run:
        raise ViInvalidParameterError("Give plan or dry_run, not both: a dry run writes nothing.", parameter="plan")
    folder = await in_thread(DocumentFolder.of, run, "plan")
    await in_thread(refuse_old_run, folder)
    return folder


async def save_run(folder: DocumentFolder, plan: TransferPlan, author: Author, shards: int | None) -> RunPlan:
    """Write a plan that is in memory as a run."""
    moving = [entry for entry in plan if entry.action not in DELETIONS]
    deletions = [_anywhere(entry) for entry in plan if entry.action in DELETIONS]
    write = partial(write_run, count=len(moving), total=plan.bytes, shards=shards, deletions=deletions)
    return await in_thread(
        partial(write, key=author.secret_key), folder, plan, author.organization_id, moving, _anywhere
    )


def upload_plan(dataset_id: str, inventory: Inventory, retention: ResourceRetentionMode) -> TransferPlan:
    """Return the plan of an upload without its entries."""
    plan = TransferPlan(dataset_id, "up", skipped=dict(inventory.skip_reasons), notes=inventory.notes)
    plan.on_asset_overwritten = str(retention)
    return plan


async def save_uploads(
    folder: DocumentFolder,
    plan: TransferPlan,
    author: Author,
    shards: int | None,
    inventory: Inventory,
    metadata_of: Reader | None,
) -> RunPlan:
    """Write the files of an upload as a run, one after the other. Each shard is compared with the dataset when it runs.

    *plan* has no entries.
    """

    def entry_of(file: FileRecord | Broken) -> PlannedTransfer:
        if isinstance(file, Broken):
            return PlannedTransfer("keep", file.filename, file.path, 0, file.message, code=file.code)
        wanted = None if metadata_of is None else metadata_of(file)
        path = _path_of(file)
        return PlannedTransfer("upload", file.filename, path, max(file.size, 0), GIVEN, custom_metadata=wanted)

    count = inventory.count + len(inventory.broken)
    write = partial(write_run, count=count, total=inventory.bytes, shards=shards, key=author.secret_key)
    return await in_thread(write, folder, plan, author.organization_id, _Files(inventory), entry_of)


@attrs.frozen
class _Files:
    """The files of an upload, from the first one on each time, and those that cannot be sent."""

    inventory: Inventory

    def __iter__(self) -> Iterator[FileRecord | Broken]:
        yield from self.inventory
        yield from self.inventory.broken


def _path_of(record: FileRecord) -> str:
    """Return where another process finds a file."""
    if isinstance(record.source, PathSource):
        return os.path.abspath(record.source.path)  # noqa: PTH100
    if isinstance(record.source, RemoteSource):
        label, path = record.source.label, record.source.found.path
        if label.startswith(WEB) and label != str(path):
            raise ViInvalidParameterError(
                f"{label} has a query or a password, which a run does not keep.",
                parameter="paths",
                suggestion="Upload it without plan, or give an address that needs neither.",
            )
        return without_password(label, path)
    raise ViInvalidParameterError(
        f"{record.source.label} is in memory: plan takes files and addresses only.",
        parameter="plan",
        suggestion="Save it as a file first, or upload it without plan.",
    )


def _anywhere(entry: PlannedTransfer) -> PlannedTransfer:
    path = entry.path
    return attrs.evolve(entry, path=path if not path or is_remote(path) else os.path.abspath(path))  # noqa: PTH100


def refuse_old_run(folder: DocumentFolder) -> None:
    """Refuse a folder in which a run is, or the reports of one. Blocking."""
    there = [name for name in folder.names() if name in (HEAD, FINISHED) or name.startswith("report-")]
    if there:
        raise ViInvalidParameterError(
            f"plan {folder.address} holds a run already ({there[0]}).",
            parameter="plan",
            suggestion="Give another folder, or remove this one.",
        )


def read_head(folder: DocumentFolder) -> RunPlan:
    """Return the head of a run. Blocking."""
    data = folder.read(HEAD, MOST_OF_HEAD)
    if data is None:
        raise ViPathError(
            f"{folder.address} holds no run: {HEAD} is missing.",
            path=folder.address,
            suggestion="Make one with upload, download or sync and plan=.",
        )
    try:
        fields = json.loads(data)
        if fields.pop("vi-run") != FORMAT:
            raise ValueError("of another format")
        return _checked(RunPlan(folder.address, **fields))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _unreadable(folder, HEAD) from None


def read_sealed(folder: DocumentFolder, head: RunPlan, name: str) -> tuple[TransferPlan, Sealed]:
    """Return a shard or a list of deletions, and what tells whose it is. Blocking."""
    data = folder.read(name)
    if data is None:
        raise incomplete(folder, f"{name} is missing.")
    try:
        first, *lines = data.decode().rstrip("\n").split("\n")
        title = json.loads(first)
        if title["vi-shard"] != head.run_id or title["entries"] != len(lines):
            raise ValueError("of another run, or cut short")
        plan = attrs.evolve(head.without_entries(), existing=0, skipped={}, notes=[])
        plan.entries = [read_entry(json.loads(line)) for line in lines]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _unreadable(folder, name) from None
    return plan, Sealed(name, digest_of(head.run_id, lines), title.get("seal"))


def incomplete(folder: DocumentFolder, what: str) -> ViPathError:
    """Return what says that a run lacks a part."""
    return ViPathError(
        f"{folder.address} is incomplete: {what}",
        path=folder.address,
        suggestion="Copy all of the run, or make the plan again in another folder.",
    )


def _unreadable(folder: DocumentFolder, name: str) -> ViInvalidParameterError:
    return ViInvalidParameterError(
        f"{name} of the run {folder.address} cannot be read, or is of another run.",
        path=folder.address,
        suggestion="Make the plan again, in another folder.",
    )


def _document(head: RunPlan, name: str, entries: Iterable[PlannedTransfer], key: str) -> bytes:
    lines = [line_of(entry) for entry in entries]
    made = seal(key, name, digest_of(head.run_id, lines))
    title = {"vi-shard": head.run_id, "entries": len(lines), "seal": made}
    return "\n".join([json.dumps(title), *lines, ""]).encode()


def _size_of(file: Any) -> int:
    """Return how many bytes of a record or an entry are moved."""
    return max(getattr(file, "size", 0), 0) if getattr(file, "action", "upload") in ("upload", "download") else 0


def _checked(head: RunPlan) -> RunPlan:
    numbers = [getattr(head, name) for name in _COUNTS] + [*head.counts.values()]
    texts = [getattr(head, name) for name in _TEXTS]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("of another shape")
    if not all(type(text) is str and "\0" not in text for text in texts):
        raise ValueError("of another shape")
    head.without_entries().check()
    return head
