"""Bulk deletions keep the reason for which they failed.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("bulk_deletion", sa.Column("reason", sa.Text(), nullable=True))
