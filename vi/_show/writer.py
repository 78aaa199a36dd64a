"""The one way to the terminal. Output is decoration: what happens to it never reaches the work.

A standard stream may be closed, None, an object with ``write`` alone, a full disk, a pipe without a reader, or a pipe
whose reader does not read. Nothing here raises, and nothing waits for a reader longer than the given time. What a
stream has not taken is dropped from its buffer as well, or the interpreter would fail on it once more at exit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from typing import Any, TextIO

from .._redact import expressible

MESSAGE_SECONDS = 5.0
"""How long a message waits for a reader; progress does not wait, and data waits as long as it takes."""


def is_terminal(stream: Any) -> bool:
    """Tell whether *stream* is a terminal; what cannot say is none."""
    try:
        return bool(stream.isatty())
    except Exception:  # noqa: BLE001 - a replaced stream may raise anything
        return False


def size_of(stream: Any) -> tuple[int, int]:
    """Return columns and lines of a terminal, 0 where it does not say; what is none has no size."""
    with contextlib.suppress(Exception):  # a replaced stream may have no descriptor
        if is_terminal(stream):
            size = os.get_terminal_size(stream.fileno())
            return size.columns, size.lines
    return 0, 0


def columns_of(stream: Any) -> int | None:
    """Return the columns of a terminal; None if it is none or does not say: a pipe gets lines as they are."""
    return size_of(stream)[0] or None


def put(stream: TextIO | None, text: str, seconds: float | None = None, *, end: str = "\n") -> OSError | None:
    """Write *text* and *end*, waiting at most *seconds* for the reader, and return why it could not be written."""
    if stream is None:
        return OSError(errno.EBADF, os.strerror(errno.EBADF))
    if seconds is not None and not _takes(stream, seconds):
        return OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    try:
        _write(stream, text, end)
    except OSError as error:
        _drop_pending(stream)
        return error
    except Exception as error:  # noqa: BLE001 - a closed file is a ValueError, and a stand-in may raise anything
        return OSError(errno.EIO, str(error) or type(error).__name__)
    return None


def _write(stream: TextIO, text: str, end: str) -> None:
    try:
        print(text, end=end, file=stream)
    except UnicodeEncodeError:
        print(expressible(text, stream), end=end, file=stream)
    flush = getattr(stream, "flush", None)
    if flush is not None:
        flush()


def _takes(stream: TextIO, seconds: float) -> bool:
    """Tell whether a write would not wait, as far as the system says so."""
    if sys.platform == "win32":  # it has no poll
        return True
    try:
        waiting = select.poll()
        waiting.register(stream.fileno(), select.POLLOUT)
        return bool(waiting.poll(seconds * 1000))
    except Exception:  # noqa: BLE001 - a stream without a descriptor
        return True


def _drop_pending(stream: TextIO) -> None:
    """Empty the buffer of a stream into nothing."""
    with contextlib.suppress(Exception):
        descriptor = stream.fileno()
        kept = os.dup(descriptor)
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, descriptor)
            os.close(nothing)
            stream.flush()
        finally:
            os.dup2(kept, descriptor)
            os.close(kept)
