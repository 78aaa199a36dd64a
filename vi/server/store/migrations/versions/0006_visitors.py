"""Browsers that are logged in have the key that they used; PostgreSQL finds files that wait to be looked at.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from vi.server.store.query_postgres import WAITING_INDEX

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("visitor", sa.Column("access", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        op.execute(WAITING_INDEX)
