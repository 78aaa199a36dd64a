"""What keeps writers apart: on SQLite there is one and nothing is locked, on PostgreSQL rows are, in one order.

The order is dataset, session, the rest. Whoever changes assets or counters holds the row of their dataset, so numbers
of assets are given out in the order of the commits, and whoever changes the files of a session holds its row. What was
read before a lock is read again after it. Nothing else is needed: each statement sees what was committed before it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from .schema import dataset, ingestion_session, multipart_upload


def are_needed(connection: sa.Connection) -> bool:
    """Tell whether others may write at the same time."""
    return connection.dialect.name != "sqlite"


def lock_dataset(connection: sa.Connection, seq: int) -> None:
    """Hold a dataset until the end of the transaction."""
    _lock(connection, dataset, dataset.c.seq == seq)


def lock_datasets_of(connection: sa.Connection, sessions: Collection[int]) -> None:
    """Hold the datasets of sessions."""
    if are_needed(connection):
        of = sa.select(ingestion_session.c.dataset_seq).where(ingestion_session.c.seq.in_(sessions))
        _lock(connection, dataset, dataset.c.seq.in_(of))


def lock_sessions(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Hold sessions until the end of the transaction."""
    _lock(connection, ingestion_session, which)


def lock_uploads(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Hold multipart uploads until the end of the transaction."""
    _lock(connection, multipart_upload, which)


def _lock(connection: sa.Connection, table: sa.Table, which: sa.ColumnElement[bool]) -> None:
    if are_needed(connection):
        statement = sa.select(table.c.seq).where(which).order_by(table.c.seq)
        connection.execute(statement.with_for_update(key_share=True)).all()


def lock_word(connection: sa.Connection, word: str) -> None:
    """Hold a word that has no row yet until the end of the transaction."""
    if are_needed(connection):
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(word, 0))))


def insert_new(connection: sa.Connection, table: sa.Table) -> sa.Insert:
    """Return an insert that skips the rows that are there."""
    if connection.dialect.name == "sqlite":
        return table.insert().prefix_with("OR IGNORE")
    from sqlalchemy.dialects.postgresql import insert

    found: Any = insert(table).on_conflict_do_nothing()
    return found  # type: ignore[no-any-return]
