"""The API side of a multipart upload (protocol section 10)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ...... import _routes, _wire
from ......_transfer import dictated
from ......_transfer.journals.uploads import BegunMultipart, Identity, Journal
from ......_transfer.outcomes import TransferFailed
from ......_transfer.record import FileRecord
from ......_transfer.signed import known_origins, signed_transfer
from ......_transfer.upload import PartTransfer
from ......codes import FileCode
from ......errors import ViConflictError, ViNotFoundError, ViOperationError, ViValidationError
from ..calls import AssetCalls
from ..responses import AssetIngestionSession


class MultipartNotOfferedError(Exception):
    """The service has no multipart uploads; the file goes up in one PUT."""


class Multipart:
    """One large file of an ingestion, in parts."""

    def __init__(
        self,
        calls: AssetCalls,
        session: AssetIngestionSession,
        record: FileRecord,
        journal: Journal | None,
        begun: BegunMultipart | None = None,
    ) -> None:
        self._calls = calls
        self._session = session
        self._record = record
        self._journal = journal
        self._begun = begun
        self._upload_id = begun.upload_id if begun is not None else ""

    async def begin(self) -> int:
        """Open the upload, or resume the one that was begun; the service chooses the number of parts."""
        if self._begun is not None:
            return self._begun.part_count
        body = {
            "spec": {
                "ingestionId": self._session.ingestion_id,
                "filename": self._record.filename,
                "contentType": self._record.mime,
                "sizeBytes": self._record.size,
            }
        }
        try:
            document = await self._post(_routes.MULTIPART_UPLOADS, body)
        except (ViNotFoundError, ViValidationError) as error:
            if error.status_code in (404, 405, 501) and error.error_code != "ResourceNotFound":
                raise MultipartNotOfferedError from None
            raise
        try:
            self._upload_id = document["multipartUploadId"]
            announced = document["status"]["partCount"]
        except (KeyError, TypeError):
            raise _unreadable("multipart upload", "multipartUploadId and status.partCount are required") from None
        try:
            count = dictated.part_count(announced, self._record.size)
        except dictated.DictatedError as problem:
            raise _refused(problem) from None
        if not _routes.is_upload_id(self._upload_id):
            raise _unreadable("multipart upload", "multipartUploadId must be 1 to 1024 printable characters")
        if self._journal is not None and (identity := Identity.of(self._record)) is not None:
            session_id = self._session.asset_ingestion_session_id
            self._journal.begun(BegunMultipart(self._upload_id, self._record.filename, session_id, identity, count))
        return count

    async def part(self, number: int) -> PartTransfer:
        """Ask for a fresh URL of a part."""
        document = await self._post(_routes.PART, {}, part=str(number))
        try:
            wanted, wants_body = document["responseHeaders"], document["responseBody"]
            transfer = signed_transfer(
                document["url"],
                document.get("headers"),
                dictated.method(document.get("method") or "PUT", dictated.UPLOAD_METHODS),
                _wire.to_seconds(document.get("expiry") or 0),
                endpoint=self._calls.endpoint,
            )
            return PartTransfer(
                transfer,
                dictated.reported_headers(wanted),
                dictated.reported_body(
                    wants_body, transfer.origin, known_origins(self._calls.endpoint, self._record.upload)
                ),
            )
        except dictated.DictatedError as problem:
            raise _refused(problem) from None
        except (KeyError, TypeError, AttributeError):
            raise _unreadable("part", "url, responseHeaders and responseBody are required") from None

    async def part_done(self, number: int, crc32c: int, headers: Mapping[str, str], body: bytes) -> None:
        """Report the storage's answer for a part."""
        report: dict[str, Any] = {"responseHeaders": dict(headers)}
        if body:
            report["responseBody"] = base64.b64encode(body).decode()
        await self._post(_routes.PART_COMPLETION, report, part=str(number))
        if self._journal is not None:
            self._journal.part(self._upload_id, number, crc32c)

    async def complete(self) -> None:
        """Join the parts; a repetition after a lost answer finds them joined."""
        await self._post(_routes.MULTIPART_COMPLETION, None)

    async def abort(self) -> None:
        """Drop the parts; nothing is wrong when they are gone already."""
        if not self._upload_id:
            return
        if self._journal is not None:
            self._journal.dropped(self._upload_id)
        try:
            await self._calls.http.document("DELETE", self._path(_routes.MULTIPART_UPLOAD))
        except (ViNotFoundError, ViConflictError):
            return

    async def _post(self, template: str, body: Any, **values: str) -> Any:
        return await self._calls.http.document("POST", self._path(template, **values), body=body, idempotent=True)

    def _path(self, template: str, **values: str) -> str:
        return self._calls.path(template, upload=self._upload_id, **values)


def _refused(problem: dictated.DictatedError) -> TransferFailed:
    return TransferFailed(FileCode.EBADURL, f"The service demands {problem}, which is refused.")


def _unreadable(what: str, problem: str) -> ViOperationError:
    return ViOperationError(f"The answer for a {what} cannot be read: {problem}.")
