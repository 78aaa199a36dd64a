"""Stage 4 of an upload: send the bytes of each file to its signed URL, whole or in parts.

`_transfer/upload.py` reads the file and makes the body, `_transfer/storage.py` makes the PUT. A file whose URL expired
before its turn goes to a later session.
"""

from __future__ import annotations

import time

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream

from ......_transfer.discovery import os_failure
from ......_transfer.journals.uploads import BegunMultipart, Identity
from ......_transfer.outcomes import SourceChangedError, TargetGone, TransferFailed, UrlExpired
from ......_transfer.record import FileRecord, Outcome
from ......_transfer.threads.pool import TaskPool, slots_for
from ......_transfer.upload import send_parts, send_whole
from ......codes import CUT_SHORT, FileCode
from ......errors import (
    ViAuthenticationError,
    ViConflictError,
    ViError,
    ViNetworkError,
    ViNotFoundError,
    ViOperationError,
    ViPermissionError,
    ViTimeoutError,
    ViValidationError,
)
from .context import OpenSession, UploadContext
from .multipart import Multipart, MultipartNotOfferedError
from .opening import Opening, ToSend
from .settling import Settlement

MAX_SESSIONS_PER_FILE = 3
LONG_WAIT = 5.0
"""Seconds from which on a URL that has ended was kept waiting by us, not given too late by the service."""


class Sending:
    """Sends the files of one upload."""

    def __init__(self, upload: UploadContext, settlement: Settlement) -> None:
        self._upload = upload
        self._settlement = settlement
        self._multipart_offered = True
        self._again: list[FileRecord] = []
        self._idle_rounds = 0
        """Consecutive rounds of new sessions in which no file was finished."""
        self._queued_long = False
        """Whether a file of this round was late for its turn because others took long, not for the life of its URL."""

    async def run(self, ready: MemoryObjectReceiveStream[ToSend]) -> None:
        """Send what is in open sessions, and settle each session once all of its files are sent."""
        async with ready, anyio.create_task_group() as settling, TaskPool(self._upload.slots) as pool:
            async for to_send in ready:
                await self.session(to_send, pool, settling)

    async def session(self, to_send: ToSend, pool: TaskPool, settling: TaskGroup) -> None:
        """Send files of one session."""
        opened, records, complete = to_send
        self._upload.tracker.enter("sending")
        for record in records:
            await pool.submit(self._send_one, opened, record, settling, slots=slots_for(record.size))
        if complete:
            self._done_with_one(opened, settling)

    def _done_with_one(self, opened: OpenSession, settling: TaskGroup) -> None:
        opened.pending -= 1
        if not opened.pending:
            settling.start_soon(self._settlement.settle, opened)

    async def again(self, opening: Opening) -> None:
        """Give files whose URLs expired new sessions."""
        async with anyio.create_task_group() as settling:
            while self._again:
                records, self._again = self._again, []
                given, self._queued_long = len(records), False
                async with TaskPool(self._upload.slots) as pool:
                    async for to_send in opening.again(records):
                        await self.session(to_send, pool, settling)
                if len(self._again) < given:
                    self._idle_rounds = 0
                elif not self._queued_long:
                    self._idle_rounds += 1

    async def _send_one(self, opened: OpenSession, record: FileRecord, settling: TaskGroup) -> None:
        waited = record.upload is not None and self._upload.storage.near_expiry(record.upload)
        try:
            if waited and record.filename not in opened.begun:
                raise UrlExpired
            await self._transmit(opened, record)
        except UrlExpired:
            self._expire(opened, record, waited=waited)
        except TargetGone as gone:
            # Settling tells whether the session failed, was ended by another hand, or is finished with this file too.
            if gone.may_be_stored:
                opened.sent[record.filename] = record
                self._upload.tracker.sent()
        except TransferFailed as problem:
            record.attempts = max(record.attempts, problem.attempts)
            self._lose(opened, record, problem.code, f"{record.filename}: {problem.message}")
        except SourceChangedError:
            self._lose(opened, record, FileCode.ECHANGED, f"{record.path} changed during the upload.")
        except (ViAuthenticationError, ViPermissionError):
            raise
        except ViError as error:  # before OSError, which some of them are
            lost = isinstance(error, ViNetworkError | ViTimeoutError)
            self._lose(
                opened, record, FileCode.ENETWORK if lost else FileCode.EUNKNOWN, f"{record.filename}: {error.message}"
            )
        except OSError as error:
            self._lose(opened, record, *os_failure(error, record.path))
        else:
            opened.sent[record.filename] = record
            record.upload = None  # a signed URL takes more memory than all else that is known of a file
            if self._upload.journal is not None and (identity := Identity.of(record)) is not None:
                self._upload.journal.sent(record.filename, identity, opened.id)
            self._upload.acknowledged += 1
            self._upload.tracker.move(record.advance(record.size))
            self._upload.tracker.sent()
            self._upload.slots.moved(record.size)
        finally:
            record.release()  # also for a later session: what is kept for it would leave no room for others
        cut_short = record.outcome is Outcome.FAILED and self._upload.ledger.failures[-1].code in CUT_SHORT
        if not cut_short:
            opened.in_parts.discard(record.filename)
        self._done_with_one(opened, settling)

    async def _transmit(self, opened: OpenSession, record: FileRecord) -> None:
        large = record.size >= self._upload.options.limits.multipart_threshold and record.source.repeatable
        opened.attempted += 1
        begun = opened.begun.get(record.filename)
        if begun is not None or (large and opened.session.ingestion_id and self._multipart_offered):
            target = Multipart(self._upload.calls, opened.session, record, self._upload.journal, begun)
            opened.in_parts.add(record.filename)
            try:
                await self._send_parts(record, target, begun)
                return
            except MultipartNotOfferedError:
                self._multipart_offered = False
        await send_whole(record, self._upload.storage, self._upload.lanes)

    async def _send_parts(self, record: FileRecord, target: Multipart, begun: BegunMultipart | None) -> None:
        limits = self._upload.options.limits
        if begun is None:
            await send_parts(record, target, self._upload.storage, limits, self._upload.tracker.move)
            return
        try:
            try:
                await send_parts(record, target, self._upload.storage, limits, self._upload.tracker.move, begun.parts)
            except ViConflictError:  # the service lacks a part that the journal has
                await send_parts(record, target, self._upload.storage, limits, self._upload.tracker.move)
            return
        except SourceChangedError:
            if not await record.source.still(record.stamp):
                raise
        except TransferFailed as problem:
            if problem.code in CUT_SHORT:
                raise
        except (TargetGone, ViConflictError, ViNotFoundError, ViOperationError, ViValidationError):
            pass
        raise UrlExpired  # the upload is gone, or does not match the journal

    def _expire(self, opened: OpenSession, record: FileRecord, *, waited: bool) -> None:
        if waited or opened.sent:
            record.sessions -= 1  # its turn came too late, and others were sent: nothing is wrong with it
        if waited and record.upload is not None and time.monotonic() - record.upload.came > LONG_WAIT:
            self._queued_long = True
        if max(record.sessions, self._idle_rounds) >= MAX_SESSIONS_PER_FILE or not record.source.repeatable:
            self._lose(
                opened, record, FileCode.ETIMEOUT, f"{record.filename}: its upload URL expired before it was sent."
            )
            return
        del opened.records[record.filename]
        self._again.append(record)

    def _lose(self, opened: OpenSession, record: FileRecord, code: str, message: str) -> None:
        opened.records.pop(record.filename, None)
        self._upload.fail(record, code, message)
