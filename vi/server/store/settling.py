"""Turn verdicts on files into assets, errors and the end of sessions (the table of section 9.5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from ... import _media
from ...codes import FileCode
from ..inspection.inspector import Verdict
from . import locks
from .datasets import used_bytes
from .garbage import discard
from .schema import (
    ItemState,
    SessionState,
    UploadState,
    asset,
    dataset,
    ingest_item,
    ingestion_session,
    multipart_upload,
)
from .sessions import ASSET_FAILED, end

Row = sa.Row[Any]


@attrs.frozen
class Refused:
    """Why a file is not stored: a code of the protocol, and the reason if the code does not say enough."""

    code: str
    reason: str | None = None


@attrs.frozen
class Finding:
    """The verdict on one object of a session."""

    session_seq: int
    index: int
    blob: str | None
    verdict: Verdict
    asset_id: str
    """The id to use if the name is new in the dataset."""


@attrs.define
class Settled:
    """The result of a round of settling."""

    ended: list[str] = attrs.Factory(list)
    discarded: list[str] = attrs.Factory(list)
    changed: list[str] = attrs.Factory(list)
    """Ids of assets whose bytes were replaced."""
    refused: list[tuple[str, Refused]] = attrs.Factory(list)
    """The names of files that were refused, and why."""


@attrs.define
class _Round:
    """The findings of one session that are applied together."""

    session: Row
    done: list[dict[str, Any]] = attrs.Factory(list)
    failed: list[dict[str, Any]] = attrs.Factory(list)


def settle(connection: sa.Connection, findings: Sequence[Finding], now: int, quota: int | None) -> Settled:
    """Apply *findings*; one whose session has ended, or whose object was replaced, is skipped."""
    settled = Settled()
    by_session: dict[int, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_session[finding.session_seq].append(finding)
    _lock(connection, by_session)
    if quota is not None:
        locks.lock_quota(connection)
    sessions = connection.execute(
        sa.select(ingestion_session, dataset.c.organization_id)
        .join(dataset, dataset.c.seq == ingestion_session.c.dataset_seq)
        .where(ingestion_session.c.seq.in_(by_session), ingestion_session.c.state == SessionState.OPEN)
        .order_by(ingestion_session.c.seq)
    ).all()
    for session in sessions:
        _settle_session(connection, session, by_session[session.seq], now, quota, settled)
    return settled


def _lock(connection: sa.Connection, sessions: Collection[int]) -> None:
    locks.lock_datasets_of(connection, sessions)
    locks.lock_sessions(connection, ingestion_session.c.seq.in_(sessions))


def _settle_session(
    connection: sa.Connection, session: Row, findings: list[Finding], now: int, quota: int | None, settled: Settled
) -> None:
    indexes = [finding.index for finding in findings]
    items = {
        row.idx: row
        for row in connection.execute(
            sa.select(ingest_item).where(ingest_item.c.session_seq == session.seq, ingest_item.c.idx.in_(indexes))
        )
    }
    current = [
        finding
        for finding in findings
        if items[finding.index].state == ItemState.ARRIVED and items[finding.index].blob == finding.blob
    ]
    round_ = _Round(session)
    left = None if quota is None else quota - used_bytes(connection, session.organization_id)
    assets = _Assets(connection, session, [items[finding.index].filename for finding in current], now, left)
    for finding in current:
        item = items[finding.index]
        verdict = finding.verdict
        refused = Refused(verdict.error, verdict.message) if verdict.error else assets.take(item, finding)
        if refused is None:
            round_.done.append(_item_values(session.seq, finding.index, ItemState.DONE, None, now))
            continue
        if finding.blob is not None:
            settled.discarded.append(finding.blob)
        settled.refused.append((item.filename, refused))
        round_.failed.append(_item_values(session.seq, finding.index, ItemState.ERRORED, refused, now))
        if session.failure_mode == "FailAfterOne":
            break
    assets.write(settled)
    if round_.done or round_.failed:
        connection.execute(_item_settled, round_.done + round_.failed)
    discard(connection, settled.discarded)
    count(connection, session, len(round_.done), len(round_.failed), now, settled)


_item_settled = (
    ingest_item.update()
    .where(ingest_item.c.session_seq == sa.bindparam("of_session"), ingest_item.c.idx == sa.bindparam("of_index"))
    .values(
        state=sa.bindparam("new_state"),
        error=sa.bindparam("new_error"),
        reason=sa.bindparam("new_reason"),
        settled=sa.bindparam("new_settled"),
        blob=None,
    )
)


def _item_values(session_seq: int, index: int, state: int, refused: Refused | None, now: int) -> dict[str, Any]:
    return {
        "of_session": session_seq,
        "of_index": index,
        "new_state": state,
        "new_error": refused and refused.code,
        "new_reason": refused and refused.reason,
        "new_settled": now,
    }


def count(connection: sa.Connection, session: Row, succeeded: int, errored: int, now: int, settled: Settled) -> None:
    """Add to the counts of a session, and end it if they are complete."""
    if not succeeded and not errored:
        return
    row = connection.execute(
        ingestion_session.update()
        .where(ingestion_session.c.seq == session.seq)
        .values(
            succeeded=ingestion_session.c.succeeded + succeeded,
            errored=ingestion_session.c.errored + errored,
            updated=now,
            generation=ingestion_session.c.generation + 1,
        )
        .returning(ingestion_session)
    ).one()
    ending = outcome(row.failure_mode, row.total, row.succeeded, row.errored)
    if ending is not None:
        settled.discarded += end(connection, row.seq, *ending, now)
        settled.ended.append(row.id)


def outcome(failure_mode: str, total: int, succeeded: int, errored: int) -> tuple[str, str | None] | None:
    """Return the final state of a session with these counts, and the reason; None while it runs."""
    if errored and (failure_mode == "FailAfterOne" or errored == total):
        return SessionState.FAILED, ASSET_FAILED
    if succeeded + errored == total:
        return SessionState.FINISHED, None
    return None


def expire(connection: sa.Connection, session: Row, busy: Collection[int], now: int, settled: Settled) -> None:
    """Fail the files of an expired session that have not arrived, except those that are being received."""
    _lock(connection, [session.seq])
    if locks.are_needed(connection) and not _is_open(connection, session.seq):
        return
    arriving = sa.select(multipart_upload.c.idx).where(
        multipart_upload.c.session_seq == session.seq,
        sa.or_(
            multipart_upload.c.state == UploadState.COMPLETING,
            sa.and_(multipart_upload.c.state == UploadState.OPEN, multipart_upload.c.expiry > now),
        ),
    )
    late = connection.execute(
        ingest_item.update()
        .where(
            ingest_item.c.session_seq == session.seq,
            ingest_item.c.state == ItemState.WAITING,
            ingest_item.c.idx.not_in(list(busy)),
            sa.or_(ingest_item.c.arriving.is_(None), ingest_item.c.arriving <= now),
            ingest_item.c.idx.not_in(arriving),
        )
        .values(state=ItemState.ERRORED, error=FileCode.ETIMEOUT, settled=now)
    ).rowcount
    count(connection, session, 0, late, now, settled)


def _is_open(connection: sa.Connection, seq: int) -> bool:
    state = connection.execute(sa.select(ingestion_session.c.state).where(ingestion_session.c.seq == seq)).scalar()
    return state == SessionState.OPEN


class _Assets:
    """The assets of one dataset that a round writes: new names are inserted together, known ones updated."""

    def __init__(self, connection: sa.Connection, session: Row, names: list[str], now: int, left: int | None) -> None:
        self._connection = connection
        self._session = session
        self._now = now
        self._left = left
        self._new: dict[str, dict[str, Any]] = {}
        self._known: dict[str, dict[str, Any]] = {}
        self._replaced: list[str] = []
        self._bytes = self._annotations = self._annotated = 0
        self._before = {
            row.filename: row
            for row in connection.execute(
                sa.select(asset).where(asset.c.dataset_seq == session.dataset_seq, asset.c.filename.in_(names))
            )
        }

    def take(self, item: Row, finding: Finding) -> Refused | None:
        """Store an accepted object; returns the reason if the quota is used up."""
        verdict, name = finding.verdict, item.filename
        before = self._before.get(name)
        earlier = self._new.get(name) or self._known.get(name)
        replaced = earlier["size"] if earlier else before.size if before is not None else 0
        growth = verdict.size - replaced
        if self._left is not None:
            if growth > self._left:
                return no_room(growth, self._left)
            self._left -= growth
        self._bytes += growth
        if earlier is not None:
            self._replaced.append(earlier["blob"])
        elif before is not None:
            self._replaced.append(before.blob)
        values = {
            "kind": item.kind,
            "mime": verdict.mime or item.mime,
            "size": verdict.size,
            "crc32c": verdict.crc32c,
            "sha256": verdict.sha256,
            "blob": finding.blob,
            "has_thumbnail": verdict.thumbnail is not None,
            "width": verdict.width,
            "height": verdict.height,
            "frames": verdict.frames,
            "updated": self._now,
            "contents_updated": self._now,
        }
        if item.custom_metadata is not None:
            values["custom_metadata"] = item.custom_metadata
        if before is not None:
            self._known[name] = {**self._known.get(name, {}), **values}
        else:
            self._new[name] = {**self._fresh(name, finding.asset_id), **self._new.get(name, {}), **values}
        return None

    def write(self, settled: Settled) -> None:
        """Write the collected assets and the counters of the dataset."""
        if not self._new and not self._known:
            return
        if self._new:
            self._connection.execute(asset.insert(), list(self._new.values()))
        for name, values in self._known.items():
            before = self._before[name]
            if self._session.retention == "RemoveLinkedResource":
                self._annotations -= before.annotation_total
                self._annotated -= 1 if before.annotation_total else 0
                values = {**values, "annotation_total": 0, "annotation_tags": {}}
            self._connection.execute(
                asset.update().where(asset.c.seq == before.seq).values(**values, generation=asset.c.generation + 1)
            )
            settled.changed.append(before.id)
        settled.discarded += self._replaced
        self._connection.execute(
            dataset.update()
            .where(dataset.c.seq == self._session.dataset_seq)
            .values(
                asset_total=dataset.c.asset_total + len(self._new),
                byte_total=dataset.c.byte_total + self._bytes,
                annotation_total=dataset.c.annotation_total + self._annotations,
                asset_annotated=dataset.c.asset_annotated + self._annotated,
                updated=self._now,
            )
        )

    def _fresh(self, name: str, asset_id: str) -> dict[str, Any]:
        session = self._session
        return {
            "id": asset_id,
            "dataset_seq": session.dataset_seq,
            "filename": name,
            "status": "ready",
            "source": f"{session.source_class}/{session.source_provider}/{session.source_id}",
            "custom_metadata": {},
            "annotation_tags": {},
            "created": self._now,
        }


def refusal(kind: str, mime: str, size: int) -> Refused | None:
    """Return why an announced file is refused."""
    media = _media.IMAGE_TYPES if kind == "Image" else _media.VIDEO_TYPES
    if mime not in media.values():
        return Refused(FileCode.EBADMIME, f"Files of type {mime[:80]!r} are not accepted.")
    if size == 0:
        return Refused(FileCode.EBADSIZE, "The file is empty.")
    if size > (limit := _media.size_limit(kind)):
        return Refused(FileCode.EBADSIZE, f"The file has {size} bytes; the limit is {limit}.")
    return None


def no_room(size: int, left: int) -> Refused:
    """Return the refusal of a file that takes *size* more bytes where *left* are left."""
    return Refused(FileCode.ENOQUOTA, f"It takes {size} bytes of storage; {max(left, 0)} are left.")
