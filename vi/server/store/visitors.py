"""Browsers that are logged in to the gallery, where several processes show it; and the tickets that log one in."""

from __future__ import annotations

import sqlalchemy as sa

from .locks import insert_new
from .schema import visitor

IDLE_MS = 12 * 3600 * 1000
_TICKET = "ticket "
_STEP_MS = 60_000
"""How exactly it is kept when a browser was last seen: not every page is worth a transaction."""


def add(connection: sa.Connection, digest: str, access: str | None, now: int) -> bool:
    """Take in a browser, by the digests of its token and of the key that it showed; false if it was there."""
    inserted = insert_new(connection, visitor).values(digest=digest, access=access, seen=now)
    return connection.execute(inserted.returning(visitor.c.digest)).first() is not None


def find(connection: sa.Connection, digest: str, now: int) -> sa.Row[str | None, int] | None:
    """Return the digest of the key of a browser that is logged in, and when it was last seen."""
    statement = sa.select(visitor.c.access, visitor.c.seen).where(
        visitor.c.digest == digest, visitor.c.seen > now - IDLE_MS
    )
    return connection.execute(statement).one_or_none()


def is_seen(row: sa.Row[str | None, int], now: int) -> bool:
    """Tell whether it is to be noted that a browser was seen."""
    return now - int(row.seen) >= _STEP_MS


def note(connection: sa.Connection, digest: str, now: int) -> None:
    """Note that a browser was seen."""
    connection.execute(visitor.update().where(visitor.c.digest == digest).values(seen=now))


def drop(connection: sa.Connection, digest: str) -> None:
    """Log a browser out."""
    connection.execute(visitor.delete().where(visitor.c.digest == digest))


def use_ticket(connection: sa.Connection, digest: str, now: int) -> bool:
    """Note that a ticket is used; false if it was before."""
    return add(connection, _TICKET + digest, None, now)


def forget(connection: sa.Connection, now: int) -> None:
    """Drop those that were not seen for a while."""
    connection.execute(visitor.delete().where(visitor.c.seen <= now - IDLE_MS))
