"""What the log says of background work that failed and is tried again.

Where the database or the store is away, that is one line: a stack would say no more. Any other failure comes with its
stack.
"""

from __future__ import annotations

import logging

from .objects import StoreUnavailableError
from .store.metadata import CommitLostError, DatabaseUnavailableError, TooManyReadsError

logger: logging.Logger = logging.getLogger("vi.server")


def outage(error: BaseException) -> str | None:
    """Return what of the things that the service needs is away, in a few words; None for any other error."""
    if isinstance(error, DatabaseUnavailableError):
        return "the database cannot be reached"
    if isinstance(error, CommitLostError):
        return "the database went away during a commit"
    if isinstance(error, TooManyReadsError):
        return "too many slow queries run at once"
    if isinstance(error, StoreUnavailableError):
        return f"the store of bytes is not available ({error})"
    return None


def log_failure(error: Exception, message: str) -> None:
    """Log that work has failed with *error*; *message* says which, and what is done next."""
    reason = outage(error)
    if reason is None:
        logger.error("%s", message, exc_info=error)
    else:
        logger.warning("%s: %s", message, reason)
