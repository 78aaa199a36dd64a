"""Clients send to the store itself: when a session is looked at, and what the store calls a multipart upload.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("ingestion_session", sa.Column("watched", sa.BigInteger(), nullable=True))
    op.add_column("multipart_upload", sa.Column("begun", sa.Text(), nullable=True))
