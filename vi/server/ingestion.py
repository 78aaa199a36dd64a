"""From arrived objects to assets.

A PUT returns once its object and the row that says so are on disk. From there on the object waits its turn here: it is
inspected in a batch with others, and the verdicts are applied in one transaction. What had arrived and was not
applied when the service died is in the rows, so the next start queues it again; a verdict is applied only if the row
still names the object that was inspected, so nothing is counted twice.

Open sessions are also kept in memory, with the files that objects are arriving for: the storage side asks here, not the
database, whether a URL still works, and an expired session does not give up on a file that is on its way.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial, reduce
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa

from .. import _checksums
from ..codes import FileCode
from .asked import Asked
from .config import ServiceConfig
from .disk.room import Room
from .failures import log_failure, outage
from .http.api_errors import ApiError
from .inspection.inspector import InspectionJob, InspectionState, InspectionUnavailableError, Inspector, Verdict
from .inspection.worker_slots import Slots
from .objects import ObjectStore
from .store import idempotency, multipart, sessions, settling
from .store.metadata import Metadata
from .store.schema import ItemState, SessionState, UploadState, ingest_item, ingestion_session
from .store.sessions import Arrival, Recorded
from .turns import Turns

logger: logging.Logger = logging.getLogger("vi.server")

_BATCH = 64
_ROUNDS = 2
_SLOW_ROUNDS = 6
ROUNDS = _ROUNDS + _SLOW_ROUNDS
_SLOW = 1.0
"""Seconds after which a batch no longer holds back others, and what is known of it is applied."""
_FEW = 8
"""Files of a session that do not wait for a batch of others."""
_PAUSE = 1.0
_PREVIEWS_AT_ONCE = 2
_MOST_TRIES = 3
"""How many processes may end while they look at one file."""


@attrs.define(eq=False)
class OpenSession:
    """A session that still takes objects."""

    seq: int
    id: str
    expiry: int
    direct: bool
    """Whether clients send to the store itself; then `Receiving` sees what arrives, and what does not."""
    seen: set[int] = attrs.Factory(set)
    """Files that an object has arrived for."""
    arriving: Counter[int] = attrs.Factory(Counter)
    """Files that an object is arriving for."""
    ended: asyncio.Event = attrs.Factory(asyncio.Event)
    """Set once its end is in its row."""


@attrs.define
class _Waiting:
    arrival: Arrival
    recorded: asyncio.Future[bool]


@attrs.frozen
class _Wanted:
    """An object to look at, and what was announced of it."""

    arrival: Arrival
    blob: str
    item: sa.Row[Any]


class Ingestion:
    """The open sessions, and the queue of objects to inspect."""

    def __init__(
        self,
        database: Metadata,
        blobs: ObjectStore,
        room: Room,
        inspector: Inspector,
        config: ServiceConfig,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        remove: Callable[[Sequence[str]], Any],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._room = room
        self._inspector = inspector
        self._config = config
        self._clock = clock
        self._new_id = new_id
        self._remove = remove
        self._open: dict[str, OpenSession] = {}
        self._stopping = False
        self._arrivals: list[_Waiting] = []
        self._taking = threading.Lock()
        """Held to add to the arrivals, or to take them: what takes them runs in the writer's thread."""
        self._queue: Turns = Turns()
        self._doubtful: set[str] = set()
        self._queued = asyncio.Event()
        self._slots = Slots(_ROUNDS, _SLOW_ROUNDS)
        self._previewing = asyncio.Semaphore(_PREVIEWS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._recording: set[asyncio.Task[None]] = set()
        self._joining: dict[str, asyncio.Task[None]] = {}
        self.asked: Asked = Asked()
        """Sessions of clients that send to the store itself."""
        self.changed: Callable[[Sequence[str]], None] = lambda asset_ids: None
        """Told the ids of assets whose bytes were replaced."""

    async def resume(self) -> None:
        """Open the sessions that the last run left and resume them."""
        for row in await self._database.read(sessions.open_sessions):
            session = self.opened(row)
            touched = await self._database.read(partial(sessions.touched, session_seq=row.seq))
            session.seen.update(item.idx for item in touched)
            self._enqueue(
                [Arrival(row.seq, item.idx, item.blob, 0, 0) for item in touched if item.state == ItemState.ARRIVED]
            )
        alive = await self._database.read(multipart.alive)
        await self._blobs.sweep(row.id for row in alive)
        for row in alive:
            if row.state == UploadState.COMPLETING:
                self.join(row)
        for work in [*(self._inspect_queue() for _ in range(ROUNDS)), self._inspect_few(), self._sweep()]:
            self._tasks.add(asyncio.create_task(work))

    async def aclose(self) -> None:
        """Stop; what is not applied yet is inspected again at the next start."""
        tasks = self._tasks | set(self._joining.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._inspector.aclose()

    @property
    def inspection(self) -> InspectionState:
        """Whether images can be looked at."""
        return self._inspector.state

    def opened(self, row: sa.Row[Any]) -> OpenSession:
        """Take in a session that was made, or that a repeated request has made before."""
        if row.id in self._open:
            return self._open[row.id]
        session = self._open[row.id] = opened(row)
        return session

    def closed(self, session_ids: Sequence[str]) -> None:
        """Forget sessions that have ended: their URLs answer 410 from now on."""
        for session_id in session_ids:
            session = self._open.pop(session_id, None)
            if session is not None:
                session.ended.set()

    async def wait_for_end(self, session_id: str, seconds: float) -> None:
        """Return when a session has ended, at the latest after *seconds*; at once when it is not open."""
        session = self._open.get(session_id)
        if session is None or self._stopping:
            return
        with self.asked.waiting(session_id) if session.direct else nullcontext(), suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await session.ended.wait()

    def stop_waits(self) -> None:
        """Let requests that wait for the end of a session be answered now, because the service stops."""
        self._stopping = True
        for session in self._open.values():
            session.ended.set()

    @asynccontextmanager
    async def arriving(self, session_id: str, index: int) -> AsyncIterator[OpenSession]:
        """Hold off the expiry of a file while its object arrives; raises 410 when the session has ended."""
        session = await self._require(session_id)
        session.arriving[index] += 1
        try:
            yield session
        finally:
            session.arriving[index] -= 1
            if not session.arriving[index]:
                del session.arriving[index]

    async def _require(self, session_id: str) -> OpenSession:
        session = self._open.get(session_id)
        if session is None:
            raise ApiError(410, f"Ingestion session {session_id} has ended")
        return session

    async def arrived(self, session: OpenSession, index: int, blob: str | None, size: int, crc32c: int | None) -> None:
        """Note an object as arrived, together with whatever else arrives now; raises 410 if its session has ended."""
        arrival = Arrival(session.seq, index, blob, size, crc32c, repeated=index in session.seen)
        session.seen.add(index)
        waiting = _Waiting(arrival, asyncio.get_running_loop().create_future())
        with self._taking:
            self._arrivals.append(waiting)
            first = len(self._arrivals) == 1
        if first:
            task = asyncio.create_task(self._record())
            self._recording.add(task)
            task.add_done_callback(self._recording.discard)
        if not await waiting.recorded:
            raise ApiError(410, f"Ingestion session {session.id} has ended")

    async def _record(self) -> None:
        taken: list[_Waiting] = []

        def work(connection: sa.Connection) -> Recorded:
            # Runs when the writer's turn comes: everything that arrived until then goes in one statement.
            with self._taking:
                taken.extend(self._arrivals)
                self._arrivals.clear()
            return sessions.record(connection, [waiting.arrival for waiting in taken])

        try:
            recorded = await self._database.write(work)
        except Exception as error:  # noqa: BLE001 - each request that waits must hear of it
            failed = taken or self._arrivals[:]
            if not taken:
                self._arrivals.clear()
            for waiting in failed:
                if not waiting.recorded.done():
                    waiting.recorded.set_exception(error)
            self._doubt([waiting.arrival for waiting in failed])
            return
        for waiting, open_ in zip(taken, recorded.open, strict=True):
            if not waiting.recorded.done():
                waiting.recorded.set_result(open_)
        self._enqueue([w.arrival for w, wanted in zip(taken, recorded.inspect, strict=True) if wanted])
        await self._remove(recorded.discarded)

    def _doubt(self, arrivals: Sequence[Arrival]) -> None:
        """Take in that a commit failed: it may still have been made, and what the rows say is found out later."""
        self._doubtful.update(arrival.blob for arrival in arrivals if arrival.blob is not None)
        self._enqueue(arrivals)

    def _enqueue(self, arrivals: Sequence[Arrival]) -> None:
        if arrivals:
            self._queue.add(arrivals)
            self._queued.set()

    async def _take(self) -> list[Arrival]:
        """Return the next objects to look at, once there are some."""
        while not self._queue:
            self._queued.clear()
            await self._queued.wait()
        return self._queue.take(_BATCH)

    async def _give_back(self, batch: Sequence[Arrival], *, failed: bool) -> None:
        """Let objects be looked at again; those that *failed* after the others of their sessions."""
        if failed:
            self._queue.add(batch)
        else:
            self._queue.put_back(batch)

    async def _inspect_queue(self) -> None:
        while True:
            async with self._slots.hold() as make_room:
                await self._inspect_batch(await self._take(), make_room)

    async def _inspect_few(self) -> None:
        """Inspect small uploads while the batches of large ones are under way."""
        while True:
            await self._queued.wait()
            if batch := self._queue.take_few(_FEW):
                await self._inspect_batch(batch, lambda: None, urgent=True)
            else:
                self._queued.clear()

    async def _inspect_batch(
        self, batch: Sequence[Arrival], make_room: Callable[[], None], *, urgent: bool = False
    ) -> None:
        try:
            await self._inspect(batch, make_room, urgent)
        except InspectionUnavailableError as error:
            logger.error("No inspection: %s", error)
            await self._give_back(batch, failed=False)
            await asyncio.sleep(_PAUSE)
        except Exception as error:  # noqa: BLE001 - logged
            log_failure(error, f"A batch of {len(batch)} files could not be settled and is tried again")
            await self._give_back(batch, failed=outage(error) is None)
            await asyncio.sleep(_PAUSE)
        finally:
            self._queue.done(batch)

    async def _inspect(self, batch: Sequence[Arrival], make_room: Callable[[], None], urgent: bool) -> None:
        announced = await self._database.read(partial(_announced, batch=batch))
        wanted: list[_Wanted] = []
        refused: list[settling.Finding] = []
        dropped: list[str] = []
        for arrival in batch:
            item = announced.get((arrival.session_seq, arrival.index))
            if item is None:
                if arrival.blob in self._doubtful:
                    dropped.append(arrival.blob)
                continue
            if arrival.blob is None or item.stored_size != item.size:
                message = f"{item.size} bytes were announced, {item.stored_size} arrived"
                refused.append(self._finding(arrival, Verdict(FileCode.EBADSIZE, message, item.stored_size)))
                continue
            if arrival.tries > _MOST_TRIES:
                message = f"The service ended {_MOST_TRIES} times while it looked at this file; its log may say why"
                refused.append(self._finding(arrival, Verdict(FileCode.EUNKNOWN, message, item.stored_size)))
                continue
            wanted.append(_Wanted(arrival, arrival.blob, item))
        self._doubtful.difference_update(arrival.blob for arrival in batch if arrival.blob is not None)
        await self._remove(dropped)
        await self._apply(refused)
        for group in _groups(wanted, self._blobs.most_copied):
            async with self._blobs.local([(one.blob, one.item.size) for one in group]) as paths:
                await self._look(group, paths, make_room, urgent)

    async def _look(
        self, group: Sequence[_Wanted], paths: Sequence[Path], make_room: Callable[[], None], urgent: bool
    ) -> None:
        jobs = [
            InspectionJob(str(path), one.item.kind, one.item.mime, one.item.size, one.item.crc32c)
            for one, path in zip(group, paths, strict=True)
        ]
        found: dict[int, Verdict] = {}
        looking = asyncio.ensure_future(self._decode(jobs, found, urgent))
        try:
            while not looking.done() or found:
                await asyncio.wait({looking}, timeout=_SLOW)
                if not looking.done():
                    make_room()
                await self._apply([self._finding(group[index].arrival, found.pop(index)) for index in list(found)])
            await looking
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _decode(self, jobs: Sequence[InspectionJob], found: dict[int, Verdict], urgent: bool) -> None:
        await self._inspector.inspect(jobs, found, urgent=urgent)

    def _finding(self, arrival: Arrival, verdict: Verdict) -> settling.Finding:
        return settling.Finding(arrival.session_seq, arrival.index, arrival.blob, verdict, self._new_id())

    async def _apply(self, findings: Sequence[settling.Finding]) -> None:
        if not findings:
            return
        await self._blobs.put_thumbnails(
            [
                (finding.blob, finding.verdict.thumbnail)
                for finding in findings
                if finding.blob is not None and finding.verdict.error is None and finding.verdict.thumbnail is not None
            ]
        )
        await self._settle(
            partial(settling.settle, findings=findings, now=self._clock(), quota=self._config.quota_bytes)
        )

    async def make_thumbnail(self, row: sa.Row[Any]) -> bytes | None:
        """Make and keep the thumbnail of an asset whose own was lost."""
        verdict = await self._look_again(row)
        if verdict.thumbnail is not None:
            await self._blobs.put_thumbnails([(row.blob, verdict.thumbnail)])
        return verdict.thumbnail

    async def make_preview(self, row: sa.Row[Any], side: int) -> bytes | None:
        """Return the preview of an image that fits *side*, made unless it is kept; None if none can be made just now.

        Two are made at once, however many look: files that arrive need the same processes.
        """
        async with self._previewing:
            data = await self._blobs.preview(row.blob, side)
            if data is not None:
                return data
            try:
                verdict = await self._look_again(row, side)
            except InspectionUnavailableError:
                return None
            if verdict.thumbnail is not None:
                await self._blobs.put_preview(row.blob, side, verdict.thumbnail)
            return verdict.thumbnail

    async def _look_again(self, row: sa.Row[Any], side: int | None = None) -> Verdict:
        async with self._blobs.local([(row.blob, row.size)]) as (path,):
            job = InspectionJob(str(path), row.kind, row.mime, row.size, side=side)
            (verdict,) = await self._inspector.inspect([job])
        return verdict

    async def _settle(self, work: Callable[[sa.Connection], settling.Settled]) -> None:
        settled = await self._database.write(work)
        self.closed(settled.ended)
        self.changed(settled.changed)
        for name, refused in settled.refused:
            logger.info("%r was refused: %s: %s", name, refused.code, refused.reason)
        await self._remove(settled.discarded)

    async def expire(self) -> None:
        """Give up on the files of expired sessions that have not arrived."""
        now = self._clock()
        for session in [one for one in self._open.values() if one.expiry <= now and not one.direct]:
            # A file that does not arrive now cannot begin to, its URL has ended too; one in parts shows in its row.
            await self.give_up(session, now)

    async def give_up(self, session: OpenSession, now: int) -> None:
        """Give up on the files of an expired session that have not arrived."""
        await self._settle(partial(_give_up, session=session, busy=list(session.arriving), now=now))

    async def _sweep(self) -> None:
        tidied = 0
        while True:
            await asyncio.sleep(self._config.sweep_seconds)
            try:
                await self.expire()
                if self._clock() - tidied >= idempotency.KEPT_MS // 24:
                    tidied = self._clock()
                    await self._database.write(partial(idempotency.forget, now=tidied))
                    await self._database.write(partial(sessions.forget, before=tidied - idempotency.KEPT_MS))
            except Exception as error:  # noqa: BLE001 - logged
                log_failure(error, "Sweeping expired sessions failed and is tried again")

    def join(self, upload: sa.Row[Any]) -> None:
        """Join the parts of a completed multipart upload in the background; the result counts as arrived."""
        if upload.id not in self._joining:
            task = asyncio.create_task(self._join(upload))
            self._joining[upload.id] = task
            task.add_done_callback(lambda _: self._joining.pop(upload.id, None))

    async def _join(self, upload: sa.Row[Any]) -> None:
        while True:
            try:
                await self._join_once(upload)
                break
            except ApiError:
                break
            except Exception as error:  # noqa: BLE001 - logged
                log_failure(error, f"Joining multipart upload {upload.id} failed and is tried again")
                await asyncio.sleep(_PAUSE)
        await self._blobs.remove_parts(upload.session_id, upload.id)

    async def _join_once(self, upload: sa.Row[Any]) -> None:
        async with self.arriving(upload.session_id, upload.idx) as session:
            parts = await self._database.read(partial(multipart.parts, seq=upload.seq))
            if len(parts) != upload.part_count:
                return  # another process has joined them
            size = sum(part.size for part in parts)
            blob: str | None
            crc: int | None = None
            if upload.begun is None:
                with self._room.taking(upload.size):
                    blob = await self._blobs.join_parts(upload.session_id, upload.id, [part.file for part in parts])
                crc = reduce(lambda known, part: _checksums.combine(known, part.crc32c, part.size), parts, 0)
            else:
                assert self._blobs.direct is not None
                sent = [(part.number, part.etag) for part in parts]
                blob = await self._blobs.direct.complete(upload.session_id, upload.id, upload.begun, sent)
            await self.arrived(session, upload.idx, blob, 0 if blob is None else size, crc)
        await self._remove(await self._database.write(partial(multipart.finish, row=upload, now=self._clock())))


def opened(row: sa.Row[Any]) -> OpenSession:
    """Return the session of a row."""
    return OpenSession(row.seq, row.id, row.expiry, row.watched is not None)


def _groups(wanted: Sequence[_Wanted], most: int | None) -> Iterator[Sequence[_Wanted]]:
    """Divide what is to be looked at into stretches of at most *most* bytes, or of one file; None: it stays whole."""
    if most is None:
        if wanted:
            yield wanted
        return
    group: list[_Wanted] = []
    for one in wanted:
        if group and sum(other.item.size for other in group) + one.item.size > most:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _announced(connection: sa.Connection, batch: Sequence[Arrival]) -> dict[tuple[int, int], sa.Row[Any]]:
    """Return what was announced of those files that still wait for this very object."""
    found = {}
    by_session: dict[int, dict[int, Arrival]] = {}
    for arrival in batch:
        by_session.setdefault(arrival.session_seq, {})[arrival.index] = arrival
    for seq, arrivals in by_session.items():
        statement = sa.select(ingest_item).where(ingest_item.c.session_seq == seq, ingest_item.c.idx.in_(arrivals))
        for row in connection.execute(statement):
            if row.state == ItemState.ARRIVED and row.blob == arrivals[row.idx].blob:
                found[seq, row.idx] = row
    return found


def _give_up(connection: sa.Connection, session: OpenSession, busy: list[int], now: int) -> settling.Settled:
    """Expire a session's files that have not arrived, except *busy*."""
    settled = settling.Settled()
    row = connection.execute(
        sa.select(ingestion_session).where(
            ingestion_session.c.seq == session.seq, ingestion_session.c.state == SessionState.OPEN
        )
    ).one_or_none()
    if row is None:
        settled.ended.append(session.id)
    else:
        settling.expire(connection, row, busy, now, settled)
    return settled
