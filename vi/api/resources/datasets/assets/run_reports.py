"""What became of a run: a report for each shard that has ended, and all of them together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Any

import attrs

from ....._redact import brief
from ....._show.sheet import Sheet, Table
from ....._show.units import several
from ....._transfer.document_folders import DocumentFolder
from ....._transfer.record import FileFailure, SkippedFile
from ....._transfer.remote_folders import is_remote
from .....errors import ViInvalidParameterError
from ....display import Report
from .plans import PlannedTransfer, TransferPlan
from .responses import AssetIngestionSession
from .results import AssetDownloadResult, AssetUploadResult
from .run_plans import FINISHED, RunFolder, RunPlan, read_head, report_name
from .sync.run import SyncResult, together

FORMAT = 1

_LISTS: dict[str, Any] = {
    "failures": FileFailure, "cancelled": FileFailure, "conflicts": FileFailure, "skipped": SkippedFile
}  # fmt: skip


@attrs.define
class ShardReport(Report):
    """What became of one shard of a run."""

    shard: int
    """Its number, from 0."""
    run_id: str
    result: SyncResult
    host: str = ""
    """The machine that worked on it."""
    began_ms: int = 0
    ended_ms: int = 0
    error: str = ""
    """What ended the shard early; empty if every file was tried."""

    @property
    def ok(self) -> bool:
        """Whether everything that the shard has to do was done; what the plan keeps is not."""
        return not self.error and self.result._did_all and not self.result.metadata_differs

    def _sheet(self) -> Sheet:
        sheet = self.result._sheet()
        what = f"stopped: {self.error}" if self.error else sheet.headline
        return attrs.evolve(sheet, headline=f"Shard {self.shard}: {what}")

    _in_json = ("ok", "shard", "run_id", "host", "began_ms", "ended_ms", "error", "result")


def write_report(folder: DocumentFolder, name: str, report: ShardReport) -> None:
    """Write a report into the folder of its run. Blocking."""
    plan = report.result.plan
    title = {"vi-report": FORMAT, "plan": [plan.dataset_id, plan.direction, plan.folder]}
    folder.write(name, json.dumps({**title, **report.to_dict()}).encode())


def parse_report(data: bytes | None) -> ShardReport | None:
    """Return a report as it was written; None for what cannot be read, which counts as missing."""
    if data is None:
        return None
    try:
        fields = json.loads(data)
        if fields.pop("vi-report") != FORMAT:
            return None
        ok, plan, result = fields.pop("ok"), fields.pop("plan"), fields.pop("result")
        report = ShardReport(**fields, result=_result(TransferPlan(*plan), result))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return report if report.ok is ok else None


def read_report(folder: DocumentFolder, shard: int) -> ShardReport | None:
    """Return the report of a shard; None if there is none. Blocking."""
    report = parse_report(folder.read(report_name(shard)))
    return report if report is not None and report.shard == shard else None


@attrs.define
class RunStatus(Report):
    """How far a run is. Shards are counted from 0."""

    plan: RunPlan
    done: list[int]
    failed: list[int]
    """Shards with a report of something that was not done; `vi.run_shard` tries it again."""
    missing: list[int]
    """Shards without a report."""
    result: SyncResult
    """The sum of all reports."""
    errors: dict[int, str] = attrs.Factory(dict)
    """What ended failed shards early, by shard."""
    finished: bool = False
    """Whether everything is done, also what `vi.finish` has to do."""

    @classmethod
    def of(cls, run: RunFolder) -> RunStatus:
        """Read the reports of the run in the folder *run*: a path or an address. Blocking; asks no service.

        Raises:
            ViPathError: The folder cannot be read, or holds no run.
            ViInvalidParameterError: *run* is not a path or an address, or its plan cannot be read.
        """
        return status_of(DocumentFolder.of(run, "run"))

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return self.plan.shards

    @property
    def left(self) -> list[int]:
        """The shards to run: failed and missing ones."""
        return sorted([*self.failed, *self.missing])

    @property
    def array(self) -> str:
        """The shards to run as an array expression of a batch system, such as ``3,7-9``; empty if none is left."""
        return array_of(self.left)

    @property
    def ok(self) -> bool:
        """Whether every shard is done."""
        return not self.left

    def _sheet(self) -> Sheet:
        counts = [
            (len(self.done), "done"),
            (len(self.failed), "failed"),
            (len(self.missing), "missing"),
        ]
        lines = [(str(shard), self.errors[shard]) for shard in sorted(self.errors)]
        notes = [f"to run: {self.array}"] if self.left else []
        if self.ok and self.plan.deletions and not self.finished:
            notes = [f"{several(self.plan.deletions, 'deletion')} left to finish: vi.finish, vi-sdk plan finish"]
        counted_shards = [(count, word) for count, word in counts if count]
        return Sheet(
            f"{several(self.shards, 'shard')}: "
            + (", ".join(f"{count:,} {word}" for count, word in counted_shards) or "nothing to do")
            + (f". {self.result._sheet().headline}" if self.done or self.failed else ""),
            counts,
            details=Table.of(("Shard", "Why"), lines, tuple, where=".errors")
            if lines
            else self.result._sheet().details,
            notes=notes,
        )

    _in_json = ("ok", "shards", "done", "failed", "missing", "array", "finished", "errors", "plan", "result")

    def to_dict(self) -> dict[str, Any]:
        """Return the status as JSON-ready data."""
        return {**super().to_dict(), "errors": {str(shard): error for shard, error in self.errors.items()}}


def status_of(folder: DocumentFolder) -> RunStatus:
    """Read the reports of a run. Blocking."""
    head = read_head(folder)
    there = set(folder.names())
    done: list[int] = []
    failed: list[int] = []
    errors: dict[int, str] = {}
    reports: list[ShardReport] = []
    named = {report_name(shard): shard for shard in range(head.shards) if report_name(shard) in there}
    for name, data in folder.read_all(named):
        report = parse_report(data)
        if report is None or report.run_id != head.run_id or report.shard != named[name]:
            continue
        reports.append(report)
        (done if report.ok else failed).append(report.shard)
        if report.error:
            errors[report.shard] = report.error
    missing = sorted(set(range(head.shards)) - {*done, *failed})
    last = parse_report(folder.read(FINISHED)) if FINISHED in there else None
    if last is not None and last.run_id == head.run_id:
        reports.append(last)
    is_finished = (
        not failed and not missing and (not head.deletions or (last in reports and last is not None and last.ok))
    )
    return RunStatus(head, done, failed, missing, merged(head, reports), errors, is_finished)


def merged(head: RunPlan, reports: Iterable[ShardReport]) -> SyncResult:
    """Return the sum of reports; its seconds are those from the first beginning to the last end."""
    reports = list(reports)
    results = [report.result for report in reports]
    plan = head.without_entries()
    plan.entries = [entry for result in results for entry in result.plan]
    plan.existing += sum(result.plan.existing for result in results)
    uploads = [result.upload for result in results if result.upload is not None]
    downloads = [result.download for result in results if result.download is not None]
    whole = SyncResult(
        plan,
        reduce(together, uploads) if uploads else None,
        reduce(together, downloads) if downloads else None,
        sum(result.deleted for result in results),
        [failure for result in results for failure in result.failures],
        sum(result.metadata_updated for result in results),
        sum(result.metadata_differs for result in results),
    )
    moved = [report for report in reports if report.result._moved]
    if moved:
        took = (max(report.ended_ms for report in moved) - min(report.began_ms for report in moved)) / 1000
        if whole.upload is not None:
            whole.upload.seconds = took
        if whole.download is not None:
            whole.download.seconds = took
    return whole


def array_of(numbers: list[int]) -> str:
    """Return numbers in order as ranges: ``3,7-9``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def check_shard(shard: object, head: RunPlan) -> int:
    """Return the number of a shard of the run."""
    try:
        number = shard.__index__()  # type: ignore[attr-defined] # integers of NumPy and others too
    except AttributeError:
        number = -1
    if isinstance(shard, bool) or not 0 <= number < head.shards:
        raise ViInvalidParameterError(
            f"shard must be from 0 to {head.shards - 1}, got {brief(shard)}.",
            parameter="shard",
            suggestion="RunStatus.of(run).left lists what is to be run.",
        )
    return int(number)


