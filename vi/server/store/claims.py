"""Which process does what, where several share one PostgreSQL database.

A claim is a time in a row, by the clock of the database, until which nobody else takes it. Its process renews it;
one that has died does not. Two may still do the same: what they find is applied once, because `settling` compares the
row. Rows are locked only if nobody holds them, so these statements wait for nobody, whatever order others lock in.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from . import multipart
from .schema import ItemState, SessionState, UploadState, ingest_item, ingestion_session, multipart_upload
from .sessions import Arrival

LEASE_SECONDS = 20.0
RENEW_SECONDS = 5.0

Place = tuple[int, int]
"""A session's number, and a file's in it."""


def _now() -> sa.ColumnElement[int]:
    seconds = sa.extract("epoch", sa.func.clock_timestamp())
    return sa.cast(sa.func.floor(seconds * 1000), sa.BigInteger)


def _lapses() -> sa.ColumnElement[int]:
    return _now() + int(LEASE_SECONDS * 1000)


def _free(table: Any) -> sa.ColumnElement[bool]:
    return sa.or_(table.c.claimed.is_(None), table.c.claimed <= _now())


def take(connection: sa.Connection, most: int) -> list[Arrival]:
    """Claim up to *most* files that have arrived, of every open session some.

    One that was claimed before is claimed alone: whatever ended the process then does not take others with it.
    """
    waiting = sa.and_(ingest_item.c.state == ItemState.ARRIVED, _free(ingest_item))
    sessions = list(
        connection.execute(
            sa.select(ingestion_session.c.seq)
            .where(
                ingestion_session.c.state == SessionState.OPEN,
                sa.exists().where(ingest_item.c.session_seq == ingestion_session.c.seq, waiting),
            )
            .order_by(sa.func.random())
            .limit(most)
        ).scalars()
    )
    if not sessions:
        return []
    of = sa.select(sa.func.unnest(sa.literal(sessions, sa.ARRAY(sa.BigInteger))).label("seq")).subquery()
    columns: list[sa.Column[Any]] = [
        ingest_item.c.session_seq, ingest_item.c.idx, ingest_item.c.blob, ingest_item.c.tries
    ]  # fmt: skip
    some = (
        sa.select(*columns)
        .where(ingest_item.c.session_seq == of.c.seq, waiting)
        .order_by(ingest_item.c.idx)
        .limit(-(-most // len(sessions)))
        .with_for_update(skip_locked=True)
        .lateral()
    )
    found = connection.execute(sa.select(some).select_from(of.join(some, sa.true())).limit(most)).all()
    again = [row for row in found if row.tries]
    chosen = again[:1] or found
    if chosen:
        connection.execute(
            ingest_item.update()
            .where(_among((row.session_seq, row.idx) for row in chosen))
            .values(claimed=_lapses(), tries=ingest_item.c.tries + 1)
        )
    return [Arrival(row.session_seq, row.idx, row.blob, 0, 0, tries=row.tries + 1) for row in chosen]


def _among(places: Any) -> sa.ColumnElement[bool]:
    return sa.tuple_(ingest_item.c.session_seq, ingest_item.c.idx).in_(list(places))


def _not_held(places: Collection[Place], *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return the condition of those files that meet *conditions* and that no other transaction holds now."""
    chosen = sa.select(ingest_item.c.session_seq, ingest_item.c.idx).where(_among(places), *conditions)
    locked = chosen.with_for_update(skip_locked=True).cte("locked")
    return sa.tuple_(ingest_item.c.session_seq, ingest_item.c.idx).in_(sa.select(locked))


def _claimed(places: Collection[Place]) -> sa.ColumnElement[bool]:
    return _not_held(places, ingest_item.c.state == ItemState.ARRIVED, ingest_item.c.claimed.is_not(None))


def renew(connection: sa.Connection, places: Collection[Place], uploads: Collection[int]) -> None:
    """Keep the claims on files and on multipart uploads."""
    if places:
        connection.execute(ingest_item.update().where(_claimed(places)).values(claimed=_lapses()))
    if uploads:
        held = (multipart_upload.c.seq.in_(uploads), multipart_upload.c.state == UploadState.COMPLETING)
        connection.execute(multipart_upload.update().where(*held).values(claimed=_lapses()))


def give_back(connection: sa.Connection, places: Collection[Place], uploads: Collection[int] = ()) -> None:
    """Let others take what is not done, at once and as if it had not been claimed."""
    if places:
        before = sa.func.greatest(ingest_item.c.tries - 1, 0)
        connection.execute(ingest_item.update().where(_claimed(places)).values(claimed=None, tries=before))
    if uploads:
        connection.execute(multipart_upload.update().where(multipart_upload.c.seq.in_(uploads)).values(claimed=None))


def take_upload(connection: sa.Connection) -> sa.Row[Any] | None:
    """Claim a multipart upload whose parts are to be joined."""
    found = connection.execute(
        sa.select(multipart_upload.c.seq)
        .join(ingestion_session, ingestion_session.c.seq == multipart_upload.c.session_seq)
        .where(
            multipart_upload.c.state == UploadState.COMPLETING,
            ingestion_session.c.state == SessionState.OPEN,
            _free(multipart_upload),
        )
        .order_by(multipart_upload.c.seq)
        .limit(1)
        .with_for_update(skip_locked=True, of=multipart_upload)
    ).scalar()
    if found is None:
        return None
    connection.execute(multipart_upload.update().where(multipart_upload.c.seq == found).values(claimed=_lapses()))
    return multipart.get(connection, found)


def hold_off(connection: sa.Connection, places: Collection[Place], until: int) -> None:
    """Note that files are arriving, so that their session does not give up on them before *until*."""
    waiting = _not_held(places, ingest_item.c.state == ItemState.WAITING)
    connection.execute(ingest_item.update().where(waiting).values(arriving=until))


def ended(connection: sa.Connection, session_ids: Collection[str]) -> list[str]:
    """Return those of *session_ids* that are no longer open."""
    among = ingestion_session.c.id == sa.any_(sa.literal(list(session_ids), sa.ARRAY(sa.Text)))
    open_ = sa.select(ingestion_session.c.id).where(among, ingestion_session.c.state == SessionState.OPEN)
    return list(set(session_ids) - set(connection.execute(open_).scalars()))


def expired(connection: sa.Connection, now: int) -> list[sa.Row[Any]]:
    """Return the open sessions whose time is over, but those that are watched until later."""
    late = (
        ingestion_session.c.state == SessionState.OPEN,
        ingestion_session.c.expiry <= now,
        ingestion_session.c.watched.is_(None),
    )
    return list(connection.execute(sa.select(ingestion_session).where(*late)))
