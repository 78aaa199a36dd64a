"""The API side of a multipart upload (protocol section 10)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ...... import _routes, _wire
from ......_http import Http
from ......_transfer.journals.uploads import BegunMultipart, Identity, Journal
from ......_transfer.record import FileRecord
from ......_transfer.storage import signed_transfer
from ......_transfer.upload import PartTransfer
from ......errors import ViConflictError, ViNotFoundError, ViOperationError, ViValidationError
from ..responses import AssetIngestionSession


class MultipartNotOfferedError(Exception):
    """The service has no multipart uploads; the file goes up in one PUT."""


class Multipart:
    """One large file of an ingestion, in parts."""

    def __init__(
        self,
        http: Http,
        base: dict[str, str],
        session: AssetIngestionSession,
        record: FileRecord,
        journal: Journal | None,
        begun: BegunMultipart | None = None,
    ) -> None:
        self._http = http
        self._values: dict[str, str] = {**base}
        self._session = session
        self._record = record
        self._journal = journal
        self._begun = begun
        if begun is not None:
            self._values["upload"] = begun.upload_id

    async def begin(self) -> int:
        """Open the upload, or go on with the one that was begun; the service chooses the number of parts."""
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
            self._values["upload"] = document["multipartUploadId"]
            count = document["status"]["partCount"]
        except (KeyError, TypeError):
            raise _unreadable("multipart upload", "multipartUploadId and status.partCount are required") from None
        if type(count) is not int:
            raise _unreadable("multipart upload", "status.partCount must be an integer")
        if self._journal is not None and (identity := Identity.of(self._record)) is not None:
            session_id = self._session.asset_ingestion_session_id
            self._journal.begun(
                BegunMultipart(self._values["upload"], self._record.filename, session_id, identity, count)
            )
        return count

    async def part(self, number: int) -> PartTransfer:
        """Ask for a fresh URL of a part."""
        document = await self._post(_routes.PART, {}, part=str(number))
        try:
            wanted, wants_body = document["responseHeaders"], document["responseBody"]
            transfer = signed_transfer(
                document["url"],
                document.get("headers"),
                document.get("method") or "PUT",
                _wire.to_seconds(document.get("expiry") or 0),
                endpoint=self._http.settings.endpoint,
            )
        except (KeyError, TypeError, AttributeError):
            raise _unreadable("part", "url, responseHeaders and responseBody are required") from None
        return PartTransfer(transfer, [str(name) for name in wanted or []], bool(wants_body))

    async def part_done(self, number: int, crc32c: int, headers: Mapping[str, str], body: bytes) -> None:
        """Report the storage's answer for a part."""
        report: dict[str, Any] = {"responseHeaders": dict(headers)}
        if body:
            report["responseBody"] = base64.b64encode(body).decode()
        await self._post(_routes.PART_COMPLETION, report, part=str(number))
        if self._journal is not None:
            self._journal.part(self._values["upload"], number, crc32c)

    async def complete(self) -> None:
        """Join the parts; a repetition after a lost answer finds them joined."""
        await self._post(_routes.MULTIPART_COMPLETION, None)

    async def abort(self) -> None:
        """Drop the parts; nothing is wrong when they are gone already."""
        if "upload" not in self._values:
            return
        if self._journal is not None:
            self._journal.dropped(self._values["upload"])
        try:
            await self._http.document("DELETE", _routes.fill(_routes.MULTIPART_UPLOAD, **self._values))
        except (ViNotFoundError, ViConflictError):
            return

    async def _post(self, template: str, body: Any, **values: str) -> Any:
        path = _routes.fill(template, **self._values, **values)
        return await self._http.document("POST", path, body=body, idempotent=True)


def _unreadable(what: str, problem: str) -> ViOperationError:
    return ViOperationError(f"The answer for a {what} cannot be read: {problem}.")
