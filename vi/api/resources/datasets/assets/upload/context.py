"""What the stages of one upload share: the request, the ledger, the journal, and its sessions while they are open."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
from collections.abc import Mapping
from urllib.parse import quote

import attrs

from ......_pacing import Slots
from ......_transfer.journals.uploads import BegunMultipart, Journal
from ......_transfer.progress import ProgressTracker
from ......_transfer.record import FileRecord, Ledger
from ......_transfer.storage import Storage
from ......_transfer.threads.lanes import Lanes
from ......config import TransferLimits
from ..calls import AssetCalls
from ..metadata.given import Reader
from ..responses import AssetIngestionSession, FailureMode, ResourceRetentionMode
from ..types import AssetCustomMetadata
from .resumption import Resumption

LONGEST_LABEL = 200


@attrs.frozen
class UploadOptions:
    """What the caller asked for."""

    wait: bool
    failure_mode: FailureMode
    retention: ResourceRetentionMode
    metadata_of: Reader | None
    limits: TransferLimits
    skip_existing: bool = False
    by_content: bool = False
    remembers: bool = False
    """Whether the digests of what is read are remembered, to be compared by a later run."""
    folder: str = ""
    """Where the files come from, if that is one folder or file."""
    replaced: Mapping[str, str] = attrs.Factory(dict)
    """The ETags of the assets that files of these names may replace, empty where none was; others replace any."""


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
    """Multipart uploads of an earlier run that are resumed."""
    attempted: int = 0
    """Files of which bytes may have reached the storage."""
    in_parts: set[str] = attrs.Factory(set)
    """Large files that are being sent in parts, or were cut short: the next run resumes them."""
    settled: int = 0

    @property
    def id(self) -> str:
        return self.session.asset_ingestion_session_id

    @property
    def counts_are_ours(self) -> bool:
        """Whether the session's counts can only be about the files known as sent."""
        return not self.begun and self.attempted == len(self.sent)


@attrs.define(eq=False)
class UploadContext:
    """One upload, as its stages know it."""

    calls: AssetCalls
    storage: Storage
    lanes: Lanes
    slots: Slots
    options: UploadOptions
    tracker: ProgressTracker
    ledger: Ledger = attrs.Factory(Ledger)
    journal: Journal | None = None
    resumption: Resumption | None = None
    """What earlier runs have left, if anything."""
    metadata: dict[str, AssetCustomMetadata] = attrs.Factory(dict)
    """By name, new metadata of files that the dataset has already."""
    metadata_updated: int = 0
    acknowledged: int = 0
    """Files whose bytes the storage has accepted."""
    _id: str = attrs.Factory(lambda: secrets.token_hex(8))

    @property
    def label(self) -> str:
        """The id of this upload, and the machine and folder that it comes from, for a header."""
        folder = self.options.folder
        if folder:
            with contextlib.suppress(OSError):  # the current folder may be gone
                folder = os.path.abspath(folder)  # noqa: PTH100 - links stay
        origin = f"{platform.node()} {folder}".strip()[:LONGEST_LABEL]
        return f"{self._id} {quote(origin, errors='replace')}"

    @property
    def stops_at_first_failure(self) -> bool:
        """Whether one failure ends the upload."""
        return self.options.failure_mode is FailureMode.FAIL_AFTER_ONE

    def fail(self, record: FileRecord, code: str, message: str) -> None:
        """Settle a file as failed, which may end the upload."""
        self.ledger.fail(record, code, message)
        self.tracker.settle(failed=True, unsent=record.size - record.counted)
        if self.stops_at_first_failure:
            raise FirstFailure
