"""Sessions know the upload that they belong to, and where it came from.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("ingestion_session", sa.Column("upload", sa.Text(), nullable=True))
    op.add_column("ingestion_session", sa.Column("origin", sa.Text(), nullable=True))
    op.create_index("ix_ingestion_session_dataset_seq_upload", "ingestion_session", ["dataset_seq", "upload"])
