"""Sizes, times, numbers of files and progress in words; every output takes them from here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._events import TransferProgress
    from .sheet import Counts

REASONS = 5
NOTES = 10
STALL_SECONDS = 5.0
"""Seconds without progress after which a transfer reports the silence."""


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
    return f"{progress.operation}: {', '.join([*progress_words(progress, seconds), f'{seconds:.0f} s'])}"


def progress_words(progress: TransferProgress, seconds: float) -> list[str]:
    """Return how far a transfer has come, what a narrow place needs first; *seconds* may be later than the event."""
    done, sent, total = progress.files_done, progress.files_sent, progress.files_total
    checks = progress.stage == "settling" or progress.last_checked is not None
    words = [f"{progress.files_failed:,} failed"] if progress.files_failed else []
    if checks:
        words.append(f"checked {_of(done, total)}")
    words.append(
        f"{'sent ' if progress.operation == 'upload' else ''}{_of(sent if checks else max(sent, done), total)}"
    )
    words[-1] += " file" if (sent if total is None else total) == 1 else " files"
    moved, bytes_total = progress.bytes_done, progress.bytes_total
    words.append(size(moved) if bytes_total is None or progress.finished else f"{size(moved)} of {size(bytes_total)}")
    if not progress.finished and (stall := _stall(progress, seconds)):
        words.append(stall)
    elif moved and progress.last_sent:
        words.append(f"{size(moved / progress.last_sent)}/s")
    return words


def portion(progress: TransferProgress) -> float | None:
    """Return how much of a transfer is over, from 0 to 1: moving bytes and settling files count half each."""
    if progress.files_total is None:
        return None
    settled = progress.files_done / progress.files_total if progress.files_total else 1.0
    if settled >= 1 or not progress.bytes_total:  # an existing file moves no bytes
        return min(1.0, settled)
    return min(1.0, settled / 2 + progress.bytes_done / progress.bytes_total / 2)


def _of(count: int, total: int | None) -> str:
    return f"{count:,}" if total is None else f"{count:,}/{total:,}"


def _stall(progress: TransferProgress, seconds: float) -> str:
    """Return for how long nothing has been sent, or once all is sent, checked; empty if that is not long."""
    sending = progress.files_total is None or progress.files_sent < progress.files_total
    last = progress.last_sent if sending else max(progress.last_sent or 0.0, progress.last_checked or 0.0)
    idle = seconds - (last or 0.0)
    verb = "checked" if not sending else "sent" if progress.operation == "upload" else "received"
    return f"nothing {verb} for {idle:.0f} s" if idle >= STALL_SECONDS else ""
