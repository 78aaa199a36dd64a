"""What uploads and downloads of one client share: storage, I/O lanes and the places that bound them."""

from __future__ import annotations

import asyncio
import weakref

import anyio
import attrs

from ....._connections import Connections
from ....._http import Http
from ....._transfer.lanes import Lanes
from ....._transfer.progress import ProgressTracker
from ....._transfer.storage import Storage
from .ingestion import Ingestion, UploadOptions
from .retrieval import DownloadOptions, Retrieval


@attrs.frozen
class LoopResources:
    """The lanes and places of one event loop."""

    lanes: Lanes
    places: anyio.Semaphore


class Transfers:
    """Makes the transfers of one client."""

    def __init__(self, http: Http, connections: Connections) -> None:
        self._http = http
        self._storage = Storage(http.settings, connections, http.gates, http.budget)
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopResources] = weakref.WeakKeyDictionary()

    def ingestion(self, options: UploadOptions, tracker: ProgressTracker) -> Ingestion:
        """Make an upload."""
        resources = self._resources()
        places = self._places(resources, options.limits.max_concurrency)
        return Ingestion(self._http, self._storage, resources.lanes, places, options, tracker)

    def retrieval(self, options: DownloadOptions, tracker: ProgressTracker) -> Retrieval:
        """Make a download."""
        resources = self._resources()
        places = self._places(resources, options.limits.max_concurrency)
        return Retrieval(self._http, self._storage, resources.lanes, places, options, tracker)

    def close(self) -> None:
        """Let the I/O threads end."""
        for resources in list(self._by_loop.values()):
            resources.lanes.close()
        self._by_loop.clear()

    def _resources(self) -> LoopResources:
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            limit = self._http.settings.limits.max_concurrency
            found = self._by_loop[loop] = LoopResources(Lanes(), anyio.Semaphore(limit, fast_acquire=True))
        return found

    def _places(self, resources: LoopResources, limit: int) -> anyio.Semaphore:
        """Return the client's places, or ones of its own for a call with another limit."""
        if limit == self._http.settings.limits.max_concurrency:
            return resources.places
        return anyio.Semaphore(limit, fast_acquire=True)
