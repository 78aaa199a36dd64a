"""Planning to make a dataset like a folder, or a folder like a dataset, by moving only the difference.

The whole comparison comes first: a listing that fails, a folder that cannot be read in full, or more deletions than
allowed end it before anything is sent or deleted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from ....._media import media_type
from ....._transfer import files
from ....._transfer.discovery import Filters, Inventory, Naming, discover, name_problem
from ....._transfer.lanes import Lanes
from ....._transfer.names import LocalNames
from .....errors import ViInvalidParameterError, ViOperationError, ViPathError
from .comparison import Comparison
from .holdings import Held, Holdings
from .plans import PlannedTransfer, TransferPlan

DEFAULT_MAX_DELETE = 100

_REASONS = {True: "the same is there", False: "contents differ", None: "cannot be compared"}


def survey(folder: Path, names: Naming, filters: Filters) -> Inventory:
    """Take stock of a folder that must be there; an empty one is no error here."""
    if not folder.is_dir():
        raise ViPathError(f"No such folder: {folder}.", path=str(folder))
    inventory = discover([folder], names, filters, may_be_empty=True)
    inventory.check_names()
    return inventory


async def plan_up(
    dataset_id: str,
    inventory: Inventory,
    holdings: Holdings,
    lanes: Lanes,
    *,
    folder: str = "",
    delete: bool = False,
    skip_existing: bool = True,
) -> TransferPlan:
    """Plan to make the dataset like the folder; without *skip_existing* what is the same is sent again."""
    plan = TransferPlan(dataset_id, "up", folder, skipped=dict(inventory.skip_reasons))
    comparison = Comparison(inventory, holdings, lanes)
    async for compared in comparison:
        record, held = compared.record, compared.held
        if compared.same and skip_existing:
            plan.existing += 1
            continue
        reason = "new" if held is None else _REASONS[compared.same]
        plan.entries.append(PlannedTransfer("upload", record.filename, record.path, record.size, reason))
    for failure in comparison.failures:
        plan.entries.append(PlannedTransfer("keep", failure.filename, failure.path, 0, failure.message))
    if delete:
        if comparison.failures:
            raise ViOperationError(
                f"Nothing is deleted: {len(comparison.failures)} local files could not be read; the first: "
                f"{comparison.failures[0].message}"
            )
        if not comparison.seen:
            _refuse_empty(len(holdings), f"the folder {folder} holds no image or video")
        for name, held in comparison.only_remote():
            plan.entries.append(
                PlannedTransfer("delete_asset", name, "", held.size, "not in the folder", held.asset_id, held.etag)
            )
    return plan


def plan_down(
    dataset_id: str,
    folder: Path,
    holdings: Holdings,
    *,
    delete: bool = False,
    overwrite: bool = True,
    takes: Callable[[str, Held], bool] = lambda name, held: True,
) -> TransferPlan:
    """Plan to make the folder like the dataset, or like what *takes* leaves of it; blocking, since files are read.

    Without *overwrite* a local file with other content is kept.
    """
    plan = TransferPlan(dataset_id, "down", str(folder))
    local_names = LocalNames()
    wanted: set[str] = set()
    for name, held in holdings:
        local = local_names.choose(name, held.asset_id)
        wanted.add(local)
        if not takes(name, held):
            continue
        path = folder / local
        if not os.path.lexists(path):
            reason = "new"
        elif files.content_matches(str(path), held.size, held.expected):
            plan.existing += 1
            continue
        elif overwrite:
            reason = "contents differ"
        else:
            reason = "a local file with other content is there"
            plan.entries.append(PlannedTransfer("keep", name, str(path), held.size, reason, held.asset_id, held.etag))
            continue
        plan.entries.append(PlannedTransfer("download", name, str(path), held.size, reason, held.asset_id, held.etag))
    if delete and folder.is_dir():
        if not wanted:
            _refuse_empty(sum(is_ours_to_delete(path) for path in folder.iterdir()), "the dataset is empty")
        for path in sorted(folder.iterdir()):
            if path.name not in wanted and is_ours_to_delete(path):
                size = path.lstat().st_size
                plan.entries.append(PlannedTransfer("delete_file", path.name, str(path), size, "not in the dataset"))
    return plan


def _refuse_empty(deletions: int, reason: str) -> None:
    """An empty side is more often a disk that is not mounted, or a wrong id, than the wish to delete everything."""
    if deletions:
        raise ViOperationError(f"Nothing is deleted: {reason}, so all {deletions} of the other side would go.")


def is_ours_to_delete(path: Path) -> bool:
    """Only files that an upload of the folder would have taken: never hidden ones, folders, links or other types."""
    return (
        not path.name.startswith(".")
        and stat.S_ISREG(path.lstat().st_mode)
        and media_type(path.name) is not None
        and name_problem(path.name) is None
    )


def check_deletions(plan: TransferPlan, max_delete: int) -> None:
    """Refuse a plan that would delete more than *max_delete*."""
    if isinstance(max_delete, bool) or not isinstance(max_delete, int) or max_delete < 0:
        raise ViInvalidParameterError(f"max_delete must be 0 or more, got {max_delete!r}.", parameter="max_delete")
    if plan.deletions > max_delete:
        raise ViOperationError(
            f"The sync would delete {plan.deletions}, more than max_delete={max_delete}; nothing was done.",
            suggestion="Look at the plan with dry_run=True, and raise max_delete if it is what you want.",
        )
