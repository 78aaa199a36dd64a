"""Locks between writers: PostgreSQL locks rows, always in the same order; SQLite has one writer and needs none.

The order is dataset, session, the rest. Changing assets or counters locks the row of their dataset, so asset numbers
are assigned in commit order; changing the files of a session locks its row. Anything read before a lock is read again
after it. That is enough, because each statement sees everything committed before it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from .schema import dataset, ingestion_session, multipart_upload


def are_needed(connection: sa.Connection) -> bool:
    """Return whether other writers may be active."""
    return connection.dialect.name != "sqlite"


def lock_dataset(connection: sa.Connection, seq: int) -> None:
    """Lock a dataset until the end of the transaction."""
    _lock(connection, dataset, dataset.c.seq == seq)


def lock_datasets_of(connection: sa.Connection, sessions: Collection[int]) -> None:
    """Lock the datasets of sessions."""
    if are_needed(connection):
        of = sa.select(ingestion_session.c.dataset_seq).where(ingestion_session.c.seq.in_(sessions))
        _lock(connection, dataset, dataset.c.seq.in_(of))


def lock_sessions(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Lock sessions until the end of the transaction."""
    _lock(connection, ingestion_session, which)


def lock_uploads(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Lock multipart uploads until the end of the transaction."""
    _lock(connection, multipart_upload, which)


def _lock(connection: sa.Connection, table: sa.Table, which: sa.ColumnElement[bool]) -> None:
    if are_needed(connection):
        statement = sa.select(table.c.seq).where(which).order_by(table.c.seq)
        connection.execute(statement.with_for_update(key_share=True)).all()


def lock_word(connection: sa.Connection, word: str) -> None:
    """Lock a name that has no row yet until the end of the transaction."""
    if are_needed(connection):
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(word, 0))))


def lock_quota(connection: sa.Connection) -> None:
    """Hold what is left of the quota until the end of the transaction; after every other lock."""
    lock_word(connection, "quota")


def insert_new(connection: sa.Connection, table: sa.Table) -> sa.Insert:
    """Return an insert that skips existing rows."""
    if connection.dialect.name == "sqlite":
        return table.insert().prefix_with("OR IGNORE")
    from sqlalchemy.dialects.postgresql import insert

    found: Any = insert(table).on_conflict_do_nothing()
    return found  # type: ignore[no-any-return]
