"""What a person reads and answers on a terminal: data on stdout, everything else on stderr, and the log.

With ``vi.cli`` the only place that prints. Text from outside is made printable first: file names are hostile.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from .._redact import brief, redact
from ..errors import ViConfigurationError
from .text import described, printable, styled, wrapped
from .writer import MESSAGE_SECONDS, columns_of, is_terminal, put

if TYPE_CHECKING:
    from .sheet import Sheet

LOG_VARIABLE = "VI_LOG"

# Closed by the reader, or from the start; Windows calls a pipe that its reader has closed an invalid argument.
_NOBODY_READS = {errno.EPIPE, errno.EBADF} | ({errno.EINVAL} if sys.platform == "win32" else set())

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def show(sheet: Sheet) -> None:
    """Print a sheet to stdout."""
    put(sys.stdout, described(sheet, columns_of(sys.stdout)))


def say(text: str) -> bool:
    """Print data to stdout; what comes from outside must have been made printable. False when nobody takes it."""
    problem = put(sys.stdout, text)
    if problem is not None and problem.errno not in _NOBODY_READS:
        report(f"The output could not be written: {problem.strerror}.")
    return problem is None


def complain(text: str, *, whole: bool = False) -> None:
    """Print anything else to stderr; lines stay *whole* on a narrow terminal too if a program may read them."""
    shown = printable(redact(text), keep="\n") if whole else _fitted(text)
    put(sys.stderr, shown, MESSAGE_SECONDS)


def report(error: str) -> None:
    """Print what went wrong to stderr; text from outside must have been made printable."""
    text = _fitted(f"error: {error}").removeprefix("error:")
    put(sys.stderr, styled("error:", "red", sys.stderr) + text, MESSAGE_SECONDS)


def _fitted(text: str) -> str:
    """Return a message printable, without secrets, and broken between words where a terminal ends."""
    columns = columns_of(sys.stderr)
    lines = printable(redact(text), keep="\n").split("\n")
    return "\n".join(part for line in lines for part in wrapped(line, columns))


def can_ask() -> bool:
    """Tell whether somebody is there to answer."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def ask(question: str) -> str:
    """Ask on stderr and return the answer, empty at the end of input."""
    put(sys.stderr, printable(question), end="")
    return sys.stdin.readline()


def log_as_asked(environ: Any = os.environ) -> None:
    """Show the log of the package on stderr if ``VI_LOG`` asks for it, once.

    A program that has handlers of its own keeps them: only the level is set then. Without ``VI_LOG`` only
    files of ours that other users can read or change are named.
    """
    from .._disk import logger as warnings_of_files

    logger = logging.getLogger("vi")
    if logger.handlers:
        return
    name = environ.get(LOG_VARIABLE, "").lower()
    level = _LEVELS.get("info" if name == "1" else name)
    if level is None and name not in ("", "0", "false", "no"):
        raise ViConfigurationError(f"{LOG_VARIABLE} must be one of {', '.join(_LEVELS)}, got {brief(name)}.")
    logger.addHandler(logging.NullHandler())
    shown, form = logger, "%(asctime)s %(levelname)s %(name)s: %(message)s"
    if level is None:
        shown, form = warnings_of_files, "%(message)s"
    else:
        logger.setLevel(level)
    if not logging.getLogger().handlers:
        handler = _StderrHandler()
        handler.setFormatter(_LogFormatter(form))
        shown.addHandler(handler)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property  # as in logging's own handler of last resort; typeshed knows an attribute only
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise AttributeError("the stream is sys.stderr")

    def emit(self, record: logging.LogRecord) -> None:
        put(sys.stderr, self.format(record), 0)


class _LogFormatter(logging.Formatter):
    """One printable line for each record, with secrets cut out; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
