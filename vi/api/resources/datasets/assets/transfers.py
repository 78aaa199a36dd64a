"""What uploads and downloads of one client share: storage, I/O lanes and the slots that bound them."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from functools import partial

from ....._connections import Connections
from ....._http import Http
from ....._transfer.progress import ProgressTracker
from ....._transfer.storage import Storage
from ....._transfer.threads.lanes import Lanes
from .calls import AssetCalls
from .download.remote import RemoteDownload
from .download.run import Download, DownloadOptions
from .download.thumbnails import fetch_thumbnails
from .reading.many import ByteReader
from .reading.one import OneAsset
from .reading.stream import AssetOpening, AssetStream
from .responses import Asset
from .upload.context import UploadContext, UploadOptions
from .upload.run import Upload


class Transfers:
    """Makes the transfers of one client."""

    def __init__(self, http: Http, connections: Connections) -> None:
        self._http = http
        self._storage = Storage(connections, http.pacing, http.budget)
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Lanes] = weakref.WeakKeyDictionary()

    def upload(self, calls: AssetCalls, options: UploadOptions, tracker: ProgressTracker) -> Upload:
        """Make an upload."""
        slots = self._http.pacing.slots(options.limits.max_concurrency)
        self._let_hooks_follow(tracker)
        return Upload(UploadContext(calls, self._storage, self.lanes(), slots, options, tracker))

    def download(self, calls: AssetCalls, options: DownloadOptions, tracker: ProgressTracker) -> Download:
        """Make a download."""
        slots = self._http.pacing.slots(options.limits.max_concurrency)
        self._let_hooks_follow(tracker)
        kind = Download if options.remote_folder is None else RemoteDownload
        return kind(calls, self._storage, self.lanes(), slots, options, tracker)

    def _let_hooks_follow(self, tracker: ProgressTracker) -> None:
        hooks = self._http.connections.hooks
        if hooks:
            tracker.follow(hooks.tell)

    def opening(self, calls: AssetCalls, one: OneAsset, start: int, end: int | None) -> AssetOpening:
        """Make a reading of one asset."""
        return AssetOpening(partial(AssetStream.open, calls, self._storage, one, start, end))

    def reader(self, calls: AssetCalls) -> ByteReader:
        """Make what reads assets into memory."""
        return ByteReader(calls, self._storage, self.lanes, self._http.pacing.slots)

    async def fetch_thumbnails(self, assets: Sequence[Asset]) -> None:
        """Give assets that were listed with their contents their thumbnails, as far as these come in time."""
        await fetch_thumbnails(self._storage, assets)

    def close(self) -> None:
        """Let the I/O threads end."""
        for lanes in list(self._by_loop.values()):
            lanes.close()
        self._by_loop.clear()

    def lanes(self) -> Lanes:
        """Return the I/O threads of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            found = self._by_loop[loop] = Lanes()
        return found
