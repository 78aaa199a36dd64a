"""The two sides of a comparison: a folder, local or remote, and a dataset."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ......_transfer.filters import Filters
from ......_transfer.inventory import Inventory, Naming
from ......_transfer.journals.digests import KnownDigests
from ......_transfer.remote_folders import RemoteFolder
from ......_transfer.threads.stopping import in_thread
from ..calls import AssetCalls
from ..plans import TransferPlan
from ..remote_index import RemoteIndex
from .planning import plan_down, scan_folder
from .remote import beside_remote, compare_remote, scan_remote


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
