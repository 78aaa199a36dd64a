"""Where a transfer's progress goes: the caller's function, or a bar, or lines; all of it on stderr."""

from __future__ import annotations

import logging
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
from .writer import put

logger = logging.getLogger("vi.progress")

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
    if not shows or sys.stderr is None:
        return heard
    return [Bar(operation)] if redraws(sys.stderr) else [Lines()]


class Bar:
    """A tqdm bar over files, with bytes and failures beside it; none once it cannot be drawn."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._bar: Any = None
        self._broken = False

    def __call__(self, progress: TransferProgress) -> None:
        if self._broken:
            return
        try:
            self._draw(progress)
        except Exception as error:  # noqa: BLE001 - a TQDM_* variable, or what stands in for a stream
            self._broken = True
            if self._bar is not None:
                self._bar.disable = True  # or it is drawn once more when it is collected
            logger.debug("the progress bar cannot be drawn: %s", error)

    def _draw(self, progress: TransferProgress) -> None:
        width, height = _size(sys.stderr)
        if self._bar is None:
            self._bar = _bar_class()(
                total=progress.files_total,
                desc=self._operation,
                unit=" files",
                file=_Stderr(),
                ncols=width or UNKNOWN_SIZE[0],
                nrows=height or UNKNOWN_SIZE[1],
                dynamic_ncols=False,
            )
        self._bar.ncols = width or UNKNOWN_SIZE[0]
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
        _lock = threading.RLock()  # of its own: whatever happens while it is held, no other bar waits for it

    return Bar


class _Stderr:
    """The current ``sys.stderr``, to draw on: it never raises, and drops what its reader does not take."""

    @property
    def encoding(self) -> str:
        return getattr(sys.stderr, "encoding", None) or "ascii"

    def write(self, text: str) -> None:
        put(sys.stderr, text, 0, end="")

    def flush(self) -> None:
        """Each write is flushed."""


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
        put(sys.stderr, progress_line(progress, seconds), 0)


def _size(stream: TextIO | None) -> tuple[int, int]:
    """Return columns and lines of a terminal, 0 where it does not say: tqdm would draw nothing there."""
    try:
        assert stream is not None
        return os.get_terminal_size(stream.fileno())
    except Exception:  # noqa: BLE001 - what stands in for a stream may have no descriptor
        return 0, 0
