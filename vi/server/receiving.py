"""From what clients have sent to the store itself to arrived objects.

No store tells the service what it has received; each would do so in its own way. So the open sessions of such clients
are looked at: often while something happens in them or somebody waits for their end, else more and more rarely. What is
found is copied inside the store and noted as any other object, then the original is removed. Whoever dies in between
leaves either the original, which is found again, or an object that no row names, which goes with its session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import sqlalchemy as sa

from .. import _checksums
from .failures import log_failure
from .http.api_errors import ApiError
from .ingestion import Ingestion
from .objects import DirectStore, Received
from .store import watching
from .store.metadata import Metadata

LATE_MS = 300_000
"""How long after its address has ended a file may still arrive: the store asks for the time when one begins."""
_PAUSE = 0.2
_PAUSE_AFTER_FAILURE = 2.0
_MOST = 256
"""Files that are taken at once: few, so that several processes get some of a large session."""
_KEPT_AT_ONCE = 16


class Receiving:
    """Takes in what clients have sent to the store."""

    def __init__(self, database: Metadata, store: DirectStore, ingestion: Ingestion, clock: Callable[[], int]) -> None:
        self._database = database
        self._store = store
        self._ingestion = ingestion
        self._clock = clock
        self._places = asyncio.Semaphore(_KEPT_AT_ONCE)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            pause = _PAUSE
            try:
                if await self.look():
                    continue
            except Exception as error:  # noqa: BLE001 - logged
                log_failure(error, "Looking for what was sent to the store failed and is tried again")
                pause = _PAUSE_AFTER_FAILURE
            await self._ingestion.asked.pause(pause)

    async def look(self) -> bool:
        """Look at the sessions whose turn it is; tell whether there is more to take at once."""
        asked, now = self._ingestion.asked.take(), self._clock()
        due = await self._database.read(partial(watching.due, now=now, asked=asked))
        if not due:
            return False
        rows = await self._database.write(partial(watching.take, seqs=due, now=now))
        results = await asyncio.gather(*(self._look_at(row) for row in rows), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return any(results)

    async def _look_at(self, row: sa.Row[Any]) -> bool:
        more, began = False, self._clock()
        try:
            found = await self._store.received(row.id, _MOST)
            more = len(found) == _MOST
            if found:
                await self._take(row, found)
            elif began > row.expiry + LATE_MS:
                await self._ingestion.give_up(self._ingestion.opened(row), began)
        finally:
            await self._database.write(partial(watching.looked, row=row, now=self._clock(), again=more))
        return more

    async def _take(self, row: sa.Row[Any], found: Sequence[Received]) -> None:
        indexes = [one.index for one in found if one.index is not None]
        crcs = await self._database.read(partial(watching.announced, session_seq=row.seq, indexes=indexes))
        taken = await asyncio.gather(*(self._take_one(row, one, crcs) for one in found), return_exceptions=True)
        await self._store.forget([one for one, done in zip(found, taken, strict=True) if done is True])
        for result in taken:
            if isinstance(result, BaseException):
                raise result

    async def _take_one(self, row: sa.Row[Any], one: Received, crcs: dict[int, int | None]) -> bool:
        if one.index is None or one.index not in crcs:
            return True  # nobody was given this address
        async with self._places:
            blob = await self._store.keep(row.id, one)
        if blob is None:
            return False
        crc = crcs[one.index]
        with suppress(ApiError):  # the session has ended, and the object is among what is to be removed
            async with self._ingestion.arriving(row.id, one.index) as session:
                crc32c = None if crc is None else _checksums.to_unsigned(crc)
                await self._ingestion.arrived(session, one.index, blob, one.size, crc32c)
        return True
