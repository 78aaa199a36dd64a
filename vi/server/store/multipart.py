"""Multipart uploads of single files of a session (protocol section 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from ..disk.blobs import PARTS
from ..http.api_errors import ApiError, existing, invalid, not_found
from . import locks
from .garbage import discard
from .schema import (
    ItemState,
    SessionState,
    UploadState,
    dataset,
    ingest_item,
    ingestion_session,
    multipart_part,
    multipart_upload,
)

Row = sa.Row[Any]

MAX_PARTS = 10_000


@attrs.frozen
class Part:
    """A part whose bytes are stored under *file*; one that was sent to the store itself has no file and CRC32C."""

    number: int
    file: str
    etag: str
    crc32c: int
    size: int


def part_count(size: int, part_bytes: int) -> int:
    """Return the number of parts of a file: each at most *part_bytes*, unless that gives too many parts."""
    # The last part takes the remainder, so it must fit as well.
    count = min(max(1, -(-size // part_bytes)), MAX_PARTS, max(1, size))
    while count < min(MAX_PARTS, size) and size - (count - 1) * (size // count) > part_bytes:
        count += 1
    return count


def part_size(size: int, count: int, number: int) -> int:
    """Return the size of part *number*, from 1 (section 10.2)."""
    quotient = size // count
    return size - quotient * (count - 1) if number == count else quotient


def find_item(connection: sa.Connection, dataset_seq: int, ingestion_id: str, filename: str, size: int) -> Row:
    """Return the file that a multipart upload is for, if its session is open."""
    row = connection.execute(
        sa.select(ingest_item.c.idx, ingest_item.c.size, ingest_item.c.state.label("item_state"), ingestion_session)
        .join(ingestion_session, ingestion_session.c.seq == ingest_item.c.session_seq)
        .where(
            ingestion_session.c.ingestion_id == ingestion_id,
            ingestion_session.c.dataset_seq == dataset_seq,
            ingest_item.c.filename == filename,
        )
        .with_for_update(read=True, of=ingestion_session)  # so that it cannot end during this transaction
    ).one_or_none()
    if row is None or row.item_state == ItemState.REFUSED:
        raise not_found("File", f"{filename} of ingestion {ingestion_id}")
    if row.state != SessionState.OPEN:
        raise ApiError(410, f"Ingestion {ingestion_id} has ended")
    if row.size != size:
        raise invalid(f"sizeBytes is {size}, but the session announced {row.size}", "spec.sizeBytes")
    return row


def create(connection: sa.Connection, values: dict[str, Any]) -> Row:
    """Insert an upload and return it with its session."""
    seq = connection.execute(multipart_upload.insert().values(**values).returning(multipart_upload.c.seq)).scalar_one()
    return get(connection, int(seq))


_uploads = sa.select(
    multipart_upload,
    ingestion_session.c.id.label("session_id"),
    ingestion_session.c.ingestion_id,
    ingestion_session.c.dataset_seq,
    ingestion_session.c.state.label("session_state"),
    ingestion_session.c.watched,
    ingestion_session.c.source_class,
    ingestion_session.c.source_provider,
    ingestion_session.c.source_id,
).join(ingestion_session, ingestion_session.c.seq == multipart_upload.c.session_seq)


def get(connection: sa.Connection, seq: int) -> Row:
    """Return an upload with its session."""
    return connection.execute(_uploads.where(multipart_upload.c.seq == seq)).one()


def find(connection: sa.Connection, dataset_seq: int, identifier: str) -> Row:
    """Return an upload of a dataset; raises 404."""
    statement = _uploads.where(multipart_upload.c.id == identifier, ingestion_session.c.dataset_seq == dataset_seq)
    return existing(connection.execute(statement).one_or_none(), "Multipart upload", identifier)


def find_stored(connection: sa.Connection, identifier: str) -> Row:
    """Return the upload that a signed part URL is for; raises 410 once it has ended."""
    found = connection.execute(_uploads.where(multipart_upload.c.id == identifier)).one_or_none()
    if found is None or found.state != UploadState.OPEN or found.session_state != SessionState.OPEN:
        raise ApiError(410, f"Multipart upload {identifier} has ended")
    return found


def extend(connection: sa.Connection, row: Row, number: int, expiry: int) -> None:
    """Extend an upload to the expiry of a part URL."""
    require_open(row)
    require_part(row, number)
    connection.execute(multipart_upload.update().where(multipart_upload.c.seq == row.seq).values(expiry=expiry))


def require_open(row: Row) -> None:
    """Raise 410 for an upload that is completed, aborted, or whose session has ended."""
    if row.state != UploadState.OPEN or row.session_state != SessionState.OPEN:
        raise ApiError(410, f"Multipart upload {row.id} has ended")


def require_part(row: Row, number: int) -> None:
    """Raise 404 for a part that the upload does not have."""
    if not 1 <= number <= row.part_count:
        raise not_found("Part", f"{number} of multipart upload {row.id}")


def note_begun(connection: sa.Connection, seq: int, begun: str) -> None:
    """Record what the store calls an upload, unless it has one already."""
    upload = sa.and_(multipart_upload.c.seq == seq, multipart_upload.c.begun.is_(None))
    connection.execute(multipart_upload.update().where(upload).values(begun=begun))


def store_part(connection: sa.Connection, identifier: str, part: Part) -> str | None:
    """Record a part as stored; returns the file that it replaces."""
    locks.lock_uploads(connection, multipart_upload.c.id == identifier)
    upload = find_stored(connection, identifier)
    mine = sa.and_(multipart_part.c.upload_seq == upload.seq, multipart_part.c.number == part.number)
    before = connection.execute(sa.select(multipart_part.c.file).where(mine)).scalar_one_or_none()
    connection.execute(multipart_part.delete().where(mine))
    connection.execute(multipart_part.insert().values(upload_seq=upload.seq, completed=False, **attrs.asdict(part)))
    return before


def _held(connection: sa.Connection, row: Row) -> Row:
    """Lock an upload and return its current row."""
    if not locks.are_needed(connection):
        return row
    locks.lock_uploads(connection, multipart_upload.c.seq == row.seq)
    return get(connection, row.seq)


def complete_part(connection: sa.Connection, row: Row, number: int, etag: str) -> None:
    """Record a part as reported by the client; raises 400 if the stored part differs."""
    row = _held(connection, row)
    require_open(row)
    require_part(row, number)
    changed = connection.execute(
        multipart_part.update()
        .where(multipart_part.c.upload_seq == row.seq, multipart_part.c.number == number, multipart_part.c.etag == etag)
        .values(completed=True)
    ).rowcount
    if not changed:
        raise invalid(f"The ETag of part {number} is not that of what is stored", "responseHeaders.ETag")


def complete(connection: sa.Connection, row: Row, now: int) -> bool:
    """Begin to join the parts; raises 409 if one is missing. False if joining has already begun."""
    row = _held(connection, row)
    if row.state in (UploadState.COMPLETING, UploadState.DONE):
        return False
    require_open(row)
    done = connection.execute(
        sa.select(sa.func.count())
        .select_from(multipart_part)
        .where(multipart_part.c.upload_seq == row.seq, multipart_part.c.completed.is_(True))
    ).scalar_one()
    if done != row.part_count:
        raise ApiError(409, f"{row.part_count - done} of {row.part_count} parts are not completed")
    _move(connection, row.seq, UploadState.COMPLETING, now)
    return True


def abort(connection: sa.Connection, row: Row, now: int) -> list[str]:
    """Abort an upload, unless it was completed; returns the parts to remove after the commit."""
    row = _held(connection, row)
    if row.state != UploadState.OPEN:
        return []
    return discard(connection, abort_all(connection, multipart_upload.c.seq == row.seq, now))


def abort_all(connection: sa.Connection, which: sa.ColumnElement[bool], now: int) -> list[str]:
    """Abort unfinished uploads; returns their parts, to be discarded."""
    which = sa.and_(which, multipart_upload.c.state.in_((UploadState.OPEN, UploadState.COMPLETING)))
    locks.lock_uploads(connection, which)
    rows = connection.execute(_uploads.where(which)).all()
    if rows:
        connection.execute(multipart_part.delete().where(multipart_part.c.upload_seq.in_([row.seq for row in rows])))
        connection.execute(multipart_upload.update().where(which).values(state=UploadState.ABORTED, updated=now))
    return [f"{PARTS}{row.session_id}/{row.id}" for row in rows]


def repeated_bytes(connection: sa.Connection, sessions: sa.Select[Any]) -> int:
    """Return the bytes of the open uploads of *sessions* beyond one for each file, whose size the session counts."""
    size, number = multipart_upload.c.size, sa.func.count()
    each = (
        sa.select((size * (number - 1)).label("more"))
        .where(
            multipart_upload.c.session_seq.in_(sessions),
            multipart_upload.c.state.in_((UploadState.OPEN, UploadState.COMPLETING)),
        )
        .group_by(multipart_upload.c.session_seq, multipart_upload.c.idx, size)
        .subquery()
    )
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(each.c.more), 0))).scalar_one())


def count_open(connection: sa.Connection, session_seq: int, index: int) -> int:
    """Return how many open uploads a file of a session has."""
    statement = sa.select(sa.func.count()).select_from(multipart_upload)
    mine = (multipart_upload.c.session_seq == session_seq, multipart_upload.c.idx == index)
    open_ = multipart_upload.c.state.in_((UploadState.OPEN, UploadState.COMPLETING))
    return int(connection.execute(statement.where(*mine, open_)).scalar_one())


def finish(connection: sa.Connection, row: Row, now: int) -> list[str]:
    """Record that the parts are joined; returns what is to be removed and was recorded as garbage.

    Nothing is recorded where a start looks into the folder for such parts.
    """
    _move(connection, row.seq, UploadState.DONE, now)
    connection.execute(multipart_part.delete().where(multipart_part.c.upload_seq == row.seq))
    return discard(connection, [f"{PARTS}{row.session_id}/{row.id}"]) if locks.are_needed(connection) else []


def _move(connection: sa.Connection, seq: int, state: str, now: int) -> None:
    connection.execute(multipart_upload.update().where(multipart_upload.c.seq == seq).values(state=state, updated=now))


def parts(connection: sa.Connection, seq: int) -> Sequence[Row]:
    """Return the parts of an upload in order."""
    statement = sa.select(multipart_part).where(multipart_part.c.upload_seq == seq).order_by(multipart_part.c.number)
    return connection.execute(statement).all()


def alive(connection: sa.Connection) -> Sequence[Row]:
    """Return the uploads whose parts are still needed."""
    statement = _uploads.add_columns(dataset.c.id.label("dataset_id")).join(
        dataset, dataset.c.seq == ingestion_session.c.dataset_seq
    )
    needed = multipart_upload.c.state.in_((UploadState.OPEN, UploadState.COMPLETING))
    return connection.execute(statement.where(needed, ingestion_session.c.state == SessionState.OPEN)).all()
