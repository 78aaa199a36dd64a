"""Ingestion sessions and the objects that arrive for them (protocol section 9)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from ..http.api_errors import existing
from . import locks, multipart
from .datasets import used_bytes
from .garbage import discard
from .schema import ItemState, SessionState, dataset, ingest_item, ingestion_session, multipart_upload

Row = sa.Row[Any]

CANCELLED = "Cancelled"
ASSET_FAILED = "AssetFailed"


@attrs.frozen
class Arrival:
    """A stored object; *repeated* if the same file had one before."""

    session_seq: int
    index: int
    blob: str | None
    size: int
    crc32c: int | None
    """None where it is unknown: such an object is never taken for an earlier one."""
    repeated: bool = False
    tries: int = 0
    """How often it was claimed, where several processes look at files."""


@attrs.define
class Item:
    """A file of a session as announced, and its state when the session is created."""

    idx: int
    filename: str
    kind: str
    mime: str
    size: int
    crc32c: int | None
    custom_metadata: dict[str, Any] | None
    state: int
    error: str | None
    settled: int | None
    reason: str | None = None


@attrs.frozen
class Recorded:
    """The result for each arrival: whether its session was still open, and whether to inspect it."""

    open: list[bool]
    inspect: list[bool]
    discarded: list[str]


def create(connection: sa.Connection, session: dict[str, Any], items: Sequence[Item]) -> Row:
    """Insert a session and its files, and return it."""
    row = connection.execute(ingestion_session.insert().values(**session).returning(ingestion_session)).one()
    names = [field.name for field in attrs.fields(Item)]
    connection.execute(
        ingest_item.insert(), [{"session_seq": row.seq, **{n: getattr(item, n) for n in names}} for item in items]
    )
    return row


def find(connection: sa.Connection, dataset_seq: int, identifier: str) -> Row:
    """Return one session; raises 404."""
    statement = listed(dataset_seq).where(ingestion_session.c.id == identifier)
    return existing(connection.execute(statement).one_or_none(), "Ingestion session", identifier)


def listed(dataset_seq: int) -> sa.Select[Any]:
    """Select the sessions of a dataset."""
    return sa.select(ingestion_session).where(ingestion_session.c.dataset_seq == dataset_seq)


def listed_with_dataset(organization_id: str) -> sa.Select[Any]:
    """Select the sessions of an organization, with id and name of their dataset."""
    return (
        sa.select(ingestion_session, dataset.c.id.label("dataset_id"), dataset.c.name.label("dataset_name"))
        .join(dataset, dataset.c.seq == ingestion_session.c.dataset_seq)
        .where(dataset.c.organization_id == organization_id, dataset.c.deleted.is_(None))
    )


def begins_upload() -> sa.ColumnElement[bool]:
    """Return the condition of the first session of each upload; a session without an upload counts as one."""
    other = ingestion_session.alias("other")
    first = (
        sa.select(sa.func.min(other.c.seq))
        .where(other.c.dataset_seq == ingestion_session.c.dataset_seq, other.c.upload == ingestion_session.c.upload)
        .scalar_subquery()
    )
    return sa.or_(ingestion_session.c.upload.is_(None), ingestion_session.c.seq == first)


def of_upload(connection: sa.Connection, row: Row) -> list[Row]:
    """Return the sessions of the upload that a session belongs to, the oldest first."""
    if row.upload is None:
        return [row]
    same = listed(row.dataset_seq).where(ingestion_session.c.upload == row.upload)
    return list(connection.execute(same.order_by(ingestion_session.c.seq)))


def held_bytes(connection: sa.Connection, organization_id: str) -> int:
    """Return how many bytes an organization uses: its assets, and files announced by open sessions.

    A file counts once for each of its multipart uploads, because each has its own parts.
    """
    locks.lock_quota(connection)
    mine = (
        ingestion_session.c.state == SessionState.OPEN,
        dataset.c.organization_id == organization_id,
        dataset.c.deleted.is_(None),
    )
    sessions = sa.select(ingestion_session.c.seq).join(dataset, dataset.c.seq == ingestion_session.c.dataset_seq)
    announced = sa.select(sa.func.coalesce(sa.func.sum(ingest_item.c.size), 0)).where(
        ingest_item.c.session_seq.in_(sessions.where(*mine)),
        ingest_item.c.state.in_((ItemState.WAITING, ItemState.ARRIVED)),
    )
    return (
        used_bytes(connection, organization_id)
        + int(connection.execute(announced).scalar_one())
        + multipart.repeated_bytes(connection, sessions.where(*mine))
    )


def items(connection: sa.Connection, session_seq: int) -> Sequence[Row]:
    """Return every file of a session, in the order of the request."""
    statement = sa.select(ingest_item).where(ingest_item.c.session_seq == session_seq)
    return connection.execute(statement.order_by(ingest_item.c.idx)).all()


def errors(connection: sa.Connection, session_seqs: Collection[int]) -> dict[int, list[Row]]:
    """Return the failed files of sessions, by session, in the order in which they were settled."""
    found: dict[int, list[Row]] = defaultdict(list)
    for row in connection.execute(_errors.where(ingest_item.c.session_seq.in_(session_seqs))):
        found[row.session_seq].append(row)
    return found


def first_errors(connection: sa.Connection, session: Row, limit: int) -> list[Row]:
    """Return the first failed files of a session."""
    if not session.errored:
        return []
    return list(connection.execute(_errors.where(ingest_item.c.session_seq == session.seq).limit(limit)))


_error_columns: list[sa.Column[Any]] = [
    ingest_item.c.session_seq,
    ingest_item.c.filename,
    ingest_item.c.error,
    ingest_item.c.settled,
    ingest_item.c.reason,
]
_errors = (
    sa.select(*_error_columns)
    .where(ingest_item.c.error.is_not(None))
    .order_by(ingest_item.c.settled, ingest_item.c.idx)
)


def open_sessions(connection: sa.Connection) -> Sequence[Row]:
    """Return the open sessions."""
    statement = sa.select(ingestion_session).where(ingestion_session.c.state == SessionState.OPEN)
    return connection.execute(statement).all()


def touched(connection: sa.Connection, session_seq: int) -> Sequence[Row]:
    """Return number, state and object of the files of a session that have a result."""
    columns: list[sa.Column[Any]] = [ingest_item.c.idx, ingest_item.c.state, ingest_item.c.blob]
    statement = sa.select(*columns).where(
        ingest_item.c.session_seq == session_seq, ingest_item.c.state != ItemState.WAITING
    )
    return connection.execute(statement).all()


def record(connection: sa.Connection, arrivals: Sequence[Arrival]) -> Recorded:
    """Record objects as arrived, unless their session has ended; the last complete object of a file counts."""
    if locks.are_needed(connection):
        arrivals = _locked(connection, arrivals)
    count, repeated = len(arrivals), any(arrival.repeated for arrival in arrivals)
    # Usually one statement is enough: no file arrived twice, and all sessions are open.
    if not repeated and connection.execute(_arrived, [_values(arrival) for arrival in arrivals]).rowcount == count:
        return Recorded([True] * count, [True] * count, [])
    recorded = Recorded([], [], [])
    for arrival in arrivals:
        _record_one(connection, arrival, recorded)
    discard(connection, recorded.discarded)
    return recorded


def _locked(connection: sa.Connection, arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
    """Lock the sessions of *arrivals* and read again which objects came before: other processes receive objects too."""
    seqs = {arrival.session_seq for arrival in arrivals}
    locks.lock_sessions(connection, ingestion_session.c.seq.in_(seqs))
    waiting: set[tuple[int, int]] = set()
    for seq in seqs:
        indexes = [arrival.index for arrival in arrivals if arrival.session_seq == seq]
        statement = sa.select(ingest_item.c.idx).where(
            ingest_item.c.session_seq == seq,
            ingest_item.c.idx.in_(indexes),
            ingest_item.c.state == ItemState.WAITING,
        )
        waiting.update((seq, index) for index in connection.execute(statement).scalars())
    found = []
    for arrival in arrivals:
        place = (arrival.session_seq, arrival.index)
        found.append(attrs.evolve(arrival, repeated=place not in waiting))
        waiting.discard(place)  # the same file again in this round
    return found


def _record_one(connection: sa.Connection, arrival: Arrival, recorded: Recorded) -> None:
    same = arrival.repeated and _replace(connection, arrival, recorded.discarded)
    noted = not same and connection.execute(_arrived, [_values(arrival)]).rowcount == 1
    if not noted and arrival.blob is not None:
        recorded.discarded.append(arrival.blob)
    recorded.open.append(noted or same)
    recorded.inspect.append(noted)


_arrived = (
    ingest_item.update()
    .where(
        ingest_item.c.session_seq == sa.bindparam("of_session"),
        ingest_item.c.idx == sa.bindparam("of_index"),
        sa.exists().where(
            ingestion_session.c.seq == sa.bindparam("of_session"), ingestion_session.c.state == SessionState.OPEN
        ),
    )
    .values(
        state=ItemState.ARRIVED,
        blob=sa.bindparam("new_blob"),
        stored_size=sa.bindparam("new_size"),
        stored_crc=sa.bindparam("new_crc"),
        error=None,
        settled=None,
        reason=None,
        claimed=None,
        tries=0,
    )
)


def _values(arrival: Arrival) -> dict[str, Any]:
    return {
        "of_session": arrival.session_seq,
        "of_index": arrival.index,
        "new_blob": arrival.blob,
        "new_size": arrival.size,
        "new_crc": arrival.crc32c,
    }


def _replace(connection: sa.Connection, arrival: Arrival, discarded: list[str]) -> bool:
    """Undo the result of an earlier object of the file; true if its bytes were the same, so its result stays."""
    before = connection.execute(
        sa.select(ingest_item)
        .join(ingestion_session, ingestion_session.c.seq == ingest_item.c.session_seq)
        .where(
            ingest_item.c.session_seq == arrival.session_seq,
            ingest_item.c.idx == arrival.index,
            ingestion_session.c.state == SessionState.OPEN,
        )
    ).one_or_none()
    if before is None:
        return False
    known = arrival.crc32c is not None
    same = known and before.stored_size == arrival.size and before.stored_crc == arrival.crc32c
    if same and before.state == ItemState.DONE:
        return True
    if before.blob is not None:
        discarded.append(before.blob)
    counter = {ItemState.DONE: "succeeded", ItemState.ERRORED: "errored"}.get(before.state)
    if counter is not None:
        column = ingestion_session.c[counter]
        connection.execute(
            ingestion_session.update()
            .where(ingestion_session.c.seq == arrival.session_seq)
            .values({counter: column - 1})
        )
    return False


def cancel(connection: sa.Connection, row: Row, now: int) -> list[str]:
    """Cancel a session; returns the objects to remove. An ended session does not change."""
    locks.lock_sessions(connection, ingestion_session.c.seq == row.seq)
    state = sa.select(ingestion_session.c.state).where(ingestion_session.c.seq == row.seq)
    if connection.execute(state).scalar() != SessionState.OPEN:
        return []
    return end(connection, row.seq, SessionState.FAILED, CANCELLED, now)


def end(connection: sa.Connection, seq: int, state: str, reason: str | None, now: int) -> list[str]:
    """End a session and drop objects that are not ingested. Returns the objects to remove."""
    connection.execute(
        ingestion_session.update()
        .where(ingestion_session.c.seq == seq)
        .values(state=state, reason=reason, finished=now, updated=now, generation=ingestion_session.c.generation + 1)
    )
    left = sa.and_(ingest_item.c.session_seq == seq, ingest_item.c.state == ItemState.ARRIVED)
    found = list(connection.execute(sa.select(ingest_item.c.blob).where(left)).scalars())
    if found:
        # They will not be inspected, so they must not stay among those that wait for inspection.
        connection.execute(ingest_item.update().where(left).values(blob=None, state=ItemState.WAITING))
    blobs = [blob for blob in found if blob is not None]
    return discard(connection, blobs + multipart.abort_all(connection, multipart_upload.c.session_seq == seq, now))


def forget(connection: sa.Connection, before: int) -> None:
    """Remove the files of sessions that ended before a time, except failed ones, whose errors are still shown.

    The sessions of purged datasets go too.
    """
    old = sa.select(ingestion_session.c.seq).where(
        ingestion_session.c.state != SessionState.OPEN, ingestion_session.c.finished < before
    )
    connection.execute(ingest_item.delete().where(ingest_item.c.session_seq.in_(old), ingest_item.c.error.is_(None)))
    purged = sa.select(dataset.c.seq).where(dataset.c.purged.is_not(None))
    connection.execute(
        ingestion_session.delete().where(
            ingestion_session.c.dataset_seq.in_(purged), ingestion_session.c.finished < before
        )
    )


def mentioned(connection: sa.Connection, blobs: Iterable[str]) -> set[str]:
    """Return those of *blobs* that still wait for inspection."""
    statement = sa.select(ingest_item.c.blob).join(
        ingestion_session, ingestion_session.c.seq == ingest_item.c.session_seq
    )
    waiting = statement.where(ingestion_session.c.state == SessionState.OPEN, ingest_item.c.blob.is_not(None))
    return set(blobs) & set(connection.execute(waiting).scalars())
