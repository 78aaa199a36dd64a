"""Assets: the wire names that filters and sorts may use, and the changes that are not ingestion."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from ..http.api_errors import ApiError, existing
from ..identity import Identity
from . import locks
from .garbage import discard
from .schema import asset, bulk_deletion, dataset, folded

Row = sa.Row[Any]

_NAMES_AT_ONCE = 1000
DELETION_FAILED = "DeletionFailed"

SORTS: dict[str, tuple[sa.Column[Any], ...]] = {
    "default": (asset.c.seq,),
    "assetId": (asset.c.id,),
    "filename": (asset.c.filename,),
    "lastModified.contents": (asset.c.contents_updated, asset.c.id),
    "metadata.fileSize": (asset.c.size, asset.c.id),
}

OF_URLS: tuple[sa.Column[Any], ...] = tuple(
    asset.c[name] for name in ("id", "filename", "has_thumbnail", "blob", "size", "mime", "crc32c", "sha256")
)
"""The columns that the signed URLs of an asset are written from."""


def columns(identity: Identity, dataset_id: str) -> Mapping[str, sa.ColumnElement[Any]]:
    """Return the column of each wire name that a filter may use."""
    organization = sa.literal(identity.organization_id)
    return {
        "assetId": asset.c.id,
        "datasetId": sa.literal(f"{identity.organization_id}_{dataset_id}"),
        "workspaceId": organization,
        "filename": asset.c.filename,
        "kind": asset.c.kind,
        "owner": organization,
        "metadata.insertedBy": sa.literal(identity.user_id),
        "metadata.annotations.total": asset.c.annotation_total,
        "metadata.frames": asset.c.frames,
        "metadata.fileSize": asset.c.size,
        "metadata.height": asset.c.height,
        "metadata.width": asset.c.width,
        "metadata.dimensions.height": asset.c.height,
        "metadata.dimensions.width": asset.c.width,
        "metadata.pixelRatio.height": sa.literal(1),
        "metadata.pixelRatio.width": sa.literal(1),
        "metadata.mimeType": asset.c.mime,
        "metadata.source": asset.c.source,
        "metadata.status": asset.c.status,
        "metadata.uploadStatus": sa.literal("Uploaded"),
        "metadata.visibility": sa.literal("Private"),
        "metadata.contentsFrom": sa.literal("Upload"),
        "metadata.comments": sa.literal(0),
        "metadata.hash.algorithm": sa.literal("sha256"),
        "metadata.hash.contents": asset.c.sha256,
        "metadata.timeCreated": asset.c.created,
        "metadata.lastUpdated": asset.c.updated,
        "metadata.contentsLastUpdated": asset.c.contents_updated,
    }


def listed(dataset_seq: int, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Select the assets of a dataset, or these *columns* of them."""
    return sa.select(*(dict.fromkeys(columns) or (asset,))).where(asset.c.dataset_seq == dataset_seq)


def newest(connection: sa.Connection, dataset_seq: int, limit: int) -> list[Row]:
    """Return the newest assets, newest first."""
    return list(connection.execute(listed(dataset_seq).order_by(asset.c.seq.desc()).limit(limit)))


def is_named_like(text: str) -> sa.ColumnElement[bool]:
    """Return the condition that a file name contains *text*, whatever its case; reads every name of the dataset."""
    return asset.c.name_folded.contains(folded(text), autoescape=True)


def count(connection: sa.Connection, dataset_seq: int, condition: sa.ColumnElement[bool]) -> int:
    """Return how many assets of a dataset meet *condition*."""
    statement = sa.select(sa.func.count()).select_from(asset).where(asset.c.dataset_seq == dataset_seq, condition)
    return int(connection.execute(statement).scalar_one())


def find(connection: sa.Connection, dataset_seq: int, asset_id: str, *columns: sa.ColumnElement[Any]) -> Row:
    """Return one asset, or these *columns* of it; raises 404."""
    statement = listed(dataset_seq, *columns).where(asset.c.id == asset_id)
    return existing(connection.execute(statement).one_or_none(), "Asset", asset_id)


