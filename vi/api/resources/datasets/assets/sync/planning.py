"""Planning to make a dataset like a folder, or a folder like a dataset, by moving only the difference.

The whole comparison comes first: a listing that fails, a folder that cannot be read in full, or more deletions than
allowed end it before anything is sent or deleted.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ......_media import media_type
from ......_transfer import files
from ......_transfer.discovery import EXCLUDED_FOLDER, Inventory, Naming, discover
from ......_transfer.filters import Filters
from ......_transfer.names import LocalNames, key_of, name_problem
from ......_transfer.threads.lanes import Lanes
from ......_transfer.threads.stopping import in_thread, still_wanted
from ......errors import ViInvalidParameterError, ViOperationError, ViPathError
from ..calls import AssetCalls
from ..download.run import DownloadOptions
from ..plans import Action, PlannedTransfer, TransferPlan
from ..remote_index import RemoteAsset, RemoteIndex
from .comparison import NO_FILTERS, Comparison

DEFAULT_MAX_DELETE = 100

_NEVER_SENT = ("unsupported", "hidden", "symlink")
_REASONS = {True: "the same is there", False: "contents differ", None: "cannot be compared"}


def scan_folder(folder: Path, names: Naming, filters: Filters) -> Inventory:
    """Scan a folder that must exist; it may be empty."""
    if not folder.is_dir():
        raise ViPathError(f"No such folder: {folder}.", path=str(folder))
    inventory = discover([folder], names, filters, may_be_empty=True)
    inventory.check_names()
    return inventory


async def plan_up(
    calls: AssetCalls,
    inventory: Inventory,
    lanes: Lanes,
    *,
    folder: Path | None = None,
    filters: Filters = NO_FILTERS,
    delete: bool = False,
    skip_existing: bool = True,
) -> TransferPlan:
    """Plan to make the dataset like the folder; without *skip_existing* what is the same is sent again.

    Nothing is deleted that the filters leave out, or that a local file left out for another reason has the name of.
    """
    root = str(folder) if folder is not None else ""
    plan = TransferPlan(calls.dataset_id, "up", root, skipped=dict(inventory.skip_reasons))
    comparison = Comparison(inventory, await RemoteIndex.load(calls), lanes, filters)
    async for compared in comparison:
        record, asset = compared.record, compared.asset
        if compared.same and skip_existing:
            plan.existing += 1
            continue
        reason = "new" if asset is None else _REASONS[compared.same]
        plan.entries.append(PlannedTransfer("upload", record.filename, record.path, record.size, reason))
    for failure in comparison.failures:
        plan.entries.append(PlannedTransfer("keep", failure.filename, failure.path, 0, failure.message))
    only_remote = comparison.only_remote()
    plan.notes = [*inventory.notes] if filters is NO_FILTERS else filters.notes
    if delete:
        if comparison.failures:
            raise ViOperationError(
                f"Nothing is deleted: {len(comparison.failures)} local files could not be read; the first: "
                f"{comparison.failures[0].message}"
            )
        left_out = await in_thread(_names_left_out, inventory, root)
        surplus = [(name, asset) for name, asset in only_remote if name not in left_out]
        if not comparison.seen:
            _refuse_empty(len(surplus), f"the folder {root} contains no images or videos")
        for name, asset in surplus:
            plan.entries.append(
                PlannedTransfer("delete_asset", name, "", asset.size, "not in the folder", asset.asset_id, asset.etag)
            )
    return plan


def _names_left_out(inventory: Inventory, folder: str) -> set[str]:
    """Return the names, bare and below the folder, of files that are there and are not sent: an empty one above all."""
    counted = sum(count for reason, count in inventory.skip_reasons.items() if not reason.startswith(_NEVER_SENT))
    named = [skip for skip in inventory.skips if not skip.reason.startswith(_NEVER_SENT)]
    if counted > len(named):
        raise ViOperationError(f"Nothing is deleted: {counted} files of {folder} are skipped, too many to compare.")
    paths = [Path(os.path.relpath(skip.path, folder)) for skip in named]
    for skip in named:
        if skip.reason == EXCLUDED_FOLDER and not inventory.named_by_path:
            paths += _files_below(skip.path, folder)
    return {name for path in paths for name in (path.name, path.as_posix())}


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


async def plan_down(calls: AssetCalls, folder: Path, *, filters: Filters = NO_FILTERS, delete: bool) -> TransferPlan:
    """Plan to make the folder like the dataset."""
    index = await RemoteIndex.load(calls)
    return await in_thread(partial(_compare_down, calls.dataset_id, folder, index, filters=filters, delete=delete))


async def plan_download(calls: AssetCalls, options: DownloadOptions) -> TransferPlan:
    """Plan what a download would do: compare what it selects with its folder."""
    index = await RemoteIndex.load(calls, query=options.query)
    ids = None if options.asset_ids is None else frozenset(options.asset_ids)
    left = itertools.count(1)

    def takes(name: str, asset: RemoteAsset) -> bool:
        selected = (ids is None or asset.asset_id in ids) and (options.filters is None or options.filters.takes(name))
        return selected and (options.limit is None or next(left) <= options.limit)

    plan = await in_thread(
        partial(_compare_down, calls.dataset_id, options.folder, index, overwrite=options.overwrite, takes=takes)
    )
    plan.notes = options.filters.notes if options.filters is not None else []
    for missing in (ids or frozenset()) - {asset.asset_id for _, asset in index}:
        plan.entries.append(PlannedTransfer("keep", missing, "", 0, "the asset does not exist", missing))
    return plan


def _compare_down(
    dataset_id: str,
    folder: Path,
    index: RemoteIndex,
    *,
    filters: Filters = NO_FILTERS,
    delete: bool = False,
    overwrite: bool = True,
    takes: Callable[[str, RemoteAsset], bool] = lambda name, asset: True,
) -> TransferPlan:
    """Compare the folder with the dataset, or with what *takes* leaves of it; blocking, since files are read.

    Without *overwrite* a local file with other content is kept.
    """
    plan = TransferPlan(dataset_id, "down", str(folder))
    local_names = LocalNames()
    wanted: dict[str, Path] = {}
    for name, asset in index:
        local = local_names.choose(name, asset.asset_id)
        path = wanted[key_of(local)] = folder / local
        still_wanted()
        if not filters.takes(name) or not takes(name, asset):
            continue
        mtime_ns = mtime_ns_of(path)
        action: Action
        if mtime_ns is None:
            action, reason = "download", "new"
        elif files.content_matches(str(path), asset.size, asset.expected):
            plan.existing += 1
            continue
        elif overwrite:
            action, reason = "download", "contents differ" if asset.expected else "cannot be compared"
        else:
            action, reason = "keep", "a local file with other content exists"
        plan.entries.append(
            PlannedTransfer(action, name, str(path), asset.size, reason, asset.asset_id, asset.etag, mtime_ns)
        )
    if delete and folder.is_dir():
        _plan_deletions(plan, folder, wanted, filters)
    plan.notes = filters.notes
    return plan


def _plan_deletions(plan: TransferPlan, folder: Path, wanted: dict[str, Path], filters: Filters) -> None:
    paths = [path for path in sorted(folder.iterdir()) if filters.takes(path.name) and is_ours_to_delete(path)]
    if not wanted:
        _refuse_empty(len(paths), "the dataset is empty")
    for path in paths:
        asset = wanted.get(key_of(path.name))
        # Where case or Unicode form do not count, the asset's own file may show under another spelling.
        if asset is not None and (path == asset or (asset.exists() and path.samefile(asset))):
            continue
        status = path.lstat()
        plan.entries.append(
            PlannedTransfer(
                "delete_file", path.name, str(path), status.st_size, "not in the dataset", mtime_ns=status.st_mtime_ns
            )
        )


def mtime_ns_of(path: Path) -> int | None:
    """Return the time of what is at *path*; None when nothing is."""
    try:
        return path.lstat().st_mtime_ns
    except FileNotFoundError:
        return None


def _refuse_empty(deletions: int, reason: str) -> None:
    """An empty side is more often a disk that is not mounted, or a wrong id, than the wish to delete everything."""
    if deletions:
        raise ViOperationError(f"Nothing is deleted: {reason}, so all {deletions} of the other side would be deleted.")


def is_ours_to_delete(path: Path) -> bool:
    """Only files that an upload of the folder would have taken: never hidden ones, folders, links or other types."""
    if path.name.startswith(".") or media_type(path.name) is None or name_problem(path.name) is not None:
        return False
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def check_max_delete(max_delete: int) -> None:
    """Refuse what is not a bound."""
    if isinstance(max_delete, bool) or not isinstance(max_delete, int) or max_delete < 0:
        raise ViInvalidParameterError(f"max_delete must be 0 or more, got {max_delete!r}.", parameter="max_delete")


def check_deletions(plan: TransferPlan, max_delete: int) -> None:
    """Refuse a plan that would delete more than *max_delete*."""
    if plan.deletions > max_delete:
        raise ViOperationError(
            f"The sync would delete {plan.deletions}, more than max_delete={max_delete}; nothing was changed.",
            suggestion="Check the plan with dry_run=True, and raise max_delete if the plan is right.",
        )
