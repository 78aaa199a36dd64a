"""What people see: progress, log lines and summaries. Progress and logs go to stderr, ``info()`` to stdout.

With ``vi.cli`` the only place that prints. Text from outside is made printable first: file names are hostile.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from .._events import Listener, TransferProgress
from .._kernel import in_kernel
from .._redact import redact
from ..errors import ViConfigurationError, ViInvalidParameterError
from . import units as _summaries

if TYPE_CHECKING:
    from ..api.resources.datasets.assets.responses import Asset
    from ..api.resources.datasets.responses import Dataset

PROGRESS_VARIABLE = "VI_PROGRESS"
LOG_VARIABLE = "VI_LOG"
LINE_SECONDS = 10.0
UNKNOWN_SIZE = (79, 24)
LISTED = 60

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_STYLES = {"bold": "1", "red": "31", "green": "32", "yellow": "33"}
_OFF = ("", "0", "false", "no")


def progress_listeners(operation: str, show: bool, on_progress: Listener | None) -> list[Listener]:
    """Return who is told of progress: the caller's function, or else a bar on a terminal or in a notebook, and lines elsewhere."""
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
        self._bar.set_postfix_str(f"{progress.bytes_done / 1e6:.1f} MB{failed}", refresh=False)
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
        print(_summaries.progress_line(progress, seconds), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Print data to stdout; what comes from outside must have been made printable."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Print anything else to stderr."""
    print(printable(redact(text), keep="\n"), file=sys.stderr, flush=True)


def report(error: str) -> None:
    """Print what went wrong to stderr, as one line."""
    print(f"{styled('error:', 'red', sys.stderr)} {printable(redact(error))}", file=sys.stderr, flush=True)


def can_ask() -> bool:
    """Tell whether somebody is there to answer."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty()


def ask(question: str) -> str:
    """Ask on stderr and return the answer, empty at the end of input."""
    print(printable(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: Container[int] = (0,)) -> str:
    """Lay out a table; the columns *left* are text, the others numbers."""
    return "\n".join(aligned([head, *rows], left=left))


def aligned(
    rows: Sequence[Sequence[str]], *, left: Container[int] = (0,), widths: list[int] | None = None
) -> list[str]:
    """Return rows as lines with their cells below each other, made printable.

    *widths* are kept from block to block of a table that is printed in several.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    needed = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    known = widths if widths is not None else []
    known[:] = map(max, needed, known or needed)

    def line(row: Sequence[str]) -> str:
        placed = []
        for number, (cell, width) in enumerate(zip(row, known, strict=True)):
            gap = " " * (width - _width(cell))
            placed.append(cell + gap if number in left else gap + cell)
        return "  ".join(placed).rstrip()

    return [line(row) for row in cells]


def _width(text: str) -> int:
    """Count the columns that *text* takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _size(stream: TextIO) -> tuple[int, int]:
    """Return columns and lines of a terminal, 0 where it does not say: tqdm would draw nothing there."""
    try:
        return os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 0, 0


def redraws(stream: TextIO | None) -> bool:
    """Tell whether a line can be drawn again: on a terminal with somebody before it, not in the log of a CI job."""
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return os.environ.get("CI", "").lower() in _OFF


def styled(text: str, style: str, stream: TextIO | None) -> str:
    """Return *text* in a style where the stream shows it; ``NO_COLOR`` and ``FORCE_COLOR`` decide before that."""
    forced = os.environ.get("FORCE_COLOR", "").lower() not in _OFF
    shows = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    if os.environ.get("NO_COLOR") or not (forced or shows):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def log_as_asked(environ: Any = os.environ) -> None:
    """Show the log of the package on stderr if ``VI_LOG`` asks for it, once.

    A program that has handlers of its own keeps them: only the level is set then.
    """
    logger = logging.getLogger("vi")
    if logger.handlers:
        return
    name = environ.get(LOG_VARIABLE, "").lower()
    level = _LEVELS.get("info" if name == "1" else name)
    if level is None and name not in _OFF:
        raise ViConfigurationError(f"{LOG_VARIABLE} must be one of {', '.join(_LEVELS)}, got {name!r}.")
    logger.addHandler(logging.NullHandler())
    if level is None:
        return
    logger.setLevel(level)
    if not logging.getLogger().handlers:
        handler = _StderrHandler()
        handler.setFormatter(_LogFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        raise AttributeError("the stream is sys.stderr")


class _LogFormatter(logging.Formatter):
    """One printable line for each record, with secrets cut out; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def print_asset(asset: Asset) -> None:
    """Print an asset's summary."""
    _print_rows(_summaries.asset_rows(asset))


def print_dataset(dataset: Dataset) -> None:
    """Print a dataset's summary."""
    _print_rows(_summaries.dataset_rows(dataset))


def described(thing: object) -> str:
    """Return a document, a page or a result as the lines that IPython shows."""
    return printable(redact("\n".join(_lines_of(thing))), keep="\n")


def _lines_of(thing: object) -> list[str]:
    from ..api.pagination import Listing, Page
    from ..api.resources.datasets.assets.responses import Asset
    from ..api.resources.datasets.responses import Dataset

    if isinstance(thing, Asset):
        return aligned(_summaries.asset_rows(thing), left=(0, 1))
    if isinstance(thing, Dataset):
        return aligned(_summaries.dataset_rows(thing), left=(0, 1))
    if isinstance(thing, Page):
        shown = thing.items[:LISTED]
        lines = [table(*_summaries.table_of(shown))] if shown else []
        return lines + _summaries.page_notes(thing, LISTED)
    if isinstance(thing, Listing):
        return [_summaries.LISTING]
    summary = getattr(thing, "summary", None)
    return [summary() if summary is not None else repr(thing)]


def _print_rows(rows: list[tuple[str, str]]) -> None:
    print("\n".join(aligned(rows, left=(0, 1))))


def printable(text: str, keep: str = "") -> str:
    """Keep control characters of hostile names off the terminal."""
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)
