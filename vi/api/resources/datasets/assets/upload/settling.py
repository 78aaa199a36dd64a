"""How the sessions of an upload end: waiting for the verdicts, judging every file by them, and the early end.

What was sent does not say what is stored, since an acknowledgement may be lost: only a session that reached its end
without failing says it for all of its files, else the dataset is asked.
"""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import attrs

from ...... import _routes, _wire
from ......_http import Http
from ......_transfer.journals.uploads import BegunMultipart, Journal
from ......_transfer.progress import ProgressTracker
from ......_transfer.record import FileRecord, Ledger
from ......_transfer.threads.pool import first_error
from ......_transfer.upload import CUT_SHORT
from ......errors import ViError, ViNotFoundError, ViValidationError
from ..polling import Polling
from ..responses import AssetIngestionSession, ResourceCondition
from ..stored import stored_since

CANCEL_SECONDS = 1.5


class FirstFailure(Exception):
    """A file failed, and one failure is to stop the rest."""


@attrs.define(eq=False)
class OpenSession:
    """A session, and its files by name until their verdict."""

    session: AssetIngestionSession
    records: dict[str, FileRecord]
    pending: int
    """Files that are not sent yet, and one for as long as more may come."""
    sent: dict[str, FileRecord] = attrs.Factory(dict)
    begun: dict[str, BegunMultipart] = attrs.Factory(dict)
    """Multipart uploads of an earlier run that are gone on with."""
    attempted: int = 0
    """Files of which bytes may have reached the storage."""
    in_parts: set[str] = attrs.Factory(set)
    """Large files that are on their way in parts, or were cut short: the next run goes on with them."""
    settled: int = 0

    @property
    def id(self) -> str:
        return self.session.asset_ingestion_session_id

    @property
    def counts_are_ours(self) -> bool:
        """Whether the session's counts can only be about the files known as sent."""
        return not self.begun and self.attempted == len(self.sent)


