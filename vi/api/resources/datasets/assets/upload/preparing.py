"""Stage 2 of an upload: prepare each file (`_transfer/preparation.py`), and settle those in the dataset already."""

from __future__ import annotations

from contextlib import aclosing

from anyio.streams.memory import MemoryObjectSendStream

from ......_transfer.preparation import prepare
from ......_transfer.record import FileRecord, Outcome
from ..remote_index import RemoteIndex, same_content
from .context import UploadContext


class Preparing:
    """Hands out files that are fit to be sent and are not there yet."""

    def __init__(self, upload: UploadContext) -> None:
        self._upload = upload
        self._index: RemoteIndex | None = None

    async def load_index(self) -> None:
        """List the dataset, so that what it holds is not sent again."""
        self._index = await RemoteIndex.load(self._upload.calls)

    async def run(self, out: MemoryObjectSendStream[list[FileRecord]]) -> None:
        """Prepare every file of the ledger, in groups."""
        upload = self._upload
        found = prepare(upload.ledger.draw(), upload.lanes, upload.fail, by_content=upload.options.by_content)
        async with out, aclosing(found) as prepared:
            async for records in prepared:
                if self._upload.resumption is not None or self._index is not None:
                    records = [record for record in records if not await self._is_there(record)]
                if records:
                    await out.send(records)

    async def _is_there(self, record: FileRecord) -> bool:
        """Settle a file that the dataset holds already."""
        there = self._upload.resumption is not None and await self._upload.resumption.stored(record)
        if not there and self._index is not None and (asset := self._index.get(record.filename)) is not None:
            there = bool(await same_content(record, asset))
        if there:
            self._upload.ledger.succeed(record, Outcome.EXISTING)
            self._upload.tracker.settle()
        return there
