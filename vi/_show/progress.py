"""Where a transfer's progress goes: the caller's function, or a bar, or lines; all of it on stderr."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any, TextIO

from .._events import Listener, TransferProgress
from .._kernel import in_kernel
from ..errors import ViInvalidParameterError
from .text import redraws
from .units import progress_line, size

PROGRESS_VARIABLE = "VI_PROGRESS"
LINE_SECONDS = 10.0
UNKNOWN_SIZE = (79, 24)


def progress_listeners(operation: str, show: bool, on_progress: Listener | None) -> list[Listener]:
    """Return the listeners: the caller's function, or a bar on a terminal or in a notebook, or log lines."""
    if on_progress is not None:
        if not callable(on_progress):
            raise ViInvalidParameterError(
                f"on_progress must be a function of a TransferProgress, got {type(on_progress).__name__}.",
                parameter="on_progress",
            )
        show = False
    heard = [on_progress] if on_progress is not None else []
    shows = show and os.environ.get(PROGRESS_VARIABLE, "").lower() not in ("0", "false", "no")
    if in_kernel():
        from .notebook import NotebookBar

        return [NotebookBar(shown=shows), *heard]
    stream = sys.stderr
    if not shows or stream is None:
        return heard
    return [Bar(operation)] if redraws(stream) else [Lines()]


class Bar:
    """A tqdm bar over files, with bytes and failures beside it."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._bar: Any = None

    def __call__(self, progress: TransferProgress) -> None:
        if self._bar is None:
            width, height = _size(sys.stderr)
            self._bar = _bar_class()(
                total=progress.files_total,
                desc=self._operation,
                unit=" files",
                file=sys.stderr,
                ncols=width or UNKNOWN_SIZE[0],
                nrows=height or UNKNOWN_SIZE[1],
                dynamic_ncols=bool(width and height),
            )
        self._bar.total = progress.files_total
        self._bar.n = progress.files_done
        failed = f", {progress.files_failed} failed" if progress.files_failed else ""
        self._bar.set_postfix_str(f"{size(progress.bytes_done)}{failed}", refresh=False)
        self._bar.refresh()
        if progress.finished:
            self._bar.close()


def _bar_class() -> type[Any]:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # or tqdm leaves a thread behind for the rest of the process

    return Bar


class Lines:
    """A plain line every ten seconds, also while nothing moves, and one at the end."""

    def __init__(self) -> None:
        self._last: TransferProgress | None = None
        self._came = 0.0
        self._ended = threading.Event()
        self._told = False

    def __call__(self, progress: TransferProgress) -> None:
        begins = self._last is None and not progress.finished
        self._last, self._came = progress, time.monotonic()
        if begins:
            threading.Thread(target=self._tell_at_times, name="vi-progress", daemon=True).start()
        if progress.finished:
            self._ended.set()
            if self._told or progress.seconds >= LINE_SECONDS:
                self._print(progress, progress.seconds)

    def _tell_at_times(self) -> None:
        while not self._ended.wait(max(LINE_SECONDS, 0.01)):
            progress = self._last
            assert progress is not None  # the thread starts with an event
            self._told = True
            self._print(progress, progress.seconds + time.monotonic() - self._came)

    def _print(self, progress: TransferProgress, seconds: float) -> None:
        print(progress_line(progress, seconds), file=sys.stderr, flush=True)


def _size(stream: TextIO) -> tuple[int, int]:
    """Return columns and lines of a terminal, 0 where it does not say: tqdm would draw nothing there."""
    try:
        return os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 0, 0
