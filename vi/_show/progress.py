"""Where a transfer's progress goes: the caller's function, or a bar, or lines; all of it on stderr."""

from __future__ import annotations

import inspect
import logging
import os
import sys
import threading
import time
from typing import Any

from .._events import Listener, TransferProgress
from .._kernel import in_kernel
from .._optional import prefer
from .._redact import brief
from ..errors import ViConfigurationError, ViInvalidParameterError
from .text import redraws, styled
from .ticks import Ticks
from .units import portion, progress_line, progress_words
from .writer import put, size_of

logger = logging.getLogger("vi.progress")

PROGRESS_VARIABLE = "VI_PROGRESS"
LINE_SECONDS = 10.0
UNKNOWN_SIZE = (79, 24)
PARTS = 1000
"""In how many parts a bar counts."""
NARROWEST_BAR = 10


def progress_listeners(show: bool, on_progress: Listener | None) -> list[Listener]:
    """Return the listeners: the caller's function, or a bar on a terminal or in a notebook, or log lines."""
    check_listener(on_progress)
    heard = [on_progress] if on_progress is not None else []
    shows = show and on_progress is None and _is_wanted(os.environ.get(PROGRESS_VARIABLE, ""))
    if in_kernel():
        from .notebook import NotebookBar

        return [NotebookBar(shown=shows), *heard]
    if not shows or sys.stderr is None:
        return heard
    return [Bar() if redraws(sys.stderr) and prefer("tqdm") is not None else Lines()]


def check_listener(on_progress: object) -> None:
    """Refuse what cannot be called with a `TransferProgress`, and what would have to be awaited."""
    problem = None
    if on_progress is not None and not callable(on_progress):
        problem = f"on_progress must be a function of a TransferProgress, got {type(on_progress).__name__}."
    elif inspect.iscoroutinefunction(on_progress):
        problem = "on_progress must be a plain function: an async one would not be awaited."
    if problem:
        raise ViInvalidParameterError(problem, parameter="on_progress")


def _is_wanted(setting: str) -> bool:
    word = setting.strip().lower()
    if word in ("0", "false", "no"):
        return False
    if word in ("", "1", "true", "yes"):
        return True
    raise ViConfigurationError(f"{PROGRESS_VARIABLE} must be 0 or 1, got {brief(setting)}.")


class Bar(Ticks):
    """A tqdm bar with as many words beside it as there is room for; none once it cannot be drawn."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._broken = False

    def draw(self, progress: TransferProgress) -> None:
        """Draw the bar unless it cannot be."""
        if self._broken:
            return
        try:
            self._draw(progress)
        except Exception as error:  # noqa: BLE001 - a TQDM_* variable, or a replaced stream
            self._broken = True
            if self._bar is not None:
                self._bar.disable = True  # or it is drawn once more when it is collected
            logger.debug("the progress bar cannot be drawn: %s", error)

    def _draw(self, progress: TransferProgress) -> None:
        width, height = size_of(sys.stderr)
        columns = width or UNKNOWN_SIZE[0]
        part, line = portion(progress), bar_format(progress, columns)
        if self._bar is None:
            self._bar = _bar_class()(
                total=None if part is None else PARTS,
                bar_format=line,
                file=_Stderr(),
                ncols=columns,
                nrows=height or UNKNOWN_SIZE[1],
                dynamic_ncols=False,
            )
        self._bar.ncols = columns
        self._bar.total = None if part is None else PARTS
        self._bar.n = 0 if part is None else int(part * PARTS)
        self._bar.bar_format = line
        self._bar.refresh()
        if progress.finished:
            self._bar.close()


def bar_format(progress: TransferProgress, columns: int) -> str:
    """Return the line of a bar for tqdm: what has no room is left out from the right, the failures last of all."""
    words = progress_words(progress, progress.seconds)
    time_taken = f", {progress.seconds:.0f} s"
    start = f"{progress.operation}: "
    share = "{percentage:3.0f}%" if progress.files_total is not None else ""
    room = columns - len(start) - len(share and "100%") - 1
    choices = [", ".join(words[:count]) + end for count in range(len(words), 0, -1) for end in (time_taken, "")]
    told = next((choice for choice in choices if len(choice) <= room), words[0])
    with_bar = share and room - len(told) >= NARROWEST_BAR
    if progress.files_failed:
        told = styled(words[0], "red", sys.stderr) + told[len(words[0]) :]
    return f"{start}{share}{'|{bar}|' if with_bar else ''} {told}"


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
