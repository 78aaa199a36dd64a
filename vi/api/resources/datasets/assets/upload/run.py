"""An upload from local files to settled assets: discover, prepare, open sessions, send, settle.

The files were discovered (`_transfer/discovery.py`) before the run. Its other stages are `preparing`, `opening`,
`sending` and `settling`; they run at once, joined by bounded streams. A file is one `FileRecord`; whatever happens to
it is entered in the ledger once. When the run ends early, what had been acknowledged is looked up before it is
reported; open sessions are cancelled after a first failure, and left to the next run after a timeout or a cancellation.
"""

from __future__ import annotations

import logging

import anyio

from ......_transfer.inventory import Inventory
from ......_transfer.journals.uploads import Journal, JournalKey, Unfinished
from ......_transfer.record import FileRecord, Outcome
from ......_transfer.sources.local import BytesSource
from ......_transfer.threads.pool import first_error
from ......_transfer.threads.stopping import to_end_in_thread
from ......codes import CUT_SHORT
from ......errors import ViError, ViUploadError
from ..metadata_changes import update_known
from ..remote_index import RemoteIndex
from ..results import AssetUploadResult
from .context import FirstFailure, UploadContext
from .opening import Opening, ToSend
from .preparing import Preparing
from .resumption import Resumption
from .sending import Sending
from .settling import Settlement

logger: logging.Logger = logging.getLogger("vi.transfer")


class Upload:
    """One upload."""

    def __init__(self, upload: UploadContext) -> None:
        self._upload = upload
        self._settlement = Settlement(upload)
        self._preparing = Preparing(upload)
        self._opening = Opening(upload, self._settlement)
        self._sending = Sending(upload, self._settlement)
        self._left: Unfinished | None = None

    async def run(self, inventory: Inventory, index: RemoteIndex | None = None) -> AssetUploadResult:
        """Upload the files of *inventory* that are not the same in *index*.

        Raises `ViUploadError` under FailAfterOne, each with the result so far.
        """
        failure: ViError | None = None
        ended = False
        try:
            self._take_on(inventory)
            self._preparing.index = index
            await self._resume()
            await self._run_stages()
            self._upload.metadata_updated = await update_known(self._upload.calls, self._upload.metadata)
            ended = True
        except FirstFailure:
            pass
        except ViError as error:
            failure = error
        finally:
            if not ended:
                await self._settlement.wind_down()
                self._upload.ledger.cancel_rest()
            if self._upload.journal is not None:
                self._upload.journal.close(finished=ended and not self._is_cut_short, left=self._left)
            self._upload.tracker.finish()
        result = self.result()
        if failure is not None:
            raise _with_result(failure, result)
        incomplete = bool(result.failures or result.total_cancelled)
        if incomplete and self._upload.stops_at_first_failure:
            raise _first_failure(result)
        return result

    @property
    def _is_cut_short(self) -> bool:
        """Whether another run may store files that this one did not; one that was refused is refused again."""
        ledger = self._upload.ledger
        return bool(ledger.counts[Outcome.CANCELLED]) or any(file.code in CUT_SHORT for file in ledger.failures)

    def result(self) -> AssetUploadResult:
        """Return the result of a run that has finished or was stopped; the sums are checked."""
        result = AssetUploadResult.of(self._upload.ledger, self._settlement.sessions, self._upload.tracker.seconds)
        result.metadata_updated = self._upload.metadata_updated
        result.metadata_differs = len(self._upload.metadata) - self._upload.metadata_updated
        return result

    def _take_on(self, inventory: Inventory) -> None:
        self._upload.tracker.files_total = inventory.count + len(inventory.broken)
        self._upload.tracker.bytes_total = inventory.bytes
        self._upload.ledger.skip(inventory.skip_reasons, inventory.skips)
        self._upload.ledger.enter(inventory.count + len(inventory.broken), inventory)
        for broken in inventory.broken:
            record = FileRecord(BytesSource(broken.path, b""), broken.filename, 0)
            self._upload.ledger.fail(record, broken.code, broken.message)
            self._upload.tracker.settle(failed=True)
        if inventory.broken and self._upload.stops_at_first_failure:
            raise FirstFailure

    async def _resume(self) -> None:
        """Open a journal, and learn what earlier runs of this upload have left."""
        calls = self._upload.calls
        key = JournalKey.of(calls.http.settings, calls.dataset_id)
        try:
            self._upload.journal = await to_end_in_thread(Journal.open, key)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            logger.warning("No journal can be kept (%s): an interrupted upload will start over", reason)
        if self._upload.journal is not None and self._upload.journal.found:
            logger.info("Resuming an unfinished upload: %d files were sent", len(self._upload.journal.found.sent))
            with_metadata = self._upload.options.metadata_of is not None
            self._upload.resumption = Resumption(calls, self._upload.journal.found, metadata=with_metadata)
            await self._upload.resumption.ask()
            self._upload.resumption.carry_over(self._upload.journal)
            if self._preparing.index is not None:  # what was on its way may be there by now
                self._preparing.index = await RemoteIndex.load(calls, metadata=with_metadata)

    async def _run_stages(self) -> None:
        prepared_in, prepared_out = anyio.create_memory_object_stream[list[FileRecord]](16)
        ready_in, ready_out = anyio.create_memory_object_stream[ToSend](1)
        try:
            async with anyio.create_task_group() as stages:
                stages.start_soon(self._preparing.run, prepared_in)
                stages.start_soon(self._opening.run, prepared_out, ready_in)
                stages.start_soon(self._sending.run, ready_out)
            await self._sending.again(self._opening)
            if self._upload.resumption is not None:
                self._left = await self._upload.resumption.close()
        except BaseExceptionGroup as group:
            raise first_error(group) from None


def _with_result(error: ViError, result: AssetUploadResult) -> ViError:
    if getattr(error, "result", None) is None:
        error.result = result
    return error


def _first_failure(result: AssetUploadResult) -> ViUploadError:
    first = [*result.failures, *result.cancelled][0]
    return ViUploadError(
        f"{first.message} {result.total_succeeded} of {result.total_files} files were stored.",
        error_code=first.code,
        path=first.path,
        result=result,
        suggestion="Make the same call again to resume; failure_mode='FailAfterAll' tries every file.",
    )
