"""The interface of a metadata database, the same for both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection], T]


class TooManyReadsError(Exception):
    """No reader became free in time, or a query exceeded its time limit."""


class DatabaseUnavailableError(Exception):
    """The database could not be reached for some time; nothing was changed."""


class CommitLostError(Exception):
    """The database went away during a commit: whether the changes were made is not known."""


class Metadata(Protocol):
    """Rows, read and written by functions of a connection. They may run twice, so they do nothing else."""

    async def read(self, work: Work[T]) -> T:
        """Run *work* in one consistent view; raises `TooManyReadsError`."""
        ...

    async def write(self, work: Work[T]) -> T:
        """Run *work* in a transaction; returns when it is durable. An error undoes the changes of this *work* only."""
        ...

    async def aclose(self) -> None:
        """Finish queued work and close."""
