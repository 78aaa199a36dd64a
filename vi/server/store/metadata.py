"""What the service asks of a database, whichever engine it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection], T]


class TooManyReadsError(Exception):
    """No reader became free in time, or a query took longer than any may."""


class Metadata(Protocol):
    """Rows, read and written by functions of a connection that touch nothing else: they may run more than once."""

    async def read(self, work: Work[T]) -> T:
        """Run *work* in one consistent view; raises `TooManyReadsError`."""

    async def write(self, work: Work[T]) -> T:
        """Run *work* in a transaction; returns when it is durable. An error of *work* undoes its changes alone."""

    async def aclose(self) -> None:
        """Finish what was asked for and close."""
