"""Names in one case with an index, and what several processes need: claims, the service itself, its visitors.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from vi.server.store.schema import folded

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("asset", sa.Column("name_folded", sa.Text(), server_default=sa.text("''"), nullable=False))
    driver: Any = op.get_bind().connection.driver_connection
    driver.create_function("vi_name", 1, lambda name: folded(name.decode(errors="replace")), deterministic=True)
    op.execute("UPDATE asset SET name_folded = vi_name(CAST(filename AS BLOB))")
    op.create_index("ix_asset_dataset_seq_name_folded", "asset", ["dataset_seq", "name_folded"])
    op.add_column("ingest_item", sa.Column("claimed", sa.BigInteger(), nullable=True))
    op.add_column("ingest_item", sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("ingest_item", sa.Column("arriving", sa.BigInteger(), nullable=True))
    op.add_column("multipart_upload", sa.Column("claimed", sa.BigInteger(), nullable=True))
    op.create_table(
        "service",
        sa.Column("one", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("identity", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_service")),
    )
    op.create_table(
        "visitor",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_visitor")),
    )
    op.create_index(op.f("ix_visitor_seen"), "visitor", ["seen"])
