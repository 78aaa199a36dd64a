"""The two sides of a comparison: a folder, local or remote, and a dataset."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

from ......_checks import check_word
from ......_transfer.filters import Filters
from ......_transfer.inventory import Inventory, Naming
from ......_transfer.journals.digests import KnownDigests, known_digests
from ......_transfer.remote_folders import RemoteFolder
from ......_transfer.threads.lanes import Lanes
from ......_transfer.threads.stopping import in_thread
from ......codes import FileCode
from ......errors import ViInvalidParameterError
from ..calls import AssetCalls
from ..download.run import DownloadOptions
from ..metadata.given import Given, OnUnmatched
from ..plans import PlannedTransfer, TransferPlan
from ..remote_index import RemoteAsset, RemoteIndex
from ..responses import ResourceRetentionMode
from .planning import compare_local, plan_down, plan_up, scan_folder
from .remote import beside_remote, compare_remote, scan_remote


def check_direction(direction: object, names: Naming, follow_links: bool, custom_metadata: object) -> None:
    """Refuse an unknown direction, and what applies to uploads only."""
    check_word("direction", direction, "up", "down")
    if direction == "down" and (callable(names) or follow_links):
        raise ViInvalidParameterError(
            "follow_links and a function as names apply to uploads only; leave them out for direction='down'.",
            parameter="follow_links" if follow_links else "names",
        )
    if direction == "down" and custom_metadata is not None:
        raise ViInvalidParameterError(
            "custom_metadata applies to uploads only; leave it out for direction='down'.",
            parameter="custom_metadata",
        )


async def scan(
    calls: AssetCalls,
    place: Path | RemoteFolder,
    names: Naming,
    filters: Filters,
    *,
    may_be_missing: bool = False,
    with_metadata: bool = False,
) -> tuple[Inventory, RemoteIndex, Filters]:
    """Find the files of a folder and the assets; the filters come back with the folder's own."""
    if isinstance(place, Path):
        filters = await in_thread(filters.beside, place)
        inventory = await in_thread(scan_folder, place, names, filters)
        return inventory, await RemoteIndex.load(calls, metadata=with_metadata), filters
    index = await RemoteIndex.load(calls, metadata=with_metadata)
    filters = await in_thread(beside_remote, place, filters)
    find = partial(scan_remote, may_be_missing=may_be_missing)
    return await in_thread(find, place, names, filters, index.names), index, filters


async def compare_up(
    calls: AssetCalls,
    lanes: Lanes,
    place: Path | RemoteFolder,
    names: Naming,
    filters: Filters,
    known: KnownDigests,
    *,
    delete: bool,
    metadata: Given | None,
    on_unmatched: OnUnmatched,
    retention: ResourceRetentionMode,
) -> TransferPlan:
    """Plan to make the dataset like the folder."""
    inventory, index, filters = await scan(calls, place, names, filters, with_metadata=metadata is not None)
    return await plan_up(
        calls,
        inventory,
        lanes,
        folder=place,
        index=index,
        filters=filters,
        delete=delete,
        known=known,
        metadata=metadata,
        on_unmatched=on_unmatched,
        retention=retention,
    )


async def compare_down(
    calls: AssetCalls,
    place: Path | RemoteFolder,
    names: Naming,
    filters: Filters,
    known: KnownDigests,
    *,
    delete: bool,
) -> TransferPlan:
    """Plan to make the folder like the dataset."""
    if isinstance(place, Path):
        filters = await in_thread(filters.beside, place)
        return await plan_down(calls, place, names=names, filters=filters, delete=delete, known=known)
    inventory, index, filters = await scan(calls, place, names, filters, may_be_missing=True)
    work = partial(compare_remote, filters=filters, delete=delete)
    return await in_thread(work, calls.dataset_id, place, index, inventory, known)


async def plan_download(calls: AssetCalls, options: DownloadOptions) -> TransferPlan:
    """Plan what a download would do: compare what it selects with its folder."""
    index = await RemoteIndex.load(calls, query=options.query)
    whole = await RemoteIndex.load(calls) if options.query else index
    ids = None if options.asset_ids is None else frozenset(options.asset_ids)
    left = itertools.count(1)

    def takes(name: str, asset: RemoteAsset) -> bool:
        selected = (ids is None or asset.asset_id in ids) and (options.filters is None or options.filters.takes(name))
        return selected and (options.limit is None or next(left) <= options.limit)

    how: dict[str, Any] = {"overwrite": options.overwrite, "takes": takes, "dataset_names": whole.names}
    if options.remote_folder is None:
        plan = await in_thread(partial(compare_local, calls.dataset_id, options.folder, index, **how))
    else:
        place = options.remote_folder
        inventory = await in_thread(
            partial(scan_remote, may_be_missing=True), place, "relative", Filters(), index.names
        )
        async with known_digests(trust=True) as known:
            work = partial(compare_remote, calls.dataset_id, place, index, inventory, known, **how)
            plan = await in_thread(work)
    plan.notes = options.filters.notes if options.filters is not None else []
    for missing in (ids or frozenset()) - {asset.asset_id for _, asset in index}:
        gone = PlannedTransfer("keep", missing, "", 0, "the asset does not exist", missing, code=FileCode.ENOENT)
        plan.entries.append(gone)
    return plan
