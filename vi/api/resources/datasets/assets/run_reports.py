"""What became of a run: a report for each shard that has ended, and all of them together.

A report is sealed (`run_seals`) like what it reports on: that a shard is done lets `vi.finish` delete.
"""

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
from .....config import load_settings
from .....errors import ViError, ViInvalidParameterError
from ....display import Report
from .plans import PlannedTransfer, TransferPlan
from .responses import AssetIngestionSession
from .results import AssetDownloadResult, AssetUploadResult
from .run_plans import FINISHED, HEAD, RunFolder, RunPlan, incomplete, read_head, report_name
from .run_seals import Sealed, digest_of, seal
from .sync.run import SyncResult, together

FORMAT = 1
MOST_OF_REPORT = 64 << 20
"""Bytes of a report, which lists what failed of a shard."""
LISTED = 20_000
"""Entries of each list of a report that would be longer."""

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


@attrs.frozen
class StoredReport:
    """A report as it was read, and the seal in it."""

    report: ShardReport
    _sealed: Sealed

    def counts(self, key: str | None) -> bool:
        """Tell whether it is believed: one that claims that all was done only if the secret *key* has sealed it.

        Without a key, which cannot tell, everything is believed.
        """
        return not self.report.ok or key is None or self._sealed.by(key)


def write_report(folder: DocumentFolder, name: str, report: ShardReport, key: str) -> None:
    """Write a report, sealed with the secret *key*, into the folder of its run. Blocking."""
    plan = report.result.plan
    fields = {"vi-report": FORMAT, "plan": [plan.dataset_id, plan.direction, plan.folder], **report.to_dict()}
    listed = LISTED
    while len(data := json.dumps({**fields, "seal": seal(key, name, _digest(fields))}).encode()) > MOST_OF_REPORT:
        _shorten(fields["result"], listed)
        listed //= 2
    folder.write(name, data)


def _digest(fields: dict[str, Any]) -> bytes:
    return digest_of(str(fields["run_id"]), [json.dumps(fields, sort_keys=True)])


def _shorten(result: dict[str, Any], count: int) -> None:
    """Leave *count* entries in each list of a result that is too long to be read again, and tell so."""
    note = "this report lists only the first of those that failed or were kept; all are counted"
    parts = [result, *(result[name] for name in ("upload", "download") if result[name] is not None)]
    for part in parts:
        for name in (*_LISTS, "kept"):
            if name in part:
                part[name] = part[name][:count]
        if note not in part["notes"]:
            part["notes"] = [*part["notes"], note]


def parse_report(data: bytes | None, name: str) -> StoredReport | None:
    """Return the report *name* as it was written; None for what cannot be read, which counts as missing."""
    if data is None:
        return None
    try:
        fields = json.loads(data)
        sealed = Sealed(name, b"", fields.pop("seal", None))
        sealed = attrs.evolve(sealed, digest=_digest(fields))
        if fields.pop("vi-report") != FORMAT:
            return None
        ok, plan, result = fields.pop("ok"), fields.pop("plan"), fields.pop("result")
        report = ShardReport(**fields, result=_result(TransferPlan(*plan), result))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return StoredReport(report, sealed) if report.ok is ok else None


def read_report(folder: DocumentFolder, shard: int) -> StoredReport | None:
    """Return the report of a shard; None if there is none. Blocking."""
    name = report_name(shard)
    stored = parse_report(folder.read(name, MOST_OF_REPORT), name)
    return stored if stored is not None and stored.report.shard == shard else None


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

        With the secret key of the run in the environment, a shard whose report somebody else has written is missing.

        Raises:
            ViPathError: The folder cannot be read, or holds no run.
            ViInvalidParameterError: *run* is not a path or an address, or its plan cannot be read.
        """
        return status_of(DocumentFolder.of(run, "run"), own_key())

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
        shards = ", ".join(f"{count:,} {word}" for count, word in counts if count)
        if not shards and self.plan.deletions and not self.finished:
            shards = f"{several(self.plan.deletions, 'deletion')} left to finish"
        has_result = self.done or self.failed or self.result.deleted
        return Sheet(
            f"{several(self.shards, 'shard')}: {shards or 'nothing to transfer'}"
            + (f". {self.result._sheet().headline}" if has_result else ""),
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


def own_key() -> str | None:
    """Return the secret key of the environment; None if there is none that can be used."""
    try:
        return load_settings().secret_key
    except ViError:
        return None


def status_of(folder: DocumentFolder, key: str | None) -> RunStatus:
    """Read the reports of a run, as far as the secret *key* lets them be believed. Blocking."""
    head = read_head(folder)
    if key is not None and not head._sealed.by(key):
        key = None  # that of another organization cannot tell
    there = set(folder.names())
    if head.shards > len(there):
        raise incomplete(folder, f"{HEAD} tells of {head.shards} shards, which are not there.")
    done: list[int] = []
    failed: list[int] = []
    errors: dict[int, str] = {}
    reports: list[ShardReport] = []
    named = {report_name(shard): shard for shard in range(head.shards) if report_name(shard) in there}
    for name, data in folder.read_all(named, MOST_OF_REPORT):
        stored = parse_report(data, name)
        if stored is None or not stored.counts(key):
            continue
        report = stored.report
        if report.run_id != head.run_id or report.shard != named[name]:
            continue
        reports.append(report)
        (done if report.ok else failed).append(report.shard)
        if report.error:
            errors[report.shard] = report.error
    missing = sorted(set(range(head.shards)) - {*done, *failed})
    last = parse_report(folder.read(FINISHED, MOST_OF_REPORT), FINISHED) if FINISHED in there else None
    is_finished = not head.deletions
    if last is not None and last.report.run_id == head.run_id and last.counts(key):
        reports.append(last.report)
        is_finished = is_finished or last.report.ok
    is_finished = is_finished and not failed and not missing
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


def number_of(shard: object) -> int:
    """Return the number of a shard, which integers of NumPy and others are too; -1 for what is none."""
    try:
        return -1 if isinstance(shard, bool) else int(shard.__index__())  # type: ignore[attr-defined]
    except AttributeError:
        return -1


def check_shard(shard: object, head: RunPlan) -> int:
    """Return the number of a shard of the run."""
    number = number_of(shard)
    if 0 <= number < head.shards:
        return number
    rule = f"shard must be from 0 to {head.shards - 1}" if head.shards else "shard must be left out: the run has none"
    raise ViInvalidParameterError(
        f"{rule}, got {brief(shard)}.",
        parameter="shard",
        suggestion="RunStatus.of(run).left lists what is to be run.",
    )


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
