"""A dump of a PostgreSQL database can be restored: its index calls functions that know each other in any search path.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

from vi.server.store.query_postgres import FOLD_JSON

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(FOLD_JSON)
