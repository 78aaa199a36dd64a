"""Planning to make a dataset like a folder, or a folder like a dataset, by moving only the difference.

The whole comparison comes first: a listing that fails, a folder that cannot be read in full, or more deletions than
allowed end it before anything is sent or deleted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import attrs

from ......_checks import must_be
from ......_media import media_type
from ......_paths import advice_on_missing
from ......_show.units import several
from ......_transfer import files
from ......_transfer.discovery import EXCLUDED_FOLDER, discover
from ......_transfer.file_system import is_same_file, rules_of, spellings
from ......_transfer.filters import Filters
from ......_transfer.inventory import Inventory, Naming
from ......_transfer.journals.digests import KnownDigests, Look
from ......_transfer.names import LocalNames, below, key_of, name_problem, remote_name
from ......_transfer.outcomes import SourceChangedError
from ......_transfer.remote_folders import RemoteFolder
from ......_transfer.sources.local import examine_path
from ......_transfer.threads.lanes import Lanes
from ......_transfer.threads.stopping import in_thread, still_wanted
from ......errors import ViOperationError, ViPathError
from ..calls import AssetCalls
from ..metadata.given import Given, OnUnmatched, reader
from ..metadata.values import differing
from ..plans import Action, PlannedTransfer, TransferPlan
from ..remote_index import RemoteAsset, RemoteIndex
from ..responses import ResourceRetentionMode
from .comparison import NO_FILTERS, Comparison, pair

DEFAULT_MAX_DELETE = 100

_NEVER_SENT = ("unsupported", "hidden", "symlink")
_REASONS = {True: "the same is there", False: "contents differ", None: "cannot be compared"}


def scan_folder(folder: Path, names: Naming, filters: Filters) -> Inventory:
    """Scan a folder that must exist; it may be empty."""
    if not folder.is_dir():
        problem = f"{folder} is a file, not a folder." if folder.is_file() else f"No such folder: {folder}."
        raise ViPathError(problem, path=str(folder), suggestion=advice_on_missing())
    return discover([folder], names, filters, may_be_empty=True)


async def plan_up(
    calls: AssetCalls,
    inventory: Inventory,
    lanes: Lanes,
    *,
    folder: Path | RemoteFolder | None = None,
    index: RemoteIndex | None = None,
    filters: Filters = NO_FILTERS,
    delete: bool = False,
    skip_existing: bool = True,
    known: KnownDigests | None = None,
    metadata: Given | None = None,
    on_unmatched: OnUnmatched = "error",
    retention: ResourceRetentionMode = ResourceRetentionMode.REMOVE_LINKED_RESOURCE,
) -> TransferPlan:
    """Plan to make the dataset like the folder; without *skip_existing* what is the same is sent again.

    What is *known* of a file that has not changed is not read.

    Nothing is deleted that the filters leave out, or that a local file left out for another reason has the name of.
    """
    root = "" if folder is None else folder.label if isinstance(folder, RemoteFolder) else str(folder)
    plan = TransferPlan(calls.dataset_id, "up", root, skipped=dict(inventory.skip_reasons))
    plan.on_asset_overwritten = str(retention)
    if index is None:
        index = await RemoteIndex.load(calls, metadata=metadata is not None)
    if folder is not None:
        await in_thread(pair, inventory, index)
    metadata_of = reader(metadata, inventory, on_unmatched, bare=inventory.named_bare)
    comparison = Comparison(inventory, index, lanes, filters, known=known)
    async for compared in comparison:
        record, asset = compared.record, compared.asset
        wanted = None if metadata_of is None else metadata_of(record)
        entry = PlannedTransfer("upload", record.filename, record.path, record.size, "new", custom_metadata=wanted)
        if asset is not None and compared.same and skip_existing:
            update = differing(wanted, asset.custom_metadata)
            if not update:
                plan.existing += 1
                continue
            entry = attrs.evolve(
                entry, action="set_metadata", size=0, reason="metadata differs", custom_metadata=update
            )
        elif asset is not None:
            removed = asset.annotations if retention is ResourceRetentionMode.REMOVE_LINKED_RESOURCE else 0
            reason = _REASONS[compared.same] + (f", removes {several(removed, 'annotation')}" if removed else "")
            entry = attrs.evolve(
                entry, reason=reason, asset_id=asset.asset_id, etag=asset.etag, annotations=removed or None
            )
        plan.entries.append(entry)
    for failure in comparison.failures:
        plan.entries.append(
            PlannedTransfer("keep", failure.filename, failure.path, 0, failure.message, code=failure.code)
        )
    only_remote = comparison.only_remote()
    plan.notes = [*inventory.notes] if filters is NO_FILTERS else filters.notes
    if delete:
        if comparison.failures:
            raise ViOperationError(
                f"Nothing is deleted: {len(comparison.failures)} local files could not be read; the first: "
                f"{comparison.failures[0].message}"
            )
        left_out = await in_thread(_names_left_out, inventory, root, isinstance(folder, Path))
        surplus = [(name, asset) for name, asset in only_remote if name not in left_out]
        if not comparison.seen:
            _refuse_empty(len(surplus), f"the folder {root} contains no images or videos")
        for name, asset in surplus:
            plan.entries.append(
                PlannedTransfer("delete_asset", name, "", asset.size, "not in the folder", asset.asset_id, asset.etag)
            )
    return plan


def _names_left_out(inventory: Inventory, folder: str, is_local: bool) -> set[str]:
    """Return the names, bare and below the folder, of files that are there and are not sent: an empty one above all."""
    counted = sum(count for reason, count in inventory.skip_reasons.items() if not reason.startswith(_NEVER_SENT))
    named = [skip for skip in inventory.skips if not skip.reason.startswith(_NEVER_SENT)]
    if counted > len(named):
        raise ViOperationError(f"Nothing is deleted: {counted} files of {folder} are skipped, too many to compare.")
    if not is_local:
        return _remote_names_left_out(inventory, folder, [(skip.path, skip.reason) for skip in named])
    paths = [Path(os.path.relpath(skip.path, folder)) for skip in named]
    for skip in named:
        if skip.reason == EXCLUDED_FOLDER and not inventory.named_by_path:
            paths += _files_below(skip.path, folder)
    names = [remote_name(path.as_posix()) for path in paths]
    return {one for name in names for one in (name, name.rpartition("/")[2])}


def _remote_names_left_out(inventory: Inventory, folder: str, skips: list[tuple[str, str]]) -> set[str]:
    """Return the names of remote files that are not sent."""
    for path, reason in skips:
        if reason == EXCLUDED_FOLDER and not inventory.named_by_path:
            raise ViOperationError(
                f"Nothing is deleted: {path} is excluded, so its assets cannot be told from others.",
                suggestion="Give names='relative', or sync without delete.",
            )
    names = [remote_name(path.removeprefix(f"{folder}/")) for path, _ in skips]
    return {one for name in names for one in (name, name.rpartition("/")[2])}


def _files_below(excluded: str, folder: str) -> list[Path]:
    """Return the files of an excluded folder, below *folder*: assets with their bare names may be theirs."""

    def fail(error: OSError) -> None:
        raise ViOperationError(
            f"Nothing is deleted: the excluded folder {error.filename} cannot be read ({error.strerror}), so its assets "
            "cannot be told from others."
        )

    return [
        Path(os.path.relpath(os.path.join(place, name), folder))  # noqa: PTH118
        for place, _, files_here in os.walk(excluded, onerror=fail)
        for name in files_here
    ]


async def plan_down(
    calls: AssetCalls,
    folder: Path,
    *,
    names: Naming = "basename",
    filters: Filters = NO_FILTERS,
    delete: bool,
    known: KnownDigests | None = None,
) -> TransferPlan:
    """Plan to make the folder like the dataset."""
    index = await RemoteIndex.load(calls)

    def work() -> TransferPlan:
        inventory = discover([folder], names, filters, may_be_empty=True) if folder.is_dir() else None
        return compare_local(
            calls.dataset_id, folder, index, filters=filters, delete=delete, inventory=inventory, known=known
        )

    return await in_thread(work)


def compare_local(
    dataset_id: str,
    folder: Path,
    index: RemoteIndex,
    *,
    filters: Filters = NO_FILTERS,
    delete: bool = False,
    overwrite: bool = True,
    takes: Callable[[str, RemoteAsset], bool] = lambda name, asset: True,
    dataset_names: Collection[str] | None = None,
    inventory: Inventory | None = None,
    known: KnownDigests | None = None,
) -> TransferPlan:
    """Compare the folder with the dataset, or with what *takes* leaves of it. Blocking: files are read.

    Without *overwrite* a local file with other content is kept. *dataset_names* are all names where *index* is a
    selection; *inventory* is what the folder holds, where files may have been moved within it.
    """
    plan = TransferPlan(dataset_id, "down", str(folder))
    local_names = LocalNames(rules_of(folder), partial(spellings, folder))
    local_names.learn(index.names if dataset_names is None else dataset_names)
    placed = _placed(inventory, index, folder, local_names) if inventory is not None else {}
    for name, asset in index:
        local = placed.get(name) or local_names.choose(
            name, asset.asset_id, lambda below: os.path.lexists(folder / below)
        )
        path = folder / local
        still_wanted()
        if not filters.takes(name) or not takes(name, asset):
            continue
        mtime_ns = mtime_ns_of(path)
        action: Action
        if mtime_ns is None:
            action, reason = "download", "new"
        elif _is_same(os.path.realpath(path) if name in placed else str(path), asset, known):
            plan.existing += 1
            continue
        elif overwrite:
            action, reason = "download", "contents differ" if asset.expected else "cannot be compared"
        else:
            action, reason = "keep", "a local file with other content exists"
        plan.entries.append(
            PlannedTransfer(action, name, str(path), asset.size, reason, asset.asset_id, asset.etag, mtime_ns)
        )
    if delete and inventory is not None:
        _plan_deletions(plan, folder, index, inventory)
    plan.notes = filters.notes
    return plan


def _is_same(path: str, asset: RemoteAsset, known: KnownDigests | None) -> bool:
    """Tell whether a regular file has the asset's content, by what is known of it, or by reading it once."""
    if known is None or asset.expected.algorithm not in ("sha256", "crc32c"):
        return files.content_matches(os.open, path, asset.size, asset.expected)
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size != asset.size:
            return False
        look = Look.at(path)
        [facts] = known.facts([look])
        if facts is None:
            facts = examine_path(path, "digests")
            known.note([(look, facts)])
    except (OSError, SourceChangedError):
        return False
    return facts.size == asset.size and asset.has(facts.crc32c, facts.sha256) is True


