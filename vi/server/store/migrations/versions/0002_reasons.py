"""Files of a session keep the reason for which they were refused.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("ingest_item", sa.Column("reason", sa.Text(), nullable=True))
