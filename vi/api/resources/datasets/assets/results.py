"""What became of many files: the sums, and by name whatever did not go as asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from ....._show.sheet import Sheet, Table
from ....._show.units import counted, noted, rate, several, skipped
from ....._transfer.record import FileFailure, Ledger, Outcome, SkippedFile
from ....._transfer.sources.local import shown
from .....errors import ViOperationError
from ....display import Report
from ....document import Document
from .plans import TransferPlan
from .responses import AssetIngestionSession
from .run_plans import RunPlan

__all__ = [
    "AssetDownloadResult",
    "AssetUploadResult",
    "BulkDeletionResult",
    "FileFailure",
    "SetMetadataResult",
    "SkippedFile",
]


def failure_table(failures: Sequence[FileFailure], where: str = ".failures") -> Table | None:
    """Return what failed, by name; None if nothing did."""
    if not failures:
        return None
    return Table.of(("File", "Code", "Why"), failures, lambda one: (one.path, one.code, one.message), where=where)


DIFFERS = "with other content is there"
"""How the reason ends why a file was kept that ``overwrite=True`` replaces; anything else is in the way of a file."""


def metadata_notes(updated: int, differs: int) -> list[str]:
    """Return what is said of the metadata of files that were there already."""
    notes = []
    if updated:
        notes.append(f"{updated:,} with new metadata")
    if differs:
        notes.append(f"{differs:,} unchanged with other metadata: upload without skip_existing to replace it")
    return notes


@attrs.define
class AssetUploadResult(Report):
    """The outcome of an upload.

    *total_files* counts the files taken on: succeeded, already there, failed or cancelled. Files that a folder held but
    that were left out are *skipped*, with the reason, and not part of it. *sessions* are as last seen.
    """

    total_succeeded: int = 0
    total_existing: int = 0
    total_failed: int = 0
    total_cancelled: int = 0
    total_skipped: int = 0
    bytes_sent: int = 0
    seconds: float = 0.0
    sessions: list[AssetIngestionSession] = attrs.field(factory=list, repr=False)
    failures: list[FileFailure] = attrs.Factory(list)
    cancelled: list[FileFailure] = attrs.field(factory=list, repr=False)
    skipped: list[SkippedFile] = attrs.field(factory=list, repr=False)
    """The first ten thousand files left out; *skip_reasons* counts all of them."""
    skip_reasons: dict[str, int] = attrs.Factory(dict)
    notes: list[str] = attrs.Factory(list)
    """What is to be told beside the counts: patterns that matched nothing."""
    plan: TransferPlan | None = None
    """What would be sent, when it was only to be planned."""
    run: RunPlan | None = None
    """The run that was written, when *plan* was given."""
    metadata_updated: int = 0
    """How many of the files that were there have new metadata now."""
    metadata_differs: int = 0
    """How many of them kept other metadata than was given, because the service cannot change it alone."""

    @classmethod
    def of(cls, ledger: Ledger, sessions: list[AssetIngestionSession], seconds: float) -> AssetUploadResult:
        """Make the result of a finished ledger; the sums are checked."""
        ledger.check()
        counts = ledger.counts
        return cls(
            total_succeeded=counts[Outcome.SUCCEEDED],
            total_existing=counts[Outcome.EXISTING],
            total_failed=counts[Outcome.FAILED],
            total_cancelled=counts[Outcome.CANCELLED],
            total_skipped=counts[Outcome.SKIPPED],
            bytes_sent=ledger.bytes,
            seconds=seconds,
            sessions=sessions,
            failures=ledger.failures,
            cancelled=ledger.cancelled,
            skipped=ledger.skipped,
            skip_reasons=dict(ledger.skip_reasons),
        )

    @property
    def total_files(self) -> int:
        """Files taken on."""
        return self.total_succeeded + self.total_existing + self.total_failed + self.total_cancelled

    @property
    def success_rate(self) -> float:
        """Percentage of *total_files* that are in the dataset now; 100 when there was nothing to do."""
        if not self.total_files:
            return 100.0
        return 100.0 * (self.total_succeeded + self.total_existing) / self.total_files

    @property
    def session_ids(self) -> list[str]:
        """The ids of the upload sessions, in the order they were opened."""
        return [session.asset_ingestion_session_id for session in self.sessions]

    @property
    def failed_files(self) -> list[str]:
        """The paths of the failed files, as they were given; *failures* says why."""
        return [failure.path for failure in self.failures]

    def _reached(self) -> str:
        """Return how far an upload came that was stopped, in words."""
        return f"{self.total_succeeded + self.total_existing:,} of {several(self.total_files, 'file')} stored"

    def _sheet(self) -> Sheet:
        if self.run is not None:
            return self.run._sheet()
        if self.plan is not None:
            return self.plan._dry_run()
        counts = [
            (self.total_succeeded, "uploaded"),
            (self.total_existing, "unchanged"),
            (self.total_failed, "failed"),
            (self.total_cancelled, "cancelled"),
            (self.total_skipped, "skipped"),
        ]
        return Sheet(
            (counted(counts[:-1]) or "Nothing to upload") + rate(self.total_succeeded, self.bytes_sent, self.seconds),
            counts,
            details=failure_table(self.failures),
            notes=[
                *metadata_notes(self.metadata_updated, self.metadata_differs),
                *skipped(self.skip_reasons),
                *noted(self.notes),
            ],
        )

    _in_json = (
        *("total_files", "total_succeeded", "total_existing", "metadata_updated", "metadata_differs", "total_failed"),
        *("total_cancelled", "total_skipped", "success_rate", "bytes_sent", "seconds", "session_ids", "failures"),
        *("cancelled", "skipped", "skip_reasons", "notes"),
    )


@attrs.define
class AssetDownloadResult(Report):
    """The outcome of a download; printed, it is the folder. It can be used wherever a path is wanted.

    *conflicts* are local files with other content that were kept because *overwrite* was false, and links and folders
    that are in the place of a file. *renamed* maps an asset
    id to the local name of an asset that could not be saved under its own.
    """

    save_dir: Path
    total_downloaded: int = 0
    total_existing: int = 0
    total_failed: int = 0
    total_cancelled: int = 0
    bytes_received: int = 0
    seconds: float = 0.0
    failures: list[FileFailure] = attrs.Factory(list)
    conflicts: list[FileFailure] = attrs.Factory(list)
    renamed: dict[str, str] = attrs.field(factory=dict, repr=False)
    notes: list[str] = attrs.Factory(list)
    """What is to be told beside the counts: patterns that matched nothing."""
    plan: TransferPlan | None = None
    """What would be fetched, when it was only to be planned."""
    run: RunPlan | None = None
    """The run that was written, when *plan* was given."""
    address: str = attrs.field(default="", repr=False)
    """Where the files are if not on this machine, without query and password; *save_dir* is a ``UPath``."""

    @property
    def total_conflicts(self) -> int:
        """Assets in whose place a local file with other content, a link or a folder was kept."""
        return len(self.conflicts)

    @property
    def _conflicts_by_kind(self) -> tuple[list[FileFailure], list[FileFailure]]:
        """The conflicts with files of other content, and those with what is in the way: a link, a folder."""
        kinds: tuple[list[FileFailure], list[FileFailure]] = ([], [])
        for one in self.conflicts:
            kinds[not one.message.endswith(f"{DIFFERS}.")].append(one)
        return kinds

    @property
    def total_files(self) -> int:
        """Assets that were selected."""
        return (
            self.total_downloaded
            + self.total_existing
            + self.total_conflicts
            + self.total_failed
            + self.total_cancelled
        )

    @property
    def failed_files(self) -> list[str]:
        """The names of the assets that did not arrive; *failures* says why."""
        return [failure.filename for failure in self.failures]

    def _reached(self) -> str:
        """Return how far a download came that was stopped; assets that were not listed yet are not counted."""
        return f"{several(self.total_downloaded + self.total_existing, 'file')} saved"

    def _sheet(self) -> Sheet:
        if self.run is not None:
            return self.run._sheet()
        if self.plan is not None:
            return self.plan._dry_run()
        counts = [
            (self.total_downloaded, "downloaded"),
            (self.total_existing, "unchanged"),
            (self.total_conflicts, "kept"),
            (self.total_failed, "failed"),
            (self.total_cancelled, "cancelled"),
        ]
        different, blocked = self._conflicts_by_kind
        notes = [
            f"{count:,} {word}"
            for count, word in (
                (len(different), "kept with other content; overwrite=True replaces it"),
                (len(blocked), "not saved: a link, a folder or another file is in the way"),
                (len(self.renamed), "saved under another name: .renamed"),
            )
            if count
        ]
        return Sheet(
            f"{self}: {counted(counts) or 'nothing to download'}"
            f"{rate(self.total_downloaded, self.bytes_received, self.seconds)}",
            counts,
            details=failure_table([*self.failures, *self.conflicts], ".failures and .conflicts"),
            notes=[*notes, *noted(self.notes)],
        )

    _in_json = (
        *("save_dir", "total_files", "total_downloaded", "total_existing", "total_conflicts", "total_failed"),
        *("total_cancelled", "bytes_received", "seconds", "failures", "conflicts", "renamed", "notes"),
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready data."""
        return {**super().to_dict(), "save_dir": self.address or str(self.save_dir)}

    def __str__(self) -> str:
        return shown(self.address or str(self.save_dir))

    def __fspath__(self) -> str:
        if self.address:
            # Not a TypeError, whose text pathlib replaces from Python 3.12 on.
            raise ViOperationError(f"{self} is not a local path.")
        return str(self.save_dir)


