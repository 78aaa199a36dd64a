"""A service of several processes knows at which address its S3 store is.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("service", sa.Column("store_endpoint", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("service", "store_endpoint")
