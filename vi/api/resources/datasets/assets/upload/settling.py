"""Stage 5 of an upload, how its sessions end: waiting for the verdicts, judging every file by them, and the early end.

What was sent does not say what is stored, since an acknowledgement may be lost: only a session that reached its end
without failing says it for all of its files, else the dataset is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import anyio

from ......_transfer.journals.uploads import Identity
from ......_transfer.threads.pool import first_error
from ......codes import CUT_SHORT
from ......errors import ViError, ViNotFoundError, ViValidationError
from ..looking import SessionLooks
from ..remote_index import stored_since
from ..responses import AssetIngestionSession, ResourceCondition
from .context import FirstFailure, OpenSession, UploadContext

CANCEL_SECONDS = 1.5

T = TypeVar("T")


class Settlement:
    """The open sessions of one upload, and how each of their files ends."""

    def __init__(self, upload: UploadContext) -> None:
        self._upload = upload
        self.open: dict[str, OpenSession] = {}
        self._opening: asyncio.Task[Any] | None = None
        self.sessions: list[AssetIngestionSession] = []
        """All that the upload has had, as last read."""

    async def opening(self, work: Coroutine[Any, Any, T]) -> T:
        """Open a session, that is `add` it; if the upload ends before the answer, `wind_down` waits for it.

        Nobody else would know of that session, and it would stay open.
        """
        task = self._opening = asyncio.create_task(work)
        try:
            return await asyncio.shield(task)
        finally:
            if task.done():
                self._opening = None

    def add(self, opened: OpenSession) -> None:
        """Take on a session."""
        self.open[opened.id] = opened
        self.sessions.append(opened.session)

    async def settle(self, opened: OpenSession) -> None:
        """Wait for the verdict on what was sent; a session that waits for files that will not come is cancelled.

        One with an unfinished large file is left to expire with its URLs, so that the next run can resume it.
        """
        refused_at_once = 0 if opened.begun else len(opened.session.status.errors)
        expected = len(opened.sent) + refused_at_once
        complete = expected >= opened.session.status.progressCount.total
        if not self._upload.options.wait:
            for record in opened.sent.values():
                self._upload.ledger.succeed(record)
                self._upload.tracker.settle_sent()
            self._give_up(opened, "its session ended before it was sent")
            self._close(opened)
            return
        looks = SessionLooks(self._upload.calls, opened.id)
        while True:
            self._upload.tracker.enter("settling")
            count = opened.session.status.progressCount
            try:
                self._take(opened, await looks.next(count.succeeded + count.errored, expected, until_end=complete))
            except (ViNotFoundError, ViValidationError) as error:
                if error.status_code not in (404, 410):
                    raise
                opened.session.status.conditions = [ResourceCondition("Finished", "FailedReach", reason="gone")]
            status, count = opened.session.status, opened.session.status.progressCount
            if status.finished:
                break
            if not complete and count.succeeded + count.errored >= expected and await self._all_settled(opened):
                if opened.in_parts and self._upload.journal is not None:
                    await self._judge(opened, ended=False)
                    return
                await self._cancel(opened)
                break
        await self._judge(opened)

    async def _all_settled(self, opened: OpenSession) -> bool:
        """Tell whether every file that was sent has its verdict, once the session's counts say that it may be so."""
        if opened.counts_are_ours:
            return True
        stored = await stored_since(self._upload.calls, opened.session.metadata.time_created)
        errors = opened.session.status.errors
        return all(name in errors or stored.get(name) == record.size for name, record in opened.sent.items())

    def _take(self, opened: OpenSession, session: AssetIngestionSession) -> None:
        """Take on a new reading of a session, and count what it says of its files."""
        opened.session = session
        self._replace(opened)
        count = opened.session.status.progressCount
        for _ in range(opened.settled, min(count.succeeded + count.errored, len(opened.sent))):
            opened.settled += 1
            self._upload.tracker.settle_sent(checked=True)

    def _replace(self, opened: OpenSession) -> None:
        """Keep the newest reading of a session in the result, without its URLs."""
        opened.session.status.assets = None
        for index, session in enumerate(self.sessions):
            if session.asset_ingestion_session_id == opened.id:
                self.sessions[index] = opened.session

    async def _judge(self, opened: OpenSession, *, ended: bool = True) -> None:
        """Enter the verdict on every file of a session that has *ended*, or is left to expire.

        A file may be stored although its acknowledgement was lost, so what was sent does not say what is stored: only a
        session that reached its end without failing says it for all of its files.
        """
        status, count = opened.session.status, opened.session.status.progressCount
        errors = status.errors
        end = f"its session ended ({status.reason or 'finished'})" if ended else "the upload was stopped"
        everything = status.finished and not status.failed
        stored: Mapping[str, int] = {}
        if not everything and (count.succeeded or opened.sent):
            stored = await stored_since(self._upload.calls, opened.session.metadata.time_created)
        for name, record in opened.records.items():
            if name in errors or record.outcome is not None:
                continue
            acknowledged = name in opened.sent
            if everything or stored.get(name) == record.size:
                self._upload.ledger.succeed(record)
                if not acknowledged:
                    self._upload.tracker.move(record.advance(record.size))
                    self._upload.tracker.settle()
            elif acknowledged:
                self._upload.ledger.cancel(record, f"{name}: {end} before it was stored.")
        self._give_up(opened, f"{end} before it was sent")
        if ended:
            self._close(opened)
        failed = [(name, code) for name, code in errors.items() if name in opened.sent]
        reasons = status.reasons if failed else {}
        for name, code in failed:
            record = opened.sent[name]
            self._upload.ledger.fail(record, str(code), f"{name}: {reasons[name]}")
        self._upload.tracker.files_failed += len(failed)
        if failed and self._upload.stops_at_first_failure:
            raise FirstFailure

    def _give_up(self, opened: OpenSession, reason: str) -> None:
        for name, record in opened.records.items():
            if name not in opened.sent and record.outcome is None:
                self._upload.ledger.cancel(record, f"{name}: {reason}.")
                self._upload.tracker.settle(unsent=record.size - record.counted)

    def _close(self, opened: OpenSession) -> None:
        self.open.pop(opened.id, None)
        if self._upload.journal is not None:
            self._upload.journal.ended(opened.id)

    async def _cancel(self, opened: OpenSession) -> None:
        try:
            session = await self._upload.calls.cancel_session(opened.id)
        except ViNotFoundError:
            return
        if session is not None:
            opened.session = session
            self._replace(opened)

    async def wind_down(self) -> None:
        """End an upload early: leave each open session to the next run or cancel it; takes less than two seconds.

        What has been stored is looked up in both cases.
        """
        with anyio.CancelScope(shield=True), anyio.move_on_after(CANCEL_SECONDS):
            try:
                async with anyio.create_task_group() as group:
                    for opened in list(self.open.values()):
                        group.start_soon(self._wind_down_one, opened)
                    if self._opening is not None:
                        group.start_soon(self._wind_down_opening, self._opening, set(self.open))
            except BaseExceptionGroup as group_error:
                error = first_error(group_error)
                if not isinstance(error, ViError):
                    raise error from None
        for opened in self.open.values():
            for name, record in opened.records.items():
                if record.outcome is None:
                    self._upload.ledger.cancel(record, f"{name}: cancelled; whether it was stored is unknown.")

    async def _wind_down_opening(self, opening: asyncio.Task[Any], known: set[str]) -> None:
        with contextlib.suppress(ViError):
            await opening  # which is cancelled with this when the time is up
        for opened in [opened for session_id, opened in self.open.items() if session_id not in known]:
            await self._wind_down_one(opened)

    async def _wind_down_one(self, opened: OpenSession) -> None:
        left = self._is_left(opened)
        if left:
            self._take(opened, await self._upload.calls.session(opened.id))
        else:
            await self._cancel(opened)
        try:
            await self._judge(opened, ended=not left)
        except FirstFailure:
            return

    def _is_left(self, opened: OpenSession) -> bool:
        """Whether a session is left to expire with its URLs, because the next run can use what the service has of it.

        The service continues to check what it has received, as after a kill. A refused file ends the whole upload,
        though, and what is not in the journal (data in memory, for one) is of no use to another run.
        """
        if self._upload.journal is None:
            return False
        if self._upload.stops_at_first_failure and (failures := self._upload.ledger.failures):
            return bool(opened.in_parts) and all(failure.code in CUT_SHORT for failure in failures)
        return bool(opened.in_parts or opened.begun) or any(map(Identity.of, opened.sent.values()))
