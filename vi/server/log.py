"""Errors of the service always reach somebody: stderr, in a program that has set up no handlers for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from typing import Any

from .._redact import expressible, printable, redact

logger: logging.Logger = logging.getLogger("vi.server")


class _LastResort(logging.Handler):
    """Writes warnings and errors to stderr, with secrets cut out, unless another handler gets them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if self._is_heard(record):
            return
        with contextlib.suppress(Exception):  # stderr may be gone or full, which must not stop the service
            text = printable(redact(self.format(record)), keep="\n")
            sys.stderr.write(f"{expressible(text, sys.stderr)}\n")
            sys.stderr.flush()

    def _is_heard(self, record: logging.LogRecord) -> bool:
        at: logging.Logger | None = logger
        while at is not None:
            others = [h for h in at.handlers if h is not self and not isinstance(h, logging.NullHandler)]
            if any(record.levelno >= handler.level for handler in others):
                return True
            at = at.parent if at.propagate else None
        return False


_last_resort = _LastResort()


def report_unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that nobody waits for; where a connection broke, in one line.

    A library has a task of its own that sends a body: the request has failed too, which is told where it is made.
    """
    error = context.get("exception")
    if isinstance(error, ConnectionError):
        logger.warning("A connection broke while something was sent: %s", type(error).__name__)
    else:
        loop.default_exception_handler(context)


def be_heard() -> None:
    """Have warnings and errors of the service written, from the first service of the process on."""
    if _last_resort not in logger.handlers:
        logger.addHandler(_last_resort)