@attrs.define
class SetMetadataResult(Report):
    """The outcome of `set_metadata`; with *dry_run* nothing was changed."""

    total_changed: int = 0
    total_unchanged: int = 0
    unmatched: list[str] = attrs.field(factory=list, repr=False)
    """Names of the table that no asset has."""
    dry_run: bool = False

    @property
    def total_unmatched(self) -> int:
        """How many names of the table no asset has."""
        return len(self.unmatched)

    def _sheet(self) -> Sheet:
        counts = [
            (self.total_changed, "to change" if self.dry_run else "changed"),
            (self.total_unchanged, "unchanged"),
            (self.total_unmatched, "unmatched"),
        ]
        return Sheet(
            f"{'Dry run: ' if self.dry_run else ''}{counted(counts) or 'Nothing to change'}",
            counts,
            details=Table.of(("Unmatched",), self.unmatched, lambda name: (name,), where=".unmatched")
            if self.unmatched
            else None,
        )

    _in_json = ("total_changed", "total_unchanged", "total_unmatched", "unmatched", "dry_run")


@attrs.define
class BulkDeletionResult(Document):
    """The outcome of `delete_many`. *count* is how many assets were selected; with *dry_run* none was deleted."""

    count: int
    deleted: int
    missing: list[str] = attrs.Factory(list)
    """Ids that were given and did not exist."""
    dry_run: bool = False
