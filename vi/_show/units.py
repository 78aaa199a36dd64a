"""Sizes, times, numbers of files and progress in words; every output takes them from here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from .._events import TransferProgress
from .sheet import Counts

REASONS = 5
NOTES = 10


def size(number: float) -> str:
    """Return a number of bytes, in units of 1024."""
    if number < 1023.5:
        return f"{number:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1023.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:.1f} TiB"


def when(moment: dt.datetime | None) -> str:
    """Return a time."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC") if moment is not None else ""


def exact_size(number: int) -> str:
    """Return a number of bytes to the last one."""
    return f"{size(number)} ({several(number, 'byte')})" if number >= 1024 else several(number, "byte")


def several(count: int, noun: str) -> str:
    """Return a number with its noun, which takes an ``s`` unless there is one."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def counted(counts: Counts) -> str:
    """Return how many files ended in which way, without those that are none: ``3 files uploaded, 1 unchanged``."""
    there = [(count, word) for count, word in counts if count]
    return ", ".join(
        f"{count:,} {word}" if number else f"{several(count, 'file')} {word}"
        for number, (count, word) in enumerate(there)
    )


def rate(files: int, size_in_bytes: int, seconds: float) -> str:
    """Return how long a transfer took and how fast it was, to follow its counts; empty for one that took no time."""
    if seconds <= 0:
        return ""
    speed = f" ({files / seconds:,.0f} files/s, {size(size_in_bytes / seconds)}/s)" if files else ""
    return f" in {seconds:.1f} s{speed}"


def skipped(reasons: Mapping[str, int]) -> list[str]:
    """Return a line that says why files were skipped, the most frequent reasons first; no line if none was."""
    if not reasons:
        return []
    ordered = sorted(reasons.items(), key=lambda reason: (-reason[1], reason[0]))
    named = [f"{count:,} {reason}" for reason, count in ordered[:REASONS]]
    rest = [f"{sum(count for _, count in ordered[REASONS:]):,} for other reasons"] if len(ordered) > REASONS else []
    return [f"{sum(reasons.values()):,} skipped: {', '.join([*named, *rest])}"]


def noted(notes: Sequence[str]) -> list[str]:
    """Return the first notes of a result as lines."""
    rest = [f"and {len(notes) - NOTES:,} more notes"] if len(notes) > NOTES else []
    return [*(f"note: {note}" for note in notes[:NOTES]), *rest]


def progress_line(progress: TransferProgress, seconds: float) -> str:
    """Return how far a transfer has come."""
    total = f" of {progress.files_total:,}" if progress.files_total is not None else ""
    noun = "file" if (progress.files_done if progress.files_total is None else progress.files_total) == 1 else "files"
    failed = f", {progress.files_failed:,} failed" if progress.files_failed else ""
    return (
        f"{progress.operation}: {progress.files_done:,}{total} {noun}{failed}, {size(progress.bytes_done)}, "
        f"{seconds:.0f} s"
    )