def find_named(connection: sa.Connection, dataset_seq: int, filename: str) -> Row:
    """Return the asset with a file name; raises 404."""
    return existing(
        connection.execute(listed(dataset_seq).where(asset.c.filename == filename)).one_or_none(), "Asset", filename
    )


def named(
    connection: sa.Connection,
    dataset_seq: int,
    names: Collection[str],
    *columns: sa.ColumnElement[Any],
    strict: bool,
    limit: int,
) -> list[Row]:
    """Return *columns* of up to *limit* assets with the given names, whatever their case unless *strict*."""
    column, wanted = (asset.c.filename, set(names)) if strict else (asset.c.name_folded, set(map(folded, names)))
    statement = listed(dataset_seq, *columns).where(column.in_(wanted)).order_by(asset.c.seq).limit(limit)
    return list(connection.execute(statement))


def rename(connection: sa.Connection, row: Row, filename: str, now: int) -> Row:
    """Rename an asset; raises 409 when the name is in use in the dataset."""
    if filename == row.filename:
        return row
    locks.lock_dataset(connection, row.dataset_seq)
    taken = connection.execute(
        sa.select(asset.c.seq).where(asset.c.dataset_seq == row.dataset_seq, asset.c.filename == filename)
    ).first()
    if taken is not None:
        raise ApiError(409, f"Another asset of the dataset is named {filename}")
    statement = (
        asset.update()
        .where(asset.c.seq == row.seq)
        .values(filename=filename, name_folded=folded(filename), updated=now, generation=asset.c.generation + 1)
        .returning(asset)
    )
    return existing(connection.execute(statement).one_or_none(), "Asset", row.id)  # deleted since it was found


@attrs.frozen
class Changed:
    """How many assets changed, how many already had these values, and the names that no asset has."""

    changed: int
    unchanged: int
    missing: list[str]


def set_metadata(
    connection: sa.Connection,
    dataset_seq: int,
    updates: Mapping[str, Mapping[str, Any]],
    remove: Sequence[str],
    now: int | None,
) -> Changed:
    """Remove and set metadata of the assets named in *updates*; without *now* nothing is written."""
    names = list(updates)
    if now is not None:
        locks.lock_dataset(connection, dataset_seq)
    changes: list[dict[str, Any]] = []
    found: set[str] = set()
    for start in range(0, len(names), _NAMES_AT_ONCE):
        chosen = sa.select(asset.c.seq, asset.c.filename, asset.c.custom_metadata).where(
            asset.c.dataset_seq == dataset_seq, asset.c.filename.in_(names[start : start + _NAMES_AT_ONCE])
        )
        for row in connection.execute(chosen):
            found.add(row.filename)
            kept = {key: value for key, value in row.custom_metadata.items() if key not in remove}
            wanted = {**kept, **updates[row.filename]}
            if json.dumps(wanted, sort_keys=True) != json.dumps(row.custom_metadata, sort_keys=True):  # 1 is not True
                changes.append({"changed": row.seq, "wanted": wanted})
    if changes and now is not None:
        statement = asset.update().where(asset.c.seq == sa.bindparam("changed"))
        wanted_value = sa.bindparam("wanted", type_=asset.c.custom_metadata.type)
        connection.execute(
            statement.values(custom_metadata=wanted_value, updated=now, generation=asset.c.generation + 1), changes
        )
    return Changed(len(changes), len(found) - len(changes), [name for name in names if name not in found])


