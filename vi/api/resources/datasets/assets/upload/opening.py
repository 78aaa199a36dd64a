"""Stage 3 of an upload: open sessions, which give each file its signed URL.

Sessions begin small, so that sending starts early, and grow. A large file that an earlier run began in parts is
resumed in its session.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ...... import _wire
from ......_checksums import to_signed
from ......_transfer.outcomes import TransferFailed
from ......_transfer.record import FileRecord
from ......_transfer.signed import signed_transfer
from ......codes import FileCode
from ......errors import ViUploadError
from ..calls import take_signed_urls
from ..responses import AssetIngestionSession
from .context import OpenSession, UploadContext
from .settling import Settlement

FIRST_SESSION_FILES = 64
SESSION_GROWTH = 4
FILES_TO_TELL = 8
FIRST_SESSION_BYTES = 256 << 20

ToSend = tuple[OpenSession, list[FileRecord], bool]
"""Files of a session to send, and whether they are the last that it gets."""


class Opening:
    """Opens the sessions of one upload."""

    def __init__(self, upload: UploadContext, settlement: Settlement) -> None:
        self._upload = upload
        self._settlement = settlement
        self._url_life = 0.0

    async def run(
        self, prepared: MemoryObjectReceiveStream[list[FileRecord]], ready: MemoryObjectSendStream[ToSend]
    ) -> None:
        """Open sessions for what is prepared, and hand each on as soon as it is open."""
        batch: list[FileRecord] = []
        size = 0
        target = min(FIRST_SESSION_FILES, self._upload.options.limits.session_files)
        async with prepared, ready:
            async for records in prepared:
                for record in records:
                    if (adopted := self._adopt(record)) is not None:
                        await ready.send((adopted, [record], False))
                        continue
                    if batch and (
                        len(batch) >= self._session_files(target) or size + record.size > self._session_bytes()
                    ):
                        await ready.send(await self._fill(batch))
                        batch, size = [], 0
                        target = min(target * SESSION_GROWTH, self._upload.options.limits.session_files)
                    batch.append(record)
                    size += record.size
                if batch and not records:  # what is prepared must be sent before there is room for more
                    await ready.send(await self._fill(batch))
                    batch, size = [], 0
            if batch:
                await ready.send(await self._fill(batch))
            for opened in [session for session in self._settlement.open.values() if session.begun]:
                await ready.send((opened, [], True))

    def _adopt(self, record: FileRecord) -> OpenSession | None:
        """Take up the session in which an earlier run began this large file in parts."""
        begun = self._upload.resumption.begun(record) if self._upload.resumption is not None else None
        if begun is None or self._upload.resumption is None:
            return None
        opened = self._settlement.open.get(begun.session_id)
        if opened is None:
            session = self._upload.resumption.sessions[begun.session_id]
            opened = OpenSession(session, {}, 1)
            self._settlement.add(opened)
        opened.records[record.filename] = record
        opened.begun[record.filename] = begun
        opened.pending += 1
        record.sessions += 1
        return opened

    def _session_files(self, target: int) -> int:
        """Bound a session of *target* files likewise, once enough have been sent to tell."""
        if not self._url_life or self._upload.acknowledged < FILES_TO_TELL:
            return target
        rate = self._upload.acknowledged / max(self._upload.tracker.seconds, 0.1)
        return max(1, min(target, int(rate * self._url_life / 3)))

    def _session_bytes(self) -> float:
        """Bound a session to what the measured rate can send in a third of its URLs' life."""
        if not self._url_life or self._upload.tracker.bytes_done < FIRST_SESSION_BYTES // 4:
            return FIRST_SESSION_BYTES
        rate = self._upload.tracker.bytes_done / max(self._upload.tracker.seconds, 0.1)
        return max(FIRST_SESSION_BYTES / 4, rate * self._url_life / 3)

    async def again(self, records: list[FileRecord]) -> AsyncIterator[ToSend]:
        """Open new sessions for files whose URLs expired, each when the one before has been handed over."""
        while records:
            count = self._session_files(self._upload.options.limits.session_files)
            batch, records = records[:count], records[count:]
            for record in batch:
                record.upload = None
            yield await self._fill(batch)

    async def _fill(self, records: list[FileRecord]) -> ToSend:
        opened = await self._open_session(records)
        return opened, list(opened.records.values()), True

    async def _open_session(self, records: list[FileRecord]) -> OpenSession:
        metadata_of = self._upload.options.metadata_of
        for record in records:
            record.custom_metadata = None if metadata_of is None else metadata_of(record)
            record.sessions += 1
        spec = {
            "kind": "Upload",
            "failureMode": str(self._upload.options.failure_mode),
            "onAssetOverwritten": str(self._upload.options.retention),
            "assets": [_announce(record) for record in records],
        }
        opened, assets = await self._settlement.opening(self._ask_for(spec, records))
        self._hand_out(opened, assets)
        return opened

    async def _ask_for(self, spec: dict[str, Any], records: list[FileRecord]) -> tuple[OpenSession, list[Any]]:
        document = await self._upload.calls.open_session(spec, self._upload.label)
        assets = take_signed_urls(document)
        try:
            session = _wire.structure(document, AssetIngestionSession)
        except _wire.WireError as error:
            raise ViUploadError(f"The answer to the new session cannot be read: {error}.") from None
        opened = OpenSession(session, {record.filename: record for record in records}, len(records) + 1)
        self._settlement.add(opened)
        if self._upload.journal is not None:
            self._upload.journal.opened(opened.id)
        return opened, assets

    def _hand_out(self, opened: OpenSession, assets: list[Any]) -> None:
        """Give each record its URL; a name that was never offered is ignored, a name given twice counts once."""
        endpoint = self._upload.calls.endpoint
        refused, reasons = opened.session.status.errors, opened.session.status.reasons
        for asset in assets:
            record: FileRecord | None = None
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
                code = str(refused.get(record.filename, FileCode.EUNKNOWN))
                reason = reasons.get(record.filename, "the service gave no upload URL for it.")
                self._drop(opened, record, code, f"{record.filename}: {reason}")

    def _drop(self, opened: OpenSession, record: FileRecord, code: str, message: str) -> None:
        opened.pending -= 1
        del opened.records[record.filename]
        self._upload.fail(record, code, message)


def _announce(record: FileRecord) -> dict[str, Any]:
    return {
        "filename": record.filename,
        "kind": record.kind,
        "mime": record.mime,
        "size": record.size,
        "crc32c": to_signed(record.crc32c) if record.crc32c is not None else None,
        "customMetadata": record.custom_metadata,
    }
