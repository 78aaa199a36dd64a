"""Stored bytes that no row mentions any more: noted in the transaction that drops them, removed after it."""

from __future__ import annotations

import sqlalchemy as sa

from . import locks
from .schema import garbage


def discard(connection: sa.Connection, blobs: list[str]) -> list[str]:
    """Note that objects are to be removed after the commit, and return them."""
    if blobs:
        # In one order, so that two transactions never wait for each other.
        connection.execute(locks.insert_new(connection, garbage), [{"blob": blob} for blob in sorted(set(blobs))])
    return blobs


def discarded(connection: sa.Connection, blobs: list[str]) -> None:
    """Note that objects are gone."""
    connection.execute(garbage.delete().where(garbage.c.blob == sa.bindparam("gone")), [{"gone": b} for b in blobs])


def left(connection: sa.Connection) -> list[str]:
    """Return what was noted and not removed yet."""
    return list(connection.execute(sa.select(garbage.c.blob)).scalars())
