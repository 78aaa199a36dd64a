"""Which sessions are looked at for what clients have sent to the store itself, when, and by whom.

Such a session has a time in its row at which it is looked at next. Whoever looks moves it on first, so that no other
process does the same, and back when done; that of one that has died lapses.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from . import locks
from .schema import SessionState, ingest_item, ingestion_session

_LEASE_MS = 30_000
LONGEST_MS = 10_000
"""How long a session that nobody asks for is not looked at, at most."""
_SHORTEST_MS = 200
_AT_ONCE = 8


def due(connection: sa.Connection, now: int, asked: Collection[str]) -> list[int]:
    """Return the numbers of sessions whose time has come, or that are *asked* for by id and nobody looks at now."""
    at = ingestion_session.c.watched
    wanted = sa.and_(ingestion_session.c.id.in_(asked), at <= now + LONGEST_MS)
    statement = sa.select(ingestion_session.c.seq).where(
        ingestion_session.c.state == SessionState.OPEN, sa.or_(at <= now, wanted)
    )
    return list(connection.execute(statement.order_by(at).limit(_AT_ONCE)).scalars())


def take(connection: sa.Connection, seqs: Collection[int], now: int) -> list[sa.Row[Any]]:
    """Take those of the sessions that nobody else has taken."""
    free = sa.select(ingestion_session.c.seq).where(
        ingestion_session.c.seq.in_(seqs),
        ingestion_session.c.state == SessionState.OPEN,
        ingestion_session.c.watched <= now + LONGEST_MS,
    )
    if locks.are_needed(connection):
        free = free.with_for_update(skip_locked=True, key_share=True)
    taken = ingestion_session.update().where(ingestion_session.c.seq.in_(free)).values(watched=now + _LEASE_MS)
    return list(connection.execute(taken.returning(ingestion_session)))


def looked(connection: sa.Connection, row: sa.Row[Any], now: int, *, again: bool) -> None:
    """Say when a session is looked at next: soon *again*, or the later the longer nothing has changed in it."""
    pause = 0 if again else min(max(_SHORTEST_MS, (now - row.updated) // 8), LONGEST_MS)
    connection.execute(ingestion_session.update().where(ingestion_session.c.seq == row.seq).values(watched=now + pause))


def announced(connection: sa.Connection, session_seq: int, indexes: Collection[int]) -> dict[int, int | None]:
    """Return the CRC32C that was announced of each file of a session, or None, by number."""
    statement = sa.select(ingest_item.c.idx, ingest_item.c.crc32c).where(
        ingest_item.c.session_seq == session_seq, ingest_item.c.idx.in_(indexes)
    )
    return {row.idx: row.crc32c for row in connection.execute(statement)}
