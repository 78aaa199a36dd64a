"""Stored bytes that no row mentions any more: noted in the transaction that drops them, removed after it."""

from __future__ import annotations

import sqlalchemy as sa

from .schema import garbage


def discard(connection: sa.Connection, blobs: list[str]) -> list[str]:
    """Note that objects are to be removed after the commit, and return them."""
    if blobs:
        connection.execute(
            garbage.insert().prefix_with("OR IGNORE", dialect="sqlite"), [{"blob": blob} for blob in blobs]
        )
    return blobs


def discarded(connection: sa.Connection, blobs: list[str]) -> None:
    """Note that objects are gone."""
    connection.execute(garbage.delete().where(garbage.c.blob == sa.bindparam("gone")), [{"gone": b} for b in blobs])


def left(connection: sa.Connection) -> list[str]:
    """Return what was noted and not removed yet."""
    return list(connection.execute(sa.select(garbage.c.blob)).scalars())
