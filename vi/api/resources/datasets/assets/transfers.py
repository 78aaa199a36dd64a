"""What uploads and downloads of one client share: storage, I/O lanes and the places that bound them."""

from __future__ import annotations

import asyncio
import weakref

from ....._connections import Connections
from ....._http import Http
from ....._pacing import Places
from ....._transfer.lanes import Lanes
from ....._transfer.progress import ProgressTracker
from ....._transfer.storage import Storage
from .ingestion import Ingestion, UploadOptions
from .retrieval import DownloadOptions, Retrieval


class Transfers:
    """Makes the transfers of one client."""

    def __init__(self, http: Http, connections: Connections) -> None:
        self._http = http
        self._storage = Storage(http.settings, connections, http.pacing, http.budget)
        self._lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Lanes] = weakref.WeakKeyDictionary()

    def ingestion(self, options: UploadOptions, tracker: ProgressTracker) -> Ingestion:
        """Make an upload."""
        places = self._places(options.limits.max_concurrency)
        return Ingestion(self._http, self._storage, self._lanes_of_loop(), places, options, tracker)

    def retrieval(self, options: DownloadOptions, tracker: ProgressTracker) -> Retrieval:
        """Make a download."""
        places = self._places(options.limits.max_concurrency)
        return Retrieval(self._http, self._storage, self._lanes_of_loop(), places, options, tracker)

    def close(self) -> None:
        """Let the I/O threads end."""
        for lanes in list(self._lanes.values()):
            lanes.close()
        self._lanes.clear()

    def _lanes_of_loop(self) -> Lanes:
        loop = asyncio.get_running_loop()
        found = self._lanes.get(loop)
        if found is None:
            found = self._lanes[loop] = Lanes()
        return found

    def _places(self, limit: int) -> Places:
        """Return the client's places, or ones of its own for a call with another limit."""
        return self._http.pacing.places() if limit == self._http.settings.limits.max_concurrency else Places(limit)
