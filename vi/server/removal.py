"""Work that outlives the request that asked for it: removing objects, bulk deletions, purging deleted datasets.

Each is recorded in the transaction that makes it necessary and resumes after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from .disk.blobs import Blobs
from .store import assets, datasets, garbage
from .store.database import Database

logger: logging.Logger = logging.getLogger("vi.server")

_ROUND = 500
_PATIENCE = 2.0
_PAUSE = 0.5
_LONGEST_PAUSE = 60.0

Work = Callable[[], Coroutine[Any, Any, None]]
Selection = Callable[[str, Any], sa.ColumnElement[bool] | None]


class Removal:
    """Removes what rows no longer mention."""

    def __init__(self, database: Database, blobs: Blobs, clock: Callable[[], int], selection: Selection) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._selection = selection
        self._tasks: set[asyncio.Task[None]] = set()

    async def resume(self) -> None:
        """Resume what the last run left."""
        await self.remove(await self._database.read(garbage.left))
        for seq in await self._database.read(datasets.unpurged):
            self._start(partial(self._purge, seq))
        for row, dataset_id in await self._database.read(assets.unfinished_bulk_deletions):
            self._start(partial(self._bulk_delete, row, dataset_id))

    async def remove(self, blobs: Sequence[str]) -> None:
        """Remove objects that a commit has dropped; what the disk refuses now is tried again in the background."""
        if not blobs:
            return
        try:
            await self._remove(blobs)
        except Exception as error:  # noqa: BLE001 - the request that dropped them has done what it was for
            logger.warning("%d objects could not be removed, which is tried again: %r", len(blobs), error)
            self._start(lambda: self._remove(blobs), _PAUSE)

    async def _remove(self, blobs: Sequence[str]) -> None:
        await self._blobs.remove(blobs)
        await self._database.write(partial(garbage.discarded, blobs=list(blobs)))

    async def purge(self, seq: int) -> None:
        """Empty a deleted dataset; returns when done, or after a while and continues in the background."""
        await self._patiently(partial(self._purge, seq))

    async def bulk_delete(self, row: sa.Row[Any], dataset_id: str) -> None:
        """Run a bulk deletion; returns when done, or after a while and continues in the background."""
        await self._patiently(partial(self._bulk_delete, row, dataset_id))

    async def aclose(self) -> None:
        """Stop where it is; the next start resumes."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _patiently(self, work: Work) -> None:
        await asyncio.wait({self._start(work)}, timeout=_PATIENCE)

    def _start(self, work: Work, pause: float = 0) -> asyncio.Task[None]:
        task = asyncio.create_task(self._insist(work, pause))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _insist(self, work: Work, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            try:
                return await work()
            except Exception:
                pause = min(max(_PAUSE, pause * 2), _LONGEST_PAUSE)
                logger.exception("A deletion failed and is tried again in %.0f s", pause)

    async def _purge(self, seq: int) -> None:
        while True:
            dropped = await self._database.write(partial(datasets.purge, seq=seq, now=self._clock(), limit=_ROUND))
            if dropped is None:
                return
            await self.remove(dropped)

    async def _bulk_delete(self, row: sa.Row[Any], dataset_id: str) -> None:
        condition = self._selection(dataset_id, row.spec)
        while True:
            dropped = await self._database.write(
                partial(assets.bulk_delete, row=row, condition=condition, now=self._clock(), limit=_ROUND)
            )
            if dropped is None:
                return
            await self.remove(dropped)
