"""From arrived objects to assets, where several processes share one database.

What one process keeps in memory is in the rows here: a session may have been made by another process, and so may the
objects that wait to be looked at, which each process claims some of (`claims`). What is in memory is a hint: that a
session is open, which `sessions.record` checks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import sqlalchemy as sa

from .failures import log_failure
from .http.api_errors import ApiError
from .ingestion import ROUNDS, Ingestion, OpenSession, opened
from .inspection.inspector import InspectionJob, Verdict
from .store import claims
from .store.claims import Place
from .store.schema import SessionState, ingestion_session
from .store.sessions import Arrival

_POLL = 0.5
"""Seconds after which an idle process looks for what others have received."""
_ENDED_POLL = 0.2
_ENDED_POLLS = 10
"""How many polls pass between two looks at sessions that nobody waits for."""
_FIRST, _MOST = 16, 32
"""Files that are claimed at once, at first and at most: few, so that every process gets some of a small upload."""
_CLAIM_SECONDS, _LEAST = 0.5, 4
"""Of files whose decoding takes long, fewer are claimed, so that processes that are idle find some; not fewer than
this, because each claim has costs of its own."""
_JOINS = 2
_HOLD_MS = 30_000
"""For how long a session does not give up on a file that is arriving; noted this long before the session expires."""


class SharedIngestion(Ingestion):
    """The sessions that this process has to do with, and the objects that it looks at."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._held: set[Place] = set()
        self._uploads: set[int] = set()
        self._claiming: asyncio.Future[Any] | None = None
        self._claims = asyncio.Lock()
        self._completed = asyncio.Event()
        self._waiting = 0
        self._polls = 0
        self._most = _FIRST

    async def resume(self) -> None:
        """Start to work; what other processes have left shows in the rows."""
        for work in [
            *(self._inspect_queue() for _ in range(ROUNDS)),
            self._join_queue(),
            self._again("Renewing claims", claims.RENEW_SECONDS, self._renew),
            self._again("Looking for ended sessions", _ENDED_POLL, self._look_for_ended),
            self._again("Looking for expired sessions", self._config.sweep_seconds, self.expire),
        ]:
            self._tasks.add(asyncio.create_task(work))

    async def aclose(self) -> None:
        """Stop; what is not applied yet is left to other processes, at once."""
        await super().aclose()
        if self._claiming is not None:
            with suppress(Exception):  # its claims lapse
                self._hold(await self._claiming)
        if self._held or self._uploads:
            try:
                await self._database.write(partial(claims.give_back, places=self._held, uploads=self._uploads))
            except Exception as error:  # noqa: BLE001 - claims lapse by themselves
                log_failure(error, "Claims could not be given back, and lapse")

    async def _again(self, what: str, pause: float, work: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(pause)
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - logged
                log_failure(error, f"{what} failed and is tried again")

    # Sessions.

    async def _require(self, session_id: str) -> OpenSession:
        session = self._open.get(session_id) or await self._find(session_id)
        if session is None:
            raise ApiError(410, f"Ingestion session {session_id} has ended")
        return session

    async def _find(self, session_id: str) -> OpenSession | None:
        statement = sa.select(ingestion_session).where(
            ingestion_session.c.id == session_id, ingestion_session.c.state == SessionState.OPEN
        )
        row = await self._database.read(lambda connection: connection.execute(statement).one_or_none())
        return None if row is None else self.opened(row)

    async def wait_for_end(self, session_id: str, seconds: float) -> None:
        if seconds and session_id not in self._open:
            await self._find(session_id)
        self._waiting += 1
        try:
            await super().wait_for_end(session_id, seconds)
        finally:
            self._waiting -= 1

    async def _look_for_ended(self) -> None:
        """Take in which sessions others have ended; more often while somebody waits for one."""
        self._polls += 1
        if self._open and (self._waiting or self._polls % _ENDED_POLLS == 0):
            self.closed(await self._database.read(partial(claims.ended, session_ids=list(self._open))))

    @asynccontextmanager
    async def arriving(self, session_id: str, index: int) -> AsyncIterator[OpenSession]:
        async with super().arriving(session_id, index) as session:
            if self._is_late(session):
                await self._hold_off([(session.seq, index)])
            yield session

    def _is_late(self, session: OpenSession) -> bool:
        return session.expiry - self._clock() < _HOLD_MS

    async def _hold_off(self, places: Sequence[Place]) -> None:
        await self._database.write(partial(claims.hold_off, places=places, until=self._clock() + _HOLD_MS))

    async def expire_all(self) -> None:
        """Give up on the files of expired sessions that have not arrived, whoever made them."""
        now = self._clock()
        for row in await self._database.read(partial(claims.expired, now=now)):
            await self.give_up(self._open.get(row.id) or opened(row), now)

    # Objects.

    def _doubt(self, arrivals: Sequence[Arrival]) -> None:
        """Leave objects that a failed commit may have named: the rows say, and what none names is swept."""

    def _enqueue(self, arrivals: Sequence[Arrival]) -> None:
        if arrivals:
            self._queued.set()

    async def _take(self) -> list[Arrival]:
        async with self._claims:
            while True:
                self._queued.clear()
                self._claiming = asyncio.ensure_future(self._database.write(partial(claims.take, most=self._most)))
                try:
                    batch: list[Arrival] = await asyncio.shield(self._claiming)
                except Exception as error:  # noqa: BLE001 - logged
                    log_failure(error, "Looking for files to inspect failed and is tried again")
                    batch = []
                self._claiming = None
                if batch:
                    self._hold(batch)
                    return batch
                await _pause(self._queued, _POLL)

    def _hold(self, batch: Sequence[Arrival]) -> None:
        self._held.update((arrival.session_seq, arrival.index) for arrival in batch)

    async def _give_back(self, batch: Sequence[Arrival], *, failed: bool) -> None:
        places = {(arrival.session_seq, arrival.index) for arrival in batch}
        try:
            await self._database.write(partial(claims.give_back, places=places))
        except Exception as error:  # noqa: BLE001 - claims lapse by themselves
            log_failure(error, "Claims could not be given back, and lapse")
        self._held -= places

    async def _inspect(self, batch: Sequence[Arrival], make_room: Callable[[], None], urgent: bool) -> None:
        await super()._inspect(batch, make_room, urgent)
        self._held.difference_update((arrival.session_seq, arrival.index) for arrival in batch)

    async def _decode(self, jobs: Sequence[InspectionJob], found: dict[int, Verdict], urgent: bool) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await super()._decode(jobs, found, urgent)
        # Without the requests to the store and the database: they take as long for many files as for one.
        for_each = max((loop.time() - began) / len(jobs), 0.001)
        self._most = max(_LEAST, min(_MOST, 2 * self._most, int(_CLAIM_SECONDS / for_each)))

    async def _renew(self) -> None:
        """Keep what this process has claimed, and hold off the end of sessions whose files are arriving here."""
        if self._held or self._uploads:
            await self._database.write(partial(claims.renew, places=set(self._held), uploads=set(self._uploads)))
        late = [session for session in self._open.values() if session.arriving and self._is_late(session)]
        if late:
            await self._hold_off([(session.seq, index) for session in late for index in session.arriving])

    # Multipart uploads.

    def join(self, upload: sa.Row[Any]) -> None:
        """Let the parts of a completed multipart upload be joined, by any process."""
        self._completed.set()

    async def _join_queue(self) -> None:
        while True:
            self._completed.clear()
            upload = None
            if len(self._joining) < _JOINS:
                try:
                    upload = await self._database.write(claims.take_upload)
                except Exception as error:  # noqa: BLE001 - logged
                    log_failure(error, "Looking for multipart uploads to join failed and is tried again")
            if upload is None:
                await _pause(self._completed, _POLL)
            else:
                self._uploads.add(upload.seq)
                super().join(upload)

    async def _join(self, upload: sa.Row[Any]) -> None:
        try:
            await super()._join(upload)
        finally:
            self._completed.set()
        self._uploads.discard(upload.seq)


async def _pause(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