def delete(connection: sa.Connection, rows: Sequence[Row]) -> list[str]:
    """Remove those assets of one dataset that still exist; returns the objects to remove after the commit."""
    if not rows:
        return []
    dataset_seq = rows[0].dataset_seq
    locks.lock_dataset(connection, dataset_seq)
    gone: list[sa.Row[str, int, int]] = []
    for start in range(0, len(rows), _NAMES_AT_ONCE):
        chosen = [row.seq for row in rows[start : start + _NAMES_AT_ONCE]]
        statement = asset.delete().where(asset.c.seq.in_(chosen))
        gone += connection.execute(statement.returning(asset.c.blob, asset.c.size, asset.c.annotation_total)).all()
    if not gone:
        return []
    # Count the rows deleted here, not those found before: another writer may have deleted some in between.
    connection.execute(
        dataset.update()
        .where(dataset.c.seq == dataset_seq)
        .values(
            asset_total=dataset.c.asset_total - len(gone),
            byte_total=dataset.c.byte_total - sum(int(row.size) for row in gone),
            annotation_total=dataset.c.annotation_total - sum(row.annotation_total for row in gone),
            asset_annotated=dataset.c.asset_annotated - len([row for row in gone if row.annotation_total]),
        )
    )
    return discard(connection, [row.blob for row in gone])


def start_bulk_deletion(connection: sa.Connection, values: dict[str, Any]) -> Row:
    """Insert a bulk deletion of the assets that the dataset holds now."""
    locks.lock_dataset(connection, values["dataset_seq"])  # so every lower asset number is committed
    last = sa.select(sa.func.coalesce(sa.func.max(asset.c.seq), 0)).where(asset.c.dataset_seq == values["dataset_seq"])
    statement = bulk_deletion.insert().values(**values, through_seq=last.scalar_subquery()).returning(bulk_deletion)
    return connection.execute(statement).one()


def bulk_delete(
    connection: sa.Connection, row: Row, condition: sa.ColumnElement[bool] | None, now: int, limit: int
) -> list[str] | None:
    """Remove up to *limit* of the assets that a bulk deletion selects; None, and marked as finished, at the end."""
    locks.lock_dataset(connection, row.dataset_seq)
    statement = listed(row.dataset_seq).where(asset.c.seq <= row.through_seq).order_by(asset.c.seq).limit(limit)
    chosen = connection.execute(statement if condition is None else statement.where(condition)).all()
    if chosen:
        return delete(connection, chosen)
    _end_bulk_deletion(connection, row, {"finished": now, "updated": now})
    return None


def fail_bulk_deletion(connection: sa.Connection, row: Row, now: int) -> None:
    """Mark a bulk deletion as failed; what it has removed stays removed."""
    _end_bulk_deletion(connection, row, {"finished": now, "updated": now, "reason": DELETION_FAILED})


def _end_bulk_deletion(connection: sa.Connection, row: Row, values: dict[str, Any]) -> None:
    open_ = (bulk_deletion.c.seq == row.seq, bulk_deletion.c.finished.is_(None))
    connection.execute(bulk_deletion.update().where(*open_).values(values))


def find_bulk_deletion(connection: sa.Connection, dataset_seq: int, identifier: str) -> Row:
    """Return one bulk deletion; raises 404."""
    statement = bulk_deletions(dataset_seq).where(bulk_deletion.c.id == identifier)
    return existing(connection.execute(statement).one_or_none(), "Deletion session", identifier)


def bulk_deletions(dataset_seq: int) -> sa.Select[Any]:
    """Select the bulk deletions of a dataset."""
    return sa.select(bulk_deletion).where(bulk_deletion.c.dataset_seq == dataset_seq)


def unfinished_bulk_deletions(connection: sa.Connection) -> list[tuple[Row, str]]:
    """Return the bulk deletions to resume after a restart, with the id of their dataset."""
    statement = (
        sa.select(bulk_deletion, dataset.c.id.label("dataset_id"))
        .join(dataset, dataset.c.seq == bulk_deletion.c.dataset_seq)
        .where(bulk_deletion.c.finished.is_(None), dataset.c.deleted.is_(None))
    )
    return [(row, row.dataset_id) for row in connection.execute(statement)]