def _placed(inventory: Inventory, index: RemoteIndex, folder: Path, names: LocalNames) -> dict[str, str]:
    """Return where files are that stand for an asset; a name that several files could have is left out."""
    inventory.match(index.names)
    found: dict[str, str] = {}
    unclear: set[str] = set()
    for record in inventory:
        name = record.filename
        if name not in index.names or found.get(name) == (usual := names.path(name)):
            continue
        local = below(folder, record.path_on_disk)
        if name in found and local != usual:
            unclear.add(name)
        else:
            found[name] = local
            unclear -= {name} if local == usual else set()
    return {name: local for name, local in found.items() if name not in unclear}


def _plan_deletions(plan: TransferPlan, folder: Path, index: RemoteIndex, inventory: Inventory) -> None:
    """Plan to delete the files that stand for no asset.

    Where no asset's name holds a folder, folders below are not the dataset's, and stay.
    """
    is_tree = any("/" in name for name in index.names)
    surplus = [
        (record.filename, Path(record.path_on_disk)) for record in inventory if record.filename not in index.names
    ]
    surplus = [
        (name, path)
        for name, path in surplus
        if (is_tree or "/" not in remote_name(below(folder, str(path)))) and is_ours_to_delete(path)
    ]
    if not len(index):
        _refuse_empty(len(surplus), "the dataset is empty")
    keys = {key_of(name): name for name in index.names} if surplus else {}
    for name, path in surplus:
        # Where case or Unicode form do not count, the asset's own file may show under another spelling.
        twin = keys.get(key_of(name))
        if twin is not None and is_same_file(twin, str(path), folder):
            continue
        status = path.lstat()
        plan.entries.append(
            PlannedTransfer(
                "delete_file",
                below(folder, str(path)),
                str(path),
                status.st_size,
                "not in the dataset",
                mtime_ns=status.st_mtime_ns,
            )
        )


