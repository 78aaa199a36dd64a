"""Stored objects to remove: recorded in the transaction that drops their rows, removed after its commit."""

from __future__ import annotations

import sqlalchemy as sa

from . import locks
from .schema import garbage


def discard(connection: sa.Connection, blobs: list[str]) -> list[str]:
    """Record objects to be removed after the commit, and return them."""
    if blobs:
        # Sorted, so that two transactions never deadlock.
        connection.execute(locks.insert_new(connection, garbage), [{"blob": blob} for blob in sorted(set(blobs))])
    return blobs


def discarded(connection: sa.Connection, blobs: list[str]) -> None:
    """Record that objects were removed."""
    connection.execute(
        garbage.delete().where(garbage.c.blob == sa.bindparam("gone")), [{"gone": b} for b in sorted(blobs)]
    )


def left(connection: sa.Connection) -> list[str]:
    """Return the objects that are still to be removed."""
    return list(connection.execute(sa.select(garbage.c.blob)).scalars())
