"""What one of several processes does for all of them: whichever holds the lock that the database has for it.

Should two do it, because one has lost its lock and not noticed yet, nothing is done twice: each change holds its rows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from .config import ServiceConfig
from .disk.leftovers import Leftovers
from .failures import log_failure
from .removal import Left, Removal
from .shared_ingestion import SharedIngestion
from .store import idempotency, multipart, sessions, visitors
from .store.mentioned import mentioned
from .store.postgres import PostgresDatabase

_LOOK_SECONDS = 10.0
"""A deletion that stands unfinished in two looks, this far apart, was left by a process that has ended."""
_TIDY_SECONDS = 3600.0
_SWEEP_SECONDS = 24 * 3600.0
"""How often the folder is looked through, the first time after `_TIDY_SECONDS`."""
_OLD_SECONDS = 24 * 3600.0
"""Age after which a file that no row mentions is removed: by then, no process is about to mention it."""


class Housekeeping:
    """Expires sessions, resumes deletions of processes that have ended, and removes what they left in the folder."""

    def __init__(
        self,
        database: PostgresDatabase,
        ingestion: SharedIngestion,
        removal: Removal,
        leftovers: Leftovers,
        config: ServiceConfig,
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._ingestion = ingestion
        self._removal = removal
        self._leftovers = leftovers
        self._config = config
        self._clock = clock
        self._left = Left()
        self._looked = self._tidied = float("-inf")
        self._swept = time.monotonic() - _SWEEP_SECONDS + _TIDY_SECONDS

    async def run(self) -> None:
        """Keep house until cancelled."""
        while True:
            await asyncio.sleep(self._config.sweep_seconds)
            try:
                if await self._database.leads():
                    await self._look_after()
            except Exception as error:  # noqa: BLE001 - logged
                log_failure(error, "Housekeeping failed and is tried again")

    async def _look_after(self) -> None:
        await self._ingestion.expire_all()
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            before, self._left = self._left, await self._removal.left()
            await self._removal.resume(self._left.since(before))
        if now - self._tidied >= _TIDY_SECONDS:
            self._tidied = now
            await self._forget()
        if now - self._swept >= _SWEEP_SECONDS:
            self._swept = now
            await self.sweep(_OLD_SECONDS)

    async def _forget(self) -> None:
        now = self._clock()
        await self._database.write(partial(idempotency.forget, now=now))
        await self._database.write(partial(sessions.forget, before=now - idempotency.KEPT_MS))
        await self._database.write(partial(visitors.forget, now=now))

    async def sweep(self, old_seconds: float) -> None:
        """Remove files that are older than *old_seconds* and that no row mentions."""
        # Listed before the rows are read: what a row mentions only afterwards is not among them.
        stored = await asyncio.to_thread(self._leftovers.objects, old_seconds)
        uploads = await asyncio.to_thread(self._leftovers.uploads, old_seconds)
        known = await self._database.read(partial(mentioned, blobs=stored))
        alive = {row.id for row in await self._database.read(multipart.alive)}
        await self._removal.remove([blob for blob in stored if blob not in known])
        await asyncio.to_thread(self._leftovers.remove, [one for one in uploads if one not in alive], old_seconds)