class Settlement:
    """The open sessions of one upload, and how each of their files ends."""

    def __init__(
        self,
        http: Http,
        base: dict[str, str],
        ledger: Ledger,
        tracker: ProgressTracker,
        *,
        wait: bool,
        stop_at_first_failure: bool,
    ) -> None:
        self._http = http
        self._base = base
        self._ledger = ledger
        self._tracker = tracker
        self._wait = wait
        self._stop_at_first_failure = stop_at_first_failure
        self.journal: Journal | None = None
        self.open: dict[str, OpenSession] = {}
        self.sessions: list[AssetIngestionSession] = []
        """All that the upload has had, as last read."""

    def add(self, opened: OpenSession) -> None:
        """Take on a session."""
        self.open[opened.id] = opened
        self.sessions.append(opened.session)

    def fail(self, record: FileRecord, code: str, message: str) -> None:
        """Settle a file as failed, which may end the upload."""
        self._ledger.fail(record, code, message)
        self._tracker.settle(failed=True)
        if self._stop_at_first_failure:
            raise FirstFailure

    async def settle(self, opened: OpenSession) -> None:
        """Wait for the verdict on what was sent; a session that waits for files that will not come is cancelled.

        One with a large file that was cut short is left to end with its URLs, so that the next run can go on with it.
        """
        refused_at_once = 0 if opened.begun else len(opened.session.status.errors)
        expected = len(opened.sent) + refused_at_once
        complete = expected >= opened.session.status.progressCount.total
        if not self._wait:
            for record in opened.sent.values():
                self._ledger.succeed(record)
                self._tracker.settle()
            self._give_up(opened, "its session ended before it was sent")
            self._close(opened)
            return
        polling = Polling()
        while True:
            try:
                await self._read(opened)
            except (ViNotFoundError, ViValidationError) as error:
                if error.status_code not in (404, 410):
                    raise
                opened.session.status.conditions = [ResourceCondition("Finished", "FailedReach", reason="gone")]
            status, count = opened.session.status, opened.session.status.progressCount
            if status.finished:
                break
            if not complete and count.succeeded + count.errored >= expected and await self._all_settled(opened):
                if opened.in_parts and self.journal is not None:
                    await self._judge(opened, ended=False)
                    return
                await self._cancel(opened)
                break
            self._tracker.enter("settling")
            await anyio.sleep(polling.pause(count.succeeded + count.errored, expected))
        await self._judge(opened)

    async def _all_settled(self, opened: OpenSession) -> bool:
        """Tell whether every file that was sent has its verdict, once the session's counts say that it may be so."""
        if opened.counts_are_ours:
            return True
        stored = await stored_since(self._http, self._base, opened.session.metadata.time_created)
        errors = opened.session.status.errors
        return all(name in errors or stored.get(name) == record.size for name, record in opened.sent.items())

    async def _read(self, opened: OpenSession) -> None:
        path = _routes.fill(_routes.SESSION, **self._base, session=opened.id)
        opened.session = await self._http.request("GET", path, AssetIngestionSession)
        self._replace(opened)
        count = opened.session.status.progressCount
        for _ in range(opened.settled, min(count.succeeded + count.errored, len(opened.sent))):
            opened.settled += 1
            self._tracker.settle()

    def _replace(self, opened: OpenSession) -> None:
        """Keep the newest reading of a session in the result, without its URLs."""
        opened.session.status.assets = None
        for index, session in enumerate(self.sessions):
            if session.asset_ingestion_session_id == opened.id:
                self.sessions[index] = opened.session

    async def _judge(self, opened: OpenSession, *, ended: bool = True) -> None:
        """Enter the verdict on every file of a session that has *ended*, or is left to end by itself.

        A file may be stored although its acknowledgement was lost, so what was sent does not say what is stored: only a
        session that reached its end without failing says it for all of its files.
        """
        status, count = opened.session.status, opened.session.status.progressCount
        errors = status.errors
        end = f"its session ended ({status.reason or 'finished'})" if ended else "the upload was stopped"
        everything = status.finished and not status.failed
        stored: Mapping[str, int] = {}
        if not everything and (count.succeeded or opened.sent):
            stored = await stored_since(self._http, self._base, opened.session.metadata.time_created)
        for name, record in opened.records.items():
            if name in errors or record.outcome is not None:
                continue
            acknowledged = name in opened.sent
            if everything or stored.get(name) == record.size:
                self._ledger.succeed(record)
                if not acknowledged:
                    self._tracker.move(record.advance(record.size))
                    self._tracker.settle()
            elif acknowledged:
                self._ledger.cancel(record, f"{name}: {end} before it was stored.")
        self._give_up(opened, f"{end} before it was sent")
        if ended:
            self._close(opened)
        failed = [(name, code) for name, code in errors.items() if name in opened.sent]
        reasons = status.reasons if failed else {}
        for name, code in failed:
            record = opened.sent[name]
            self._ledger.fail(record, str(code), f"{name}: {reasons[name]}")
        self._tracker.files_failed += len(failed)
        if failed and self._stop_at_first_failure:
            raise FirstFailure

    def _give_up(self, opened: OpenSession, reason: str) -> None:
        for name, record in opened.records.items():
            if name not in opened.sent and record.outcome is None:
                self._ledger.cancel(record, f"{name}: {reason}.")
                self._tracker.settle()

    def _close(self, opened: OpenSession) -> None:
        self.open.pop(opened.id, None)
        if self.journal is not None:
            self.journal.ended(opened.id)

    async def _cancel(self, opened: OpenSession) -> None:
        path = _routes.fill(_routes.SESSION_CANCEL, **self._base, session=opened.id)
        try:
            document = await self._http.document("POST", path, idempotent=True)
            if isinstance(document, dict):
                document.get("status", {}).pop("assets", None)
                opened.session = _wire.structure(document, AssetIngestionSession)
                self._replace(opened)
        except (ViNotFoundError, _wire.WireError):
            return

    async def wind_down(self) -> None:
        """Tell the service of every open session that it is over, and look up what had been stored; less than two seconds."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(CANCEL_SECONDS):
            try:
                async with anyio.create_task_group() as group:
                    for opened in list(self.open.values()):
                        group.start_soon(self._wind_down_one, opened)
            except BaseExceptionGroup as group_error:
                error = first_error(group_error)
                if not isinstance(error, ViError):
                    raise error from None
        for opened in self.open.values():
            for name, record in opened.records.items():
                if record.outcome is None:
                    self._ledger.cancel(record, f"{name}: cancelled; whether it was stored is not known.")

    async def _wind_down_one(self, opened: OpenSession) -> None:
        # One with a file in parts is left to end with its URLs, so that the next run can go on with the parts.
        left = bool(opened.in_parts) and self.journal is not None
        left = left and all(failure.code in CUT_SHORT for failure in self._ledger.failures)
        await (self._read(opened) if left else self._cancel(opened))
        try:
            await self._judge(opened, ended=not left)
        except FirstFailure:
            return
