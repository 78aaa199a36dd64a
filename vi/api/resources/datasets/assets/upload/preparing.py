"""Stage 2 of an upload: prepare each file (`_transfer/preparation.py`), and settle those in the dataset already."""

from __future__ import annotations

from contextlib import aclosing

from anyio.streams.memory import MemoryObjectSendStream

from ......_transfer.journals.digests import KnownDigests, known_digests
from ......_transfer.preparation import prepare
from ......_transfer.record import FileRecord, Outcome
from ......_transfer.sources.kept import Keeping
from ......_transfer.sources.local import Reach
from ......codes import FileCode
from ..metadata.values import differing
from ..remote_index import RemoteIndex, reach_to_compare, same_content
from .context import UploadContext


class Preparing:
    """Hands out files that are fit to be sent and are not there yet."""

    def __init__(self, upload: UploadContext) -> None:
        self._upload = upload
        self.index: RemoteIndex | None = None

    async def run(self, out: MemoryObjectSendStream[list[FileRecord]]) -> None:
        """Prepare every file of the ledger, in groups; each is read once."""
        if not self._remembers:
            await self._prepare(out, None)
            return
        async with known_digests(trust=False) as known:
            await self._prepare(out, known)

    async def _prepare(self, out: MemoryObjectSendStream[list[FileRecord]], known: KnownDigests | None) -> None:
        upload = self._upload
        found = prepare(
            upload.ledger.draw(),
            upload.lanes,
            upload.fail,
            by_content=upload.options.by_content,
            reach=self._reach,
            known=known,
            keeping=Keeping(),
        )
        async with out, aclosing(found) as prepared:
            async for records in prepared:
                new = records
                if self._upload.resumption is not None or self.index is not None:
                    new = [record for record in records if not await self._is_there(record)]
                if new or not records:
                    await out.send(new)

    @property
    def _remembers(self) -> bool:
        return self._upload.options.remembers

    def _reach(self, record: FileRecord) -> Reach:
        compared = self.index is not None and reach_to_compare(record, self.index.get(record.filename)) == "digests"
        return "digests" if compared or self._remembers else "crc32c"

    async def _is_there(self, record: FileRecord) -> bool:
        """Settle a file that the dataset holds already."""
        resumption, metadata_of = self._upload.resumption, self._upload.options.metadata_of
        asset = None if resumption is None else await resumption.stored(record)
        if asset is None and self.index is not None and (named := self.index.get(record.filename)) is not None:
            same = await same_content(record, named)
            asset = named if same else None
            if same is False and self._upload.options.replaced.get(record.filename, named.etag) != named.etag:
                message = f"{record.filename}: the asset has changed since the plan was made."
                self._upload.fail(record, FileCode.ECHANGED, message)
                return True
        if asset is None:
            return False
        if metadata_of is not None and (update := differing(metadata_of(record), asset.custom_metadata)):
            self._upload.metadata[record.filename] = update
        self._upload.ledger.succeed(record, Outcome.EXISTING)
        self._upload.tracker.settle(unsent=record.size)
        return True
