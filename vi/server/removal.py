"""Work that outlives the request that asked for it: removing objects, bulk deletions, purging deleted datasets.

Each is recorded in the transaction that makes it necessary and resumes after a restart. On a full disk a deletion gets
the room of the ballast; one that fails repeatedly for another reason ends, and says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from .disk.room import Room, is_full
from .failures import log_failure, outage
from .objects import ObjectStore
from .store import assets, datasets, garbage
from .store.idempotency import KEPT_MS
from .store.metadata import Metadata

logger: logging.Logger = logging.getLogger("vi.server")

_ROUND = 500
_PATIENCE = 2.0
_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_TRIES = 6
"""How often a bulk deletion is tried when the disk is not what is wrong."""

_PURGE, _DELETION = "purge", "deletion"

T = TypeVar("T")

Work = Callable[[], Coroutine[Any, Any, None]]
Selection = Callable[[str, Any], sa.ColumnElement[bool] | None]


@attrs.frozen
class Left:
    """Objects to remove, deleted datasets to empty, and bulk deletions with the id of their dataset, by number."""

    blobs: frozenset[str] = frozenset()
    purges: frozenset[int] = frozenset()
    deletions: dict[int, tuple[sa.Row[Any], str]] = attrs.Factory(dict)

    def since(self, before: Left) -> Left:
        """Return what was left *before* already."""
        deletions = {seq: deletion for seq, deletion in self.deletions.items() if seq in before.deletions}
        return Left(self.blobs & before.blobs, self.purges & before.purges, deletions)


def _left(connection: sa.Connection) -> Left:
    return Left(
        frozenset(garbage.left(connection)),
        frozenset(datasets.unpurged(connection)),
        {row.seq: (row, dataset_id) for row, dataset_id in assets.unfinished_bulk_deletions(connection)},
    )


class Removal:
    """Removes what rows no longer mention."""

    def __init__(
        self, database: Metadata, blobs: ObjectStore, room: Room, clock: Callable[[], int], selection: Selection
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._room = room
        self._clock = clock
        self._selection = selection
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: set[tuple[str, int]] = set()

    async def left(self) -> Left:
        """Return what is not done yet, here or in another process."""
        return await self._database.read(_left)

    async def resume(self, left: Left) -> None:
        """Resume what the last run or another process left; what this one does already is not started twice."""
        await self.remove(sorted(left.blobs))
        for seq in left.purges:
            if (_PURGE, seq) not in self._under_way:
                self._start_purge(seq)
        for seq, (row, dataset_id) in left.deletions.items():
            if (_DELETION, seq) not in self._under_way:
                self._start_bulk_deletion(row, dataset_id)

    async def commit(self, work: Callable[[sa.Connection], T]) -> T:
        """Run the transaction of a deletion; where the disk is full, once more with the room of the ballast."""
        try:
            return await self._database.write(work)
        except (OperationalError, OSError) as error:
            if not (is_full(error) or self._room.is_exhausted()) or not await asyncio.to_thread(self._room.give_up):
                raise
        logger.warning("The disk is full: the room that is kept for deletions is used")
        return await self._database.write(work)

    async def remove(self, blobs: Sequence[str]) -> None:
        """Remove objects that a commit has dropped; what the disk refuses now is tried again in the background."""
        if not blobs:
            return
        try:
            await self._remove(blobs)
        except Exception as error:  # noqa: BLE001 - the request that dropped them has done what it was for
            reason = outage(error) or repr(error)
            logger.warning("%d objects could not be removed, which is tried again: %s", len(blobs), reason)
            self._start(lambda: self._remove(blobs), _PAUSE)

    async def _remove(self, blobs: Sequence[str]) -> None:
        await self._blobs.remove(blobs)
        await self.commit(partial(garbage.discarded, blobs=list(blobs)))
        if not self._room.is_held:
            await asyncio.to_thread(self._room.refill)

    async def purge(self, seq: int) -> None:
        """Empty a deleted dataset; returns when done, or after a while and continues in the background."""
        await asyncio.wait({self._start_purge(seq)}, timeout=_PATIENCE)

    async def bulk_delete(self, row: sa.Row[Any], dataset_id: str) -> None:
        """Run a bulk deletion; returns when done, or after a while and continues in the background."""
        await asyncio.wait({self._start_bulk_deletion(row, dataset_id)}, timeout=_PATIENCE)

    async def aclose(self) -> None:
        """Stop where it is; the next start resumes."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start_purge(self, seq: int) -> asyncio.Task[None]:
        return self._start_once((_PURGE, seq), partial(self._purge, seq))

    def _start_bulk_deletion(self, row: sa.Row[Any], dataset_id: str) -> asyncio.Task[None]:
        end = partial(self._fail_bulk_deletion, row)
        return self._start_once((_DELETION, row.seq), partial(self._bulk_delete, row, dataset_id), end)

    def _start_once(self, name: tuple[str, int], work: Work, end: Work | None = None) -> asyncio.Task[None]:
        self._under_way.add(name)
        task = self._start(work, end=end)
        task.add_done_callback(lambda _: self._under_way.discard(name))
        return task

    def _start(self, work: Work, pause: float = 0, end: Work | None = None) -> asyncio.Task[None]:
        task = asyncio.create_task(self._insist(work, pause, end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _insist(self, work: Work, pause: float, end: Work | None) -> None:
        """Do *work* until it succeeds, or until it has failed `_TRIES` times: then *end*, where there is one."""
        failed = 0
        while True:
            await asyncio.sleep(pause)
            try:
                return await work()
            except Exception as error:  # noqa: BLE001 - logged
                pause = min(max(_PAUSE, pause * 2), _LONGEST_PAUSE)
                log_failure(error, f"A deletion failed and is tried again in {pause:.1f} s")
                failed += not is_full(error) and not self._room.is_exhausted()
                if end is not None and failed >= _TRIES:
                    work, end = end, None

    async def _purge(self, seq: int) -> None:
        # A store may yet get what was on its way; its sweep finds that by the rows of sessions.
        kept_ms = None if self._blobs.direct is None else KEPT_MS

        def step(limit: int) -> Callable[[sa.Connection], list[str] | None]:
            now = self._clock()
            since = None if kept_ms is None else now - kept_ms
            return partial(datasets.purge, seq=seq, now=now, limit=limit, keep_since=since)

        await self._in_rounds(step)

    async def _bulk_delete(self, row: sa.Row[Any], dataset_id: str) -> None:
        condition = self._selection(dataset_id, row.spec)

        def step(limit: int) -> Callable[[sa.Connection], list[str] | None]:
            return partial(assets.bulk_delete, row=row, condition=condition, now=self._clock(), limit=limit)

        await self._in_rounds(step)

    async def _fail_bulk_deletion(self, row: sa.Row[Any]) -> None:
        await self.commit(partial(assets.fail_bulk_deletion, row=row, now=self._clock()))

    async def _in_rounds(self, step: Callable[[int], Callable[[sa.Connection], list[str] | None]]) -> None:
        """Commit *step* repeatedly, with the most rows that it may remove, until it returns None."""
        limit = _ROUND
        while True:
            try:
                dropped = await self.commit(step(limit))
            except Exception as error:
                if not is_full(error) or limit == 1:
                    raise
                limit = max(1, limit // 10)  # fewer rows need less room
                continue
            if dropped is None:
                return
            await self.remove(dropped)
