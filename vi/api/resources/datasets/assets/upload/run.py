"""An upload from local files to settled assets: discover, prepare, open sessions, send, settle.

The stages run at once, joined by bounded streams. A file is one `FileRecord`; whatever happens to it is entered in the
ledger once. Sessions begin small, so that sending starts early, and grow. A file whose URL expired goes to a later
session. When the run ends early (a first failure, a time-out, a cancellation), open sessions are cancelled at the
service, and what had been acknowledged is looked up before it is reported.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import anyio
import attrs
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ...... import _routes, _wire
from ......_checksums import to_signed
from ......_http import Http
from ......_pacing import Slots
from ......_transfer.discovery import Inventory, os_failure
from ......_transfer.journals.uploads import BegunMultipart, Identity, Journal, JournalKey, Unfinished
from ......_transfer.preparation import prepare
from ......_transfer.progress import ProgressTracker
from ......_transfer.record import FileRecord, Ledger, Outcome
from ......_transfer.sources.local import BytesSource, SourceChangedError
from ......_transfer.storage import Storage, TargetGone, TransferFailed, UrlExpired, signed_transfer
from ......_transfer.threads.lanes import Lanes
from ......_transfer.threads.pool import TaskPool, first_error, slots_for
from ......_transfer.threads.stopping import to_end_in_thread
from ......_transfer.upload import CUT_SHORT, send_parts, send_whole
from ......config import TransferLimits
from ......errors import (
    ViAuthenticationError,
    ViConflictError,
    ViError,
    ViNetworkError,
    ViNotFoundError,
    ViOperationError,
    ViPermissionError,
    ViTimeoutError,
    ViUploadError,
    ViValidationError,
)
from ..remote_index import RemoteIndex, same_content
from ..responses import AssetIngestionSession, FailureMode, ResourceRetentionMode
from ..results import AssetUploadResult
from .multipart import Multipart, MultipartNotOfferedError
from .resumption import Resumption
from .settling import FirstFailure, OpenSession, Settlement

logger: logging.Logger = logging.getLogger("vi.transfer")

FIRST_SESSION_FILES = 64
SESSION_GROWTH = 4
FILES_TO_TELL = 8
FIRST_SESSION_BYTES = 256 << 20
MAX_SESSIONS_PER_FILE = 3
LONG_WAIT = 5.0
"""Seconds from which on a URL that has ended was kept waiting by us, not given too late by the service."""


@attrs.frozen
class UploadOptions:
    """What the caller asked for."""

    dataset_id: str
    wait: bool
    failure_mode: FailureMode
    retention: ResourceRetentionMode
    metadata_of: Callable[[FileRecord], dict[str, Any] | None]
    limits: TransferLimits
    skip_existing: bool = False


ToSend = tuple["OpenSession", list[FileRecord], bool]
"""Files of a session to send, and whether they are the last that it gets."""


class Upload:
    """One upload."""

    def __init__(
        self,
        http: Http,
        storage: Storage,
        lanes: Lanes,
        slots: Slots,
        options: UploadOptions,
        tracker: ProgressTracker,
    ) -> None:
        self._http = http
        self._storage = storage
        self._lanes = lanes
        self._slots = slots
        self._options = options
        self._tracker = tracker
        self._ledger = Ledger()
        self._again: list[FileRecord] = []
        self._url_life = 0.0
        self._acknowledged = 0
        self._idle_rounds = 0
        """Rounds of new sessions, one after the other, in which no file came to its end."""
        self._queued_long = False
        """Whether a file of this round was late for its turn because others took long, not for the life of its URL."""
        self._multipart_offered = True
        self._journal: Journal | None = None
        self._resumption: Resumption | None = None
        self._left: Unfinished | None = None
        self._index: RemoteIndex | None = None
        dataset = _routes.composite(http.settings.organization_id, options.dataset_id)
        self._base = {"org": http.settings.organization_id, "dataset": dataset, **_routes.MANAGED_SOURCE}
        self._settlement = Settlement(
            http,
            self._base,
            self._ledger,
            tracker,
            wait=options.wait,
            stop_at_first_failure=options.failure_mode is FailureMode.FAIL_AFTER_ONE,
        )

    async def run(self, inventory: Inventory) -> AssetUploadResult:
        """Upload the files of *inventory*; raises `ViUploadError` under FailAfterOne, each with the result so far."""
        failure: ViError | None = None
        ended = False
        try:
            self._take_on(inventory)
            await self._go_on()
            await self._run_stages()
            ended = True
        except FirstFailure:
            pass
        except ViError as error:
            failure = error
        finally:
            if not ended:
                await self._settlement.wind_down()
                self._ledger.cancel_rest()
            if self._journal is not None:
                counts = self._ledger.counts
                whole = ended and not counts[Outcome.FAILED] and not counts[Outcome.CANCELLED]
                self._journal.close(finished=whole, left=self._left)
            self._tracker.finish()
        result = self.result()
        if failure is not None:
            raise _with_result(failure, result)
        incomplete = bool(result.failures or result.total_cancelled)
        if incomplete and self._options.failure_mode is FailureMode.FAIL_AFTER_ONE:
            raise _first_failure(result)
        return result

    def result(self) -> AssetUploadResult:
        """Return the result of a run that has come to its end or was stopped; the sums are checked."""
        return AssetUploadResult.of(self._ledger, self._settlement.sessions, self._tracker.seconds)

    def _take_on(self, inventory: Inventory) -> None:
        self._tracker.files_total = inventory.count + len(inventory.broken)
        self._tracker.bytes_total = inventory.bytes
        self._ledger.skip(inventory.skip_reasons, inventory.skips)
        self._ledger.enter(inventory.count + len(inventory.broken), inventory)
        for broken in inventory.broken:
            record = FileRecord(BytesSource(broken.path, b""), broken.filename, 0)
            self._ledger.fail(record, broken.code, broken.message)
            self._tracker.settle(failed=True)
        if inventory.broken and self._options.failure_mode is FailureMode.FAIL_AFTER_ONE:
            raise FirstFailure

    async def _go_on(self) -> None:
        """Open a journal, and learn what earlier runs of this upload have left."""
        settings = self._http.settings
        key = JournalKey(settings.endpoint, settings.organization_id, self._options.dataset_id)
        try:
            self._journal = self._settlement.journal = await to_end_in_thread(Journal.open, key)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            logger.warning("No journal can be kept (%s): a run that dies will be repeated in full", reason)
        if self._journal is not None and self._journal.found:
            logger.info("Going on with an upload that did not end: %d files were sent", len(self._journal.found.sent))
            self._resumption = Resumption(self._http, self._base, self._journal.found)
            await self._resumption.ask()
            self._resumption.carry_over(self._journal)
        if self._options.skip_existing:
            self._index = await RemoteIndex.load(self._http, self._base)

    async def _run_stages(self) -> None:
        prepared_in, prepared_out = anyio.create_memory_object_stream[list[FileRecord]](16)
        ready_in, ready_out = anyio.create_memory_object_stream[ToSend](1)
        try:
            async with anyio.create_task_group() as stages:
                stages.start_soon(self._prepare_all, prepared_in)
                stages.start_soon(self._open_sessions, prepared_out, ready_in)
                stages.start_soon(self._send_all, ready_out)
            await self._send_again()
            if self._resumption is not None:
                self._left = await self._resumption.close()
        except BaseExceptionGroup as group:
            raise first_error(group) from None

    # prepare

    async def _prepare_all(self, out: MemoryObjectSendStream[list[FileRecord]]) -> None:
        async with out, aclosing(prepare(self._ledger.draw(), self._lanes, self._settlement.fail)) as prepared:
            async for records in prepared:
                if self._resumption is not None or self._index is not None:
                    records = [record for record in records if not await self._is_there(record)]
                if records:
                    await out.send(records)

    async def _is_there(self, record: FileRecord) -> bool:
        """Settle a file that the dataset holds already."""
        there = self._resumption is not None and await self._resumption.stored(record)
        if not there and self._index is not None and (asset := self._index.get(record.filename)) is not None:
            there = bool(await same_content(record, asset))
        if there:
            self._ledger.succeed(record, Outcome.EXISTING)
            self._tracker.settle()
        return there

    # open sessions

    async def _open_sessions(
        self, prepared: MemoryObjectReceiveStream[list[FileRecord]], ready: MemoryObjectSendStream[ToSend]
    ) -> None:
        batch: list[FileRecord] = []
        size = 0
        target = min(FIRST_SESSION_FILES, self._options.limits.session_files)
        async with prepared, ready:
            async for records in prepared:
                for record in records:
                    if (adopted := self._adopt(record)) is not None:
                        await ready.send((adopted, [record], False))
                        continue
                    if batch and (
                        len(batch) >= self._session_files(target) or size + record.size > self._session_bytes()
                    ):
                        await ready.send(await self._fill_session(batch))
                        batch, size = [], 0
                        target = min(target * SESSION_GROWTH, self._options.limits.session_files)
                    batch.append(record)
                    size += record.size
            if batch:
                await ready.send(await self._fill_session(batch))
            for opened in [session for session in self._settlement.open.values() if session.begun]:
                await ready.send((opened, [], True))

    def _adopt(self, record: FileRecord) -> OpenSession | None:
        """Take up the session in which an earlier run began this large file in parts."""
        begun = self._resumption.begun(record) if self._resumption is not None else None
        if begun is None or self._resumption is None:
            return None
        opened = self._settlement.open.get(begun.session_id)
        if opened is None:
            session = self._resumption.sessions[begun.session_id]
            opened = OpenSession(session, {}, 1)
            self._settlement.add(opened)
        opened.records[record.filename] = record
        opened.begun[record.filename] = begun
        opened.pending += 1
        record.sessions += 1
        return opened

    def _session_files(self, target: int) -> int:
        """Bound a session of *target* files likewise, once enough have been sent to tell."""
        if not self._url_life or self._acknowledged < FILES_TO_TELL:
            return target
        rate = self._acknowledged / max(self._tracker.seconds, 0.1)
        return max(1, min(target, int(rate * self._url_life / 3)))

    def _session_bytes(self) -> float:
        """Bound a session to what the measured rate can send in a third of its URLs' life."""
        if not self._url_life or self._tracker.bytes_done < FIRST_SESSION_BYTES // 4:
            return FIRST_SESSION_BYTES
        rate = self._tracker.bytes_done / max(self._tracker.seconds, 0.1)
        return max(FIRST_SESSION_BYTES / 4, rate * self._url_life / 3)

    async def _fill_session(self, records: list[FileRecord]) -> ToSend:
        opened = await self._open_session(records)
        return opened, list(opened.records.values()), True

    async def _open_session(self, records: list[FileRecord]) -> OpenSession:
        for record in records:
            record.custom_metadata = self._options.metadata_of(record)
            record.sessions += 1
        body = {
            "spec": {
                "kind": "Upload",
                "failureMode": str(self._options.failure_mode),
                "onAssetOverwritten": str(self._options.retention),
                "assets": [_announce(record) for record in records],
            }
        }
        document = await self._http.document("POST", _routes.fill(_routes.SESSIONS, **self._base), body=body)
        assets = _take_assets(document)
        try:
            session = _wire.structure(document, AssetIngestionSession)
        except _wire.WireError as error:
            raise ViUploadError(f"The answer to the new session cannot be read: {error}.") from None
        opened = OpenSession(session, {record.filename: record for record in records}, len(records) + 1)
        self._settlement.add(opened)
        if self._journal is not None:
            self._journal.opened(opened.id)
        self._hand_out(opened, assets)
        return opened

    def _hand_out(self, opened: OpenSession, assets: list[Any]) -> None:
        """Give each record its URL; a name that was never offered is ignored, a name given twice counts once."""
        endpoint = self._http.settings.endpoint
        refused, reasons = opened.session.status.errors, opened.session.status.reasons
        for asset in assets:
            try:
                record = opened.records.get(asset["metadata"]["filename"])
                upload = asset["upload"]
                expires = _wire.to_seconds(upload.get("expiry") or 0)
                if record is None or record.upload is not None:
                    continue
                record.upload = signed_transfer(upload["url"], upload.get("headers"), "PUT", expires, endpoint=endpoint)
                self._url_life = max(self._url_life, expires - time.time())
            except TransferFailed as problem:
                assert record is not None
                self._drop(opened, record, problem.code, problem.message)
            except (KeyError, TypeError, AttributeError):
                continue
        for record in list(opened.records.values()):
            if record.upload is None and record.outcome is None:
                code = str(refused.get(record.filename, "EUNKNOWN"))
                reason = reasons.get(record.filename, "the service gave no upload URL for it.")
                self._drop(opened, record, code, f"{record.filename}: {reason}")

    def _drop(self, opened: OpenSession, record: FileRecord, code: str, message: str) -> None:
        opened.pending -= 1
        del opened.records[record.filename]
        self._settlement.fail(record, code, message)

    # send

    async def _send_all(self, ready: MemoryObjectReceiveStream[ToSend]) -> None:
        async with ready, anyio.create_task_group() as settling, TaskPool(self._slots) as pool:
            async for to_send in ready:
                await self._send_session(to_send, pool, settling)

    async def _send_session(self, to_send: ToSend, pool: TaskPool, settling: TaskGroup) -> None:
        opened, records, complete = to_send
        self._tracker.enter("sending")
        for record in records:
            await pool.submit(self._send_one, opened, record, settling, slots=slots_for(record.size))
        if complete:
            self._done_with_one(opened, settling)

    def _done_with_one(self, opened: OpenSession, settling: TaskGroup) -> None:
        opened.pending -= 1
        if not opened.pending:
            settling.start_soon(self._settlement.settle, opened)

    async def _send_again(self) -> None:
        """Give files whose URLs expired new sessions."""
        async with anyio.create_task_group() as settling:
            while self._again:
                records, self._again = self._again, []
                given, self._queued_long = len(records), False
                async with TaskPool(self._slots) as pool:
                    while records:
                        count = self._session_files(self._options.limits.session_files)
                        batch, records = records[:count], records[count:]
                        for record in batch:
                            record.upload = None
                        await self._send_session(await self._fill_session(batch), pool, settling)
                if len(self._again) < given:
                    self._idle_rounds = 0
                elif not self._queued_long:
                    self._idle_rounds += 1

    async def _send_one(self, opened: OpenSession, record: FileRecord, settling: TaskGroup) -> None:
        waited = record.upload is not None and self._storage.near_expiry(record.upload)
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
        except TransferFailed as problem:
            record.attempts = max(record.attempts, problem.attempts)
            self._lose(opened, record, problem.code, f"{record.filename}: {problem.message}")
        except SourceChangedError:
            self._lose(opened, record, "ECHANGED", f"{record.path} changed during the upload.")
        except (ViAuthenticationError, ViPermissionError):
            raise
        except ViError as error:  # before OSError, which some of them are
            lost = isinstance(error, ViNetworkError | ViTimeoutError)
            self._lose(opened, record, "ENETWORK" if lost else "EUNKNOWN", f"{record.filename}: {error.message}")
        except OSError as error:
            self._lose(opened, record, *os_failure(error, record.path))
        else:
            opened.sent[record.filename] = record
            record.upload = None  # a signed URL takes more memory than all else that is known of a file
            if self._journal is not None and (identity := Identity.of(record)) is not None:
                self._journal.sent(record.filename, identity, opened.id)
            self._acknowledged += 1
            self._tracker.move(record.advance(record.size))
            self._slots.moved(record.size)
        cut_short = record.outcome is Outcome.FAILED and self._ledger.failures[-1].code in CUT_SHORT
        if not cut_short:
            opened.in_parts.discard(record.filename)
        self._done_with_one(opened, settling)

    async def _transmit(self, opened: OpenSession, record: FileRecord) -> None:
        large = record.size >= self._options.limits.multipart_threshold and record.source.repeatable
        opened.attempted += 1
        begun = opened.begun.get(record.filename)
        if begun is not None or (large and opened.session.ingestion_id and self._multipart_offered):
            target = Multipart(self._http, self._base, opened.session, record, self._journal, begun)
            opened.in_parts.add(record.filename)
            try:
                await self._send_parts(record, target, begun)
                return
            except MultipartNotOfferedError:
                self._multipart_offered = False
        await send_whole(record, self._storage, self._lanes)

    async def _send_parts(self, record: FileRecord, target: Multipart, begun: BegunMultipart | None) -> None:
        limits = self._options.limits
        if begun is None:
            await send_parts(record, target, self._storage, limits, self._tracker.move)
            return
        try:
            try:
                await send_parts(record, target, self._storage, limits, self._tracker.move, begun.parts)
            except ViConflictError:  # the service lacks a part that the journal has
                await send_parts(record, target, self._storage, limits, self._tracker.move)
            return
        except SourceChangedError:
            if not await record.source.still(record.stamp):
                raise
        except TransferFailed as problem:
            if problem.code in CUT_SHORT:
                raise
        except (TargetGone, ViConflictError, ViNotFoundError, ViOperationError, ViValidationError):
            pass
        raise UrlExpired  # the upload is no more, or not what the journal says of it

    def _expire(self, opened: OpenSession, record: FileRecord, *, waited: bool) -> None:
        if waited or opened.sent:
            record.sessions -= 1  # its turn came too late, and others were sent: nothing is wrong with it
        if waited and record.upload is not None and time.monotonic() - record.upload.came > LONG_WAIT:
            self._queued_long = True
        if max(record.sessions, self._idle_rounds) >= MAX_SESSIONS_PER_FILE or not record.source.repeatable:
            self._lose(opened, record, "ETIMEOUT", f"{record.filename}: its upload URL expired before it was sent.")
            return
        del opened.records[record.filename]
        self._again.append(record)

    def _lose(self, opened: OpenSession, record: FileRecord, code: str, message: str) -> None:
        opened.records.pop(record.filename, None)
        self._settlement.fail(record, code, message)


def _announce(record: FileRecord) -> dict[str, Any]:
    return {
        "filename": record.filename,
        "kind": record.kind,
        "mime": record.mime,
        "size": record.size,
        "crc32c": to_signed(record.crc32c) if record.crc32c is not None else None,
        "customMetadata": record.custom_metadata,
    }


def _take_assets(document: Any) -> list[Any]:
    """Take the signed URLs out of a session document; they are read apart and not kept."""
    try:
        assets = document["status"].pop("assets", None)
    except (KeyError, TypeError, AttributeError):
        return []
    return assets if isinstance(assets, list) else []


def _with_result(error: ViError, result: AssetUploadResult) -> ViError:
    if getattr(error, "result", None) is None:
        error.result = result  # type: ignore[attr-defined]
    return error


def _first_failure(result: AssetUploadResult) -> ViUploadError:
    first = [*result.failures, *result.cancelled][0]
    return ViUploadError(
        f"{first.message} {result.total_succeeded} of {result.total_files} files were stored.",
        error_code=first.code,
        path=first.path,
        result=result,
        suggestion="The same call goes on with what is missing; failure_mode='FailAfterAll' tries every file.",
    )