def _result(plan: TransferPlan, fields: dict[str, Any]) -> SyncResult:
    """Read what `SyncResult.to_dict` has written."""
    updated, differs = fields["metadata_updated"], fields["metadata_differs"]
    plan.existing = fields["existing"] - updated - differs
    plan.notes = list(fields["notes"])
    plan.entries = [
        PlannedTransfer("keep", kept["filename"], kept["path"], 0, kept["reason"], code=kept["code"])
        for kept in fields["kept"]
    ]
    upload, download = fields["upload"], fields["download"]
    return SyncResult(
        plan,
        None if upload is None else _upload(upload),
        None if download is None else _download(download),
        fields["deleted"],
        [FileFailure(**failure) for failure in fields["failures"]],
        updated,
        differs,
    )


def _upload(fields: dict[str, Any]) -> AssetUploadResult:
    sessions = [AssetIngestionSession(str(session_id)) for session_id in fields["session_ids"]]
    return AssetUploadResult(sessions=sessions, **_fields(fields, AssetUploadResult))


def _download(fields: dict[str, Any]) -> AssetDownloadResult:
    place = fields["save_dir"]
    address = place if is_remote(place) else ""
    return AssetDownloadResult(Path("" if address else place), address=address, **_fields(fields, AssetDownloadResult))


def _fields(document: dict[str, Any], result: type[AssetUploadResult | AssetDownloadResult]) -> dict[str, Any]:
    """Read the attributes that a result is made with, but for its folder."""
    return {
        name: [_LISTS[name](**one) for one in document[name]] if name in _LISTS else document[name]
        for name in attrs.fields_dict(result)
        if name in result._in_json and name != "save_dir"
    }
