"""Datasets. A deleted dataset stays as a row with ``deleted`` set, so that clients can query its deletion."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ... import _routes
from ..http.api_errors import not_found
from . import locks, multipart
from .garbage import discard
from .schema import SessionState, asset, dataset, ingest_item, ingestion_session, multipart_upload

Row = sa.Row[Any]


def find(connection: sa.Connection, organization_id: str, name: str, *, keep: bool = False) -> Row:
    """Return the dataset that a path names; raises 404. With *keep*, it cannot be deleted during this transaction."""
    found = _find(connection, organization_id, name, keep=keep)
    if found is None or found.deleted is not None:
        raise not_found("Dataset", name)
    return found


def hold(connection: sa.Connection, row: Row) -> Row:
    """Lock a dataset until the end of the transaction, and return it."""
    if not locks.are_needed(connection):
        return row
    locks.lock_dataset(connection, row.seq)
    return connection.execute(sa.select(dataset).where(dataset.c.seq == row.seq)).one()


def find_deleted(connection: sa.Connection, organization_id: str, name: str) -> Row:
    """Return a deleted dataset that a path names; raises 404."""
    found = _find(connection, organization_id, name)
    if found is None or found.deleted is None:
        raise not_found("Deleted dataset", name)
    return found


def _find(connection: sa.Connection, organization_id: str, name: str, *, keep: bool = False) -> Row | None:
    identifier = _routes.short(organization_id, name)
    if not _routes.is_identifier(identifier):
        return None
    statement = sa.select(dataset).where(dataset.c.id == identifier, dataset.c.organization_id == organization_id)
    if keep:
        statement = statement.with_for_update(read=True)  # SQLite has one writer
    return connection.execute(statement).one_or_none()


def listed(organization_id: str) -> sa.Select[Any]:
    """Select the datasets of an organization."""
    return sa.select(dataset).where(dataset.c.organization_id == organization_id, dataset.c.deleted.is_(None))


def ids(connection: sa.Connection, organization_id: str) -> list[str]:
    """Return the ids of an organization's datasets."""
    statement = sa.select(dataset.c.id).where(dataset.c.organization_id == organization_id, dataset.c.deleted.is_(None))
    return list(connection.execute(statement.order_by(dataset.c.seq)).scalars())


def create(connection: sa.Connection, values: dict[str, Any]) -> Row:
    """Insert a dataset and return it."""
    return connection.execute(dataset.insert().values(**values).returning(dataset)).one()


def update(connection: sa.Connection, row: Row, changes: dict[str, Any], now: int) -> Row:
    """Change a dataset and return it."""
    statement = (
        dataset.update()
        .where(dataset.c.seq == row.seq)
        .values(**changes, updated=now, generation=dataset.c.generation + 1)
        .returning(dataset)
    )
    return connection.execute(statement).one()


def mark_deleted(connection: sa.Connection, row: Row, now: int) -> list[str]:
    """Hide a dataset and end its open sessions; returns their ids."""
    locks.lock_dataset(connection, row.seq)
    deleted = (dataset.c.seq == row.seq, dataset.c.deleted.is_(None))
    connection.execute(dataset.update().where(*deleted).values(deleted=now, updated=now))
    open_ = sa.and_(ingestion_session.c.dataset_seq == row.seq, ingestion_session.c.state == SessionState.OPEN)
    locks.lock_sessions(connection, open_)
    ended = list(connection.execute(sa.select(ingestion_session.c.id).where(open_)).scalars())
    connection.execute(
        ingestion_session.update()
        .where(open_)
        .values(state=SessionState.FAILED, reason="Cancelled", finished=now, updated=now)
    )
    return ended


def unpurged(connection: sa.Connection) -> list[int]:
    """Return the deleted datasets that still hold rows."""
    statement = sa.select(dataset.c.seq).where(dataset.c.deleted.is_not(None), dataset.c.purged.is_(None))
    return list(connection.execute(statement).scalars())


def purge(connection: sa.Connection, seq: int, now: int, limit: int, keep_since: int | None) -> list[str] | None:
    """Remove up to *limit* assets of a deleted dataset, then its sessions; None when nothing is left.

    Returns the objects that rows no longer mention. Sessions that ended at *keep_since* or later stay until
    `sessions.forget`, for a store whose sessions are swept some time after their end.
    """
    locks.lock_dataset(connection, seq)
    chosen = connection.execute(
        sa.select(asset.c.seq, asset.c.blob).where(asset.c.dataset_seq == seq).order_by(asset.c.seq).limit(limit)
    ).all()
    if chosen:
        connection.execute(asset.delete().where(asset.c.dataset_seq == seq, asset.c.seq <= chosen[-1].seq))
        return discard(connection, [row.blob for row in chosen])
    sessions = sa.select(ingestion_session.c.seq).where(ingestion_session.c.dataset_seq == seq)
    blobs = connection.execute(
        sa.select(ingest_item.c.blob).where(ingest_item.c.session_seq.in_(sessions), ingest_item.c.blob.is_not(None))
    ).scalars()
    parts = multipart.abort_all(connection, multipart_upload.c.session_seq.in_(sessions), now)
    discarded = discard(connection, [*blobs, *parts])
    connection.execute(ingest_item.delete().where(ingest_item.c.session_seq.in_(sessions)))
    connection.execute(multipart_upload.delete().where(multipart_upload.c.session_seq.in_(sessions)))
    over = ingestion_session.c.dataset_seq == seq
    if keep_since is not None:
        over = sa.and_(over, ingestion_session.c.finished < keep_since)
    connection.execute(ingestion_session.delete().where(over))
    connection.execute(dataset.update().where(dataset.c.seq == seq).values(purged=now))
    return discarded or None


def used_bytes(connection: sa.Connection, organization_id: str) -> int:
    """Return how many bytes the assets of an organization use."""
    statement = sa.select(sa.func.coalesce(sa.func.sum(dataset.c.byte_total), 0)).where(
        dataset.c.organization_id == organization_id, dataset.c.deleted.is_(None)
    )
    return int(connection.execute(statement).scalar_one())
