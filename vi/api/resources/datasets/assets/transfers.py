"""What uploads and downloads of one client share: storage, I/O lanes and the slots that bound them."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..... import _routes
from ....._connections import Connections
from ....._http import Http
from ....._pacing import Slots
from ....._transfer.discovery import Inventory
from ....._transfer.filters import Filters
from ....._transfer.progress import ProgressTracker
from ....._transfer.storage import Storage
from ....._transfer.threads.lanes import Lanes
from ....._transfer.threads.stopping import in_thread
from ...base import check_id
from .download.remote import RemoteDownload
from .download.run import Download, DownloadOptions
from .download.thumbnails import fetch_thumbnails
from .plans import PlannedTransfer, TransferPlan
from .reading.one import OneAsset
from .reading.stream import AssetOpening, AssetStream
from .remote_index import RemoteAsset, RemoteIndex
from .responses import Asset
from .sync.comparison import NO_FILTERS, VerifyResult, verify
from .sync.planning import plan_down, plan_up
from .upload.run import Upload, UploadOptions


class Transfers:
    """Makes the transfers of one client."""

    def __init__(self, http: Http, connections: Connections) -> None:
        self._http = http
        self._storage = Storage(http.settings, connections, http.pacing, http.budget)
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Lanes] = weakref.WeakKeyDictionary()

    def upload(self, options: UploadOptions, tracker: ProgressTracker) -> Upload:
        """Make an upload."""
        slots = self._slots(options.limits.max_concurrency)
        self._let_hooks_follow(tracker)
        return Upload(self._http, self._storage, self.lanes(), slots, options, tracker)

    def download(self, options: DownloadOptions, tracker: ProgressTracker) -> Download:
        """Make a download."""
        slots = self._slots(options.limits.max_concurrency)
        self._let_hooks_follow(tracker)
        kind = Download if options.remote_folder is None else RemoteDownload
        return kind(self._http, self._storage, self.lanes(), slots, options, tracker)

    def _let_hooks_follow(self, tracker: ProgressTracker) -> None:
        hooks = self._http.connections.hooks
        if hooks:
            tracker.follow(hooks.tell)

    def opening(self, base: dict[str, str], one: OneAsset, start: int, end: int | None) -> AssetOpening:
        """Make a reading of one asset."""
        return AssetOpening(partial(AssetStream.open, self._http, self._storage, base, one, start, end))

    async def fetch_thumbnails(self, assets: Sequence[Asset]) -> None:
        """Give assets that were listed with their contents their thumbnails, as far as these come in time."""
        await fetch_thumbnails(self._storage, assets)

    def close(self) -> None:
        """Let the I/O threads end."""
        for lanes in list(self._by_loop.values()):
            lanes.close()
        self._by_loop.clear()

    async def plan_up(
        self,
        dataset_id: str,
        inventory: Inventory,
        *,
        folder: Path | None = None,
        filters: Filters = NO_FILTERS,
        delete: bool = False,
        skip_existing: bool = True,
    ) -> TransferPlan:
        """Compare local files with the dataset."""
        return await plan_up(
            dataset_id,
            inventory,
            await self.index(dataset_id),
            self.lanes(),
            folder=str(folder) if folder is not None else "",
            filters=filters,
            delete=delete,
            skip_existing=skip_existing,
        )

    async def plan_down(
        self, dataset_id: str, folder: Path, *, filters: Filters = NO_FILTERS, delete: bool
    ) -> TransferPlan:
        """Compare the dataset with a folder."""
        work = partial(plan_down, dataset_id, folder, await self.index(dataset_id), filters=filters, delete=delete)
        return await in_thread(work)

    async def index(self, dataset_id: str) -> RemoteIndex:
        """List the dataset, all of it or nothing."""
        return await RemoteIndex.load(self._http, self.base(dataset_id))

    async def plan_download(self, options: DownloadOptions) -> TransferPlan:
        """Compare what a download selects with its folder."""
        index = await RemoteIndex.load(self._http, self.base(options.dataset_id), query=options.query)
        ids = None if options.asset_ids is None else frozenset(options.asset_ids)
        left = itertools.count(1)

        def takes(name: str, asset: RemoteAsset) -> bool:
            selected = (ids is None or asset.asset_id in ids) and (
                options.filters is None or options.filters.takes(name)
            )
            return selected and (options.limit is None or next(left) <= options.limit)

        work = partial(plan_down, options.dataset_id, options.folder, index, overwrite=options.overwrite, takes=takes)
        plan = await in_thread(work)
        plan.notes = options.filters.notes if options.filters is not None else []
        for missing in (ids or frozenset()) - {asset.asset_id for _, asset in index}:
            plan.entries.append(PlannedTransfer("keep", missing, "", 0, "there is no such asset", missing))
        return plan

    async def verify(self, dataset_id: str, inventory: Inventory, filters: Filters) -> VerifyResult:
        """Compare both."""
        return await verify(inventory, await self.index(dataset_id), self.lanes(), filters)

    def base(self, dataset_id: str) -> dict[str, str]:
        """Return what fills the routes of a dataset."""
        organization = self._http.settings.organization_id
        return {"org": organization, "dataset": _routes.composite(organization, check_id(dataset_id, "dataset_id"))}

    def lanes(self) -> Lanes:
        """Return the I/O threads of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            found = self._by_loop[loop] = Lanes()
        return found

    def _slots(self, limit: int) -> Slots:
        """Return the client's slots, or ones of its own for a call with another limit."""
        return self._http.pacing.slots() if limit == self._http.settings.limits.max_concurrency else Slots(limit)
