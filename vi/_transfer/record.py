"""One file on its way, and the ledger that knows what became of every one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

from .._redact import WORD_LENGTH, limited
from ..codes import FileCode
from ..errors import ViOperationError

if TYPE_CHECKING:
    from .signed import SignedTransfer
    from .sources.kept import Kept
    from .sources.local import Source, Stamp


class Outcome(StrEnum):
    """How a file ended; every file ends in exactly one of these."""

    SUCCEEDED = "succeeded"
    EXISTING = "existing"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"


@attrs.define(eq=False)
class FileRecord:
    """A file as it moves through the stages of an upload. *crc32c* is unsigned, None while unknown, *sha256* in hex."""

    source: Source
    filename: str
    size: int
    kind: str = ""
    mime: str = ""
    crc32c: int | None = None
    sha256: str | None = None
    stamp: Stamp | None = None
    kept: Kept | None = None
    """What was read of it, until it is sent."""
    custom_metadata: dict[str, Any] | None = None
    upload: SignedTransfer | None = None
    attempts: int = 0
    damaged: int = 0
    sessions: int = 0
    counted: int = 0
    outcome: Outcome | None = None

    def advance(self, reached: int) -> int:
        """Return by how many bytes *reached* is further than ever, so that progress never goes back."""
        step = max(0, reached - self.counted)
        self.counted += step
        return step

    def release(self) -> None:
        """Drop what is kept of the file; it is read again if it is needed."""
        if self.kept is not None:
            self.kept.release()
            self.kept = None

    @property
    def path_on_disk(self) -> str:
        """The path of a local file as the file system takes it, which may hold what cannot be shown."""
        return str(getattr(self.source, "path", self.source.label))

    @property
    def path(self) -> str:
        """The path as the user gave it, or the name of what is not a file."""
        return self.source.label


def _word(text: str) -> str:
    return limited(text, WORD_LENGTH)


@attrs.frozen
class FileFailure:
    """A file that was not transferred: where it is, its *code*, and why in words.

    Code and words may be the service's own: they are cut, and secrets in them hidden.
    """

    path: str
    filename: str
    code: str = attrs.field(converter=_word)
    message: str = attrs.field(converter=limited)
    attempts: int = 0


@attrs.frozen
class SkippedFile:
    """A file that was left out, and the reason."""

    path: str
    reason: str


KEPT_SKIPS = 10_000


class Ledger:
    """Counts outcomes and keeps what must be named. A file is entered once and settled once."""

    def __init__(self) -> None:
        self.entered: int = 0
        self.counts: Counter[Outcome] = Counter()
        self.failures: list[FileFailure] = []
        self.cancelled: list[FileFailure] = []
        self.skipped: list[SkippedFile] = []
        self.skip_reasons: Counter[str] = Counter()
        self.bytes: int = 0
        self._undrawn: Iterator[FileRecord] = iter(())
        self._moving: dict[int, FileRecord] = {}

    def enter(self, count: int, records: Iterable[FileRecord] = ()) -> None:
        """Take on *count* files that will have to be settled; *records* are those that `draw` gives out."""
        self.entered += count
        self._undrawn = iter(records)

    def draw(self) -> Iterator[FileRecord]:
        """Give out the records, remembering each until it is settled."""
        for record in self._undrawn:
            self._moving[id(record)] = record
            yield record

    def skip(self, reasons: Counter[str], kept: list[SkippedFile]) -> None:
        """Enter and settle the files that were left out."""
        self.entered += reasons.total()
        self.counts[Outcome.SKIPPED] += reasons.total()
        self.skip_reasons.update(reasons)
        self.skipped += kept

    def succeed(self, record: FileRecord, outcome: Outcome = Outcome.SUCCEEDED) -> None:
        """Settle a file as stored, now or before."""
        self._settle(record, outcome)
        if outcome is Outcome.SUCCEEDED:
            self.bytes += record.size

    def fail(self, record: FileRecord, code: str, message: str) -> FileFailure:
        """Settle a file as failed."""
        self._settle(record, Outcome.FAILED)
        failure = FileFailure(record.path, record.filename, code, message, record.attempts)
        self.failures.append(failure)
        return failure

    def cancel(self, record: FileRecord, message: str) -> None:
        """Settle a file as given up."""
        self._settle(record, Outcome.CANCELLED)
        if len(self.cancelled) < KEPT_SKIPS:
            self.cancelled.append(
                FileFailure(record.path, record.filename, FileCode.ECANCELLED, message, record.attempts)
            )

    def cancel_rest(self) -> None:
        """Settle every file that was entered and not settled as cancelled, the first ten thousand by name."""
        record: FileRecord | None
        for record in list(self._moving.values()):
            self.cancel(record, f"{record.filename}: the upload stopped before it was stored.")
        while len(self.cancelled) < KEPT_SKIPS and (record := next(self._undrawn, None)) is not None:
            self.cancel(record, f"{record.filename}: the upload stopped before it was sent.")
        rest = self.entered - sum(self.counts.values())
        if rest > 0:
            self.counts[Outcome.CANCELLED] += rest

    def check(self) -> None:
        """Raise if the outcomes do not add up to the files entered."""
        settled = sum(self.counts.values())
        if settled != self.entered:
            raise ViOperationError(
                f"The accounting is wrong: {self.entered} files were entered and {settled} settled.",
                suggestion="This is a defect of the SDK; please report it.",
            )

    def _settle(self, record: FileRecord, outcome: Outcome) -> None:
        if record.outcome is not None:
            raise ViOperationError(
                f"{record.filename!r} was settled twice: {record.outcome} and {outcome}.",
                suggestion="This is a defect of the SDK; please report it.",
            )
        record.outcome = outcome
        record.release()
        record.source.close()
        self._moving.pop(id(record), None)
        self.counts[outcome] += 1