def mtime_ns_of(path: Path) -> int | None:
    """Return the time of what is at *path*; None when nothing is."""
    try:
        return path.lstat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None


def _refuse_empty(deletions: int, reason: str) -> None:
    """An empty side is more often a disk that is not mounted, or a wrong id, than the wish to delete everything."""
    if deletions:
        raise ViOperationError(f"Nothing is deleted: {reason}, so all {deletions} of the other side would be deleted.")


def is_ours_to_delete(path: Path) -> bool:
    """Only files that an upload of the folder would have taken: never hidden ones, folders, links or other types."""
    name = remote_name(path.name)
    if path.name.startswith(".") or media_type(name) is None or name_problem(name) is not None:
        return False
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def check_max_delete(max_delete: int) -> None:
    """Refuse what is not a bound."""
    if isinstance(max_delete, bool) or not isinstance(max_delete, int) or max_delete < 0:
        raise must_be("max_delete", "0 or more", max_delete)


def check_deletions(plan: TransferPlan, max_delete: int) -> None:
    """Refuse a plan that would delete more than *max_delete*."""
    if plan.deletions > max_delete:
        raise ViOperationError(
            f"The sync would delete {plan.deletions}, more than max_delete={max_delete}; nothing was changed.",
            suggestion="Check the plan with dry_run=True, and raise max_delete if the plan is right.",
        )
