"""The next release, as far as its tables go: one more revision, which only adds, and rows with what it has added.

``python -m tests.support.next_release WORDS...`` is its ``vi-sdk``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa

from vi.server.store import migrations, schema

REVISION = f"{int(migrations.HEAD) + 1:04}"
WRITTEN = "by the next release"
TABLES = ("dataset", "asset", "ingestion_session", "ingest_item", "multipart_upload", "visitor")
_MIGRATION = f'''
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{REVISION}", "{migrations.HEAD}"


def upgrade() -> None:
    for table in {TABLES!r}:
        op.add_column(table, sa.Column("later", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("weight", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.create_table("label", sa.Column("asset_seq", sa.BigInteger(), primary_key=True))
    op.create_index("ix_asset_later", "asset", ["later"])
'''


def become(folder: Path) -> None:
    """Make this process one of the next release, whose migrations are in *folder*."""
    scripts = folder / "migrations"
    shutil.copytree(Path(str(migrations.__file__)).parent, scripts)
    (scripts / "versions" / f"{REVISION}_next.py").write_text(_MIGRATION)
    migrations.__file__ = str(scripts / "__init__.py")
    migrations.HEAD = REVISION
    for name in TABLES:
        table = schema.metadata.tables[name]
        table.append_column(sa.Column("later", sa.Text, default=WRITTEN))
        table.append_column(sa.Column("weight", sa.Integer, nullable=False, default=2))


if __name__ == "__main__":
    from vi.cli import main

    with tempfile.TemporaryDirectory() as made:
        become(Path(made))
        sys.exit(main(sys.argv[1:]))
