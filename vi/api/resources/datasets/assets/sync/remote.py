"""The remote folder of a sync: what it holds, what a plan has to do there, and the deletions in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from ......_media import media_type
from ......_transfer.discovery import beside, discover
from ......_transfer.filters import Filters
from ......_transfer.inventory import Inventory, Naming
from ......_transfer.journals.digests import KnownDigests, Look, change_number
from ......_transfer.names import STRICT, LocalNames
from ......_transfer.outcomes import SourceFailedError
from ......_transfer.record import FileFailure, FileRecord
from ......_transfer.remote_folders import RemoteFolder
from ......_transfer.sources.local import Facts
from ......_transfer.sources.remote import RemoteSource
from ......_transfer.threads.stopping import still_wanted
from ......codes import FileCode
from ......errors import ViOperationError, ViPathError
from ..plans import Action, PlannedTransfer, TransferPlan
from ..remote_index import RemoteAsset, RemoteIndex
from .comparison import NO_FILTERS


def scan_remote(
    place: RemoteFolder, names: Naming, filters: Filters, known: Collection[str], *, may_be_missing: bool = False
) -> Inventory:
    """List the files of a remote folder; *known* are the names of the dataset. Blocking."""
    found = place.found()
    try:
        if found.is_folder:
            return discover([found], names, filters, may_be_empty=True, known=known)
        is_missing = found.is_missing
    except (OSError, SourceFailedError) as error:
        raise _cannot_list(place, error) from None
    if not is_missing:
        raise ViPathError(f"{place.label} is a file, not a folder.", path=place.label)
    if not may_be_missing:
        raise ViPathError(f"No such folder: {place.label}.", path=place.label, suggestion="Check the spelling.")
    return Inventory(names)


def beside_remote(place: RemoteFolder, filters: Filters) -> Filters:
    """Return the filters together with the .viignore of a remote folder, if it is there. Blocking."""
    found = place.found()
    try:
        found.forget_listings()
        return beside(found, filters) if found.is_folder else filters
    except (OSError, SourceFailedError) as error:
        raise _cannot_list(place, error) from None


def _cannot_list(place: RemoteFolder, error: Exception) -> ViPathError:
    reason = getattr(error, "strerror", None) or str(error)
    return ViPathError(f"{place.label} cannot be listed: {reason}.", path=place.label)


def compare_remote(
    dataset_id: str,
    place: RemoteFolder,
    index: RemoteIndex,
    inventory: Inventory,
    known: KnownDigests,
    *,
    filters: Filters = NO_FILTERS,
    delete: bool = False,
    overwrite: bool = True,
    takes: Callable[[str, RemoteAsset], bool] = lambda name, asset: True,
    dataset_names: Collection[str] | None = None,
) -> TransferPlan:
    """Plan to make the remote folder like the dataset, or like what *takes* leaves of it. Blocking.

    Without *overwrite* a remote file with other content is kept. *dataset_names* are all names where *index* is a
    selection.
    """
    if inventory.broken:
        raise ViOperationError(f"{place.label} cannot be read in full: {inventory.broken[0].message}")
    plan = TransferPlan(dataset_id, "down", place.label)
    names = LocalNames(STRICT)
    names.learn(index.names if dataset_names is None else dataset_names)
    records = {place.below(record.path): record for record in inventory}
    usual = Counter(record.filename for record in records.values())
    placed = {record.filename: below for below, record in records.items() if usual[record.filename] == 1}
    for name, asset in index:
        still_wanted()
        chosen = names.choose(name, asset.asset_id, records.__contains__)
        below = chosen if chosen in records else placed.get(name, chosen)
        if not filters.takes(name) or not takes(name, asset):
            continue
        target, record, number = place.target(below), records.get(below), None
        action: Action = "download"
        reason = "new"
        if record is not None:
            look, facts = _examine(record, asset, known)
            if facts is not None and asset.has(facts.crc32c, facts.sha256):
                plan.existing += 1
                continue
            number, reason = change_number(look), "contents differ" if asset.expected else "cannot be compared"
            if not overwrite:
                action, reason = "keep", "a remote file with other content exists"
        plan.entries.append(
            PlannedTransfer(action, name, target, asset.size, reason, asset.asset_id, asset.etag, number)
        )
    if delete:
        _plan_deletions(plan, records, index)
    plan.notes = filters.notes
    return plan


def _examine(record: FileRecord, asset: RemoteAsset, known: KnownDigests) -> tuple[Look | None, Facts | None]:
    """Return what a file is like, and its digests if its size is that of the asset."""
    source = _source(record)
    look = Look.afar(source.found)
    if record.size not in (-1, asset.size) or not asset.expected:
        return look, None
    [facts] = known.facts([look])
    if facts is None:
        facts = source.examine_now("digests")
        known.note([(look, facts)])
    return look, facts


def _source(record: FileRecord) -> RemoteSource:
    assert isinstance(record.source, RemoteSource)
    return record.source


def _plan_deletions(plan: TransferPlan, records: dict[str, FileRecord], index: RemoteIndex) -> None:
    """Plan to delete the files that stand for no asset; where no name holds a folder, folders below stay."""
    is_tree = any("/" in name for name in index.names)
    wanted = {entry.path for entry in plan}
    surplus = [
        (below, record)
        for below, record in records.items()
        if record.filename not in index.names and record.path not in wanted and (is_tree or "/" not in below)
    ]
    if surplus and not len(index):
        raise ViOperationError(
            f"Nothing is deleted: the dataset is empty, so all {len(surplus)} of the other side would be deleted."
        )
    for below, record in surplus:
        number = change_number(Look.afar(_source(record).found))
        size = max(record.size, 0)
        plan.entries.append(
            PlannedTransfer("delete_file", below, record.path, size, "not in the dataset", mtime_ns=number)
        )


def source_of(place: RemoteFolder, path: str) -> RemoteSource | None:
    """Return the source of a planned upload; None if it is not below the folder."""
    below = place.below(path)
    return RemoteSource(place.file(below)) if below else None


def is_as_planned(place: RemoteFolder, entry: PlannedTransfer) -> bool:
    """Tell whether a remote file is as it was when the plan was made. Blocking."""
    below = place.below(entry.path)
    if not below:
        return False
    found = place.file(below)
    try:
        if found.is_missing:
            return entry.mtime_ns is None
        return entry.mtime_ns is not None and change_number(Look.afar(found)) == entry.mtime_ns
    except (OSError, SourceFailedError):
        return False


def has_size(place: RemoteFolder, entry: PlannedTransfer, size: int) -> bool:
    """Tell whether a remote file exists and has the planned size. Blocking."""
    below = place.below(entry.path)
    try:
        return bool(below) and place.file(below).size == size
    except (OSError, SourceFailedError):
        return False


def is_back(place: RemoteFolder, name: str) -> bool:
    """Tell whether a remote folder holds a file of this name, which an upload would take. Blocking."""
    if name.rpartition("/")[2].startswith(".") or media_type(name) is None:
        return False
    try:
        return not place.file(name).is_missing
    except (OSError, SourceFailedError):
        return True


def delete_remote(plan: TransferPlan, place: RemoteFolder) -> tuple[int, list[FileFailure]]:
    """Delete the remote files that the plan names, if they still are what was planned. Blocking."""
    deleted, failed = 0, []
    place.found().forget_listings()
    for entry in plan:
        if entry.action != "delete_file":
            continue
        still_wanted()
        if not entry.mtime_ns or not is_as_planned(place, entry):
            message = f"{entry.path} has changed since, or its file system does not tell."
            failed.append(FileFailure(entry.path, entry.filename, FileCode.ECHANGED, message))
            continue
        try:
            place.remove(place.below(entry.path))
            deleted += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            failed.append(FileFailure(entry.path, entry.filename, FileCode.EIO, f"{entry.path}: {error.strerror}."))
    return deleted, failed
