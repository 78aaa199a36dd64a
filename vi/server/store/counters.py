"""Whether the counters that are columns equal the rows that they count."""

from __future__ import annotations

import sqlalchemy as sa

from .schema import ItemState, asset, dataset, ingest_item, ingestion_session


def wrong(connection: sa.Connection) -> list[str]:
    """Return a line for each dataset and session whose counters are not what its rows say."""
    return _wrong_datasets(connection) + _wrong_sessions(connection)


def _wrong_datasets(connection: sa.Connection) -> list[str]:
    rows = (
        sa.select(asset.c.dataset_seq, sa.func.count().label("assets"), sa.func.sum(asset.c.size).label("size"))
        .group_by(asset.c.dataset_seq)
        .subquery()
    )
    assets, size = sa.func.coalesce(rows.c.assets, 0), sa.func.coalesce(rows.c.size, 0)
    statement = (
        sa.select(dataset.c.id, dataset.c.asset_total, dataset.c.byte_total, assets.label("assets"), size.label("size"))
        .outerjoin(rows, rows.c.dataset_seq == dataset.c.seq)
        .where(dataset.c.deleted.is_(None), sa.or_(dataset.c.asset_total != assets, dataset.c.byte_total != size))
        .order_by(dataset.c.seq)
    )
    return [
        f"dataset {row.id}: {row.asset_total} assets of {row.byte_total} bytes are counted, "
        f"{row.assets} of {row.size} are there"
        for row in connection.execute(statement)
    ]


def _wrong_sessions(connection: sa.Connection) -> list[str]:
    def number(*states: int) -> sa.ColumnElement[int]:
        return sa.func.count().filter(ingest_item.c.state.in_(states))

    rows = (
        sa.select(
            ingest_item.c.session_seq,
            sa.func.count().label("files"),
            number(ItemState.DONE).label("done"),
            number(ItemState.ERRORED, ItemState.REFUSED).label("failed"),
        )
        .group_by(ingest_item.c.session_seq)
        .subquery()
    )
    counted = ingestion_session.c
    statement = (
        sa.select(counted.id, counted.succeeded, counted.errored, rows.c.done, rows.c.failed)
        .join(rows, rows.c.session_seq == counted.seq)
        # Those of a session that ended are forgotten after a day.
        .where(rows.c.files == counted.total)
        .where(sa.or_(counted.succeeded != rows.c.done, counted.errored != rows.c.failed))
        .order_by(counted.seq)
    )
    return [
        f"session {row.id}: {row.succeeded} succeeded and {row.errored} failed are counted, {row.done} and {row.failed} did"
        for row in connection.execute(statement)
    ]
