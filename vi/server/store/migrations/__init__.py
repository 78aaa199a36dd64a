"""Upgrade a database to the current tables.

A new database is created from the tables and marked as current. Alembic, whose import takes longer than the rest of
the start, is loaded only for a database of an older release.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from ...._optional import require
from ....errors import ViConfigurationError
from .. import schema

HEAD = "0005"

_version = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))


def prepare(connection: sa.Connection) -> bool:
    """Create the tables of an empty database; return whether the database is at `HEAD` now."""
    names = sa.inspect(connection).get_table_names()
    if not names:
        schema.metadata.create_all(connection)
        _version.create(connection)
        connection.execute(_version.insert().values(version_num=HEAD))
        return True
    if _version.name not in names:
        raise ViConfigurationError("The data folder holds a database that is not the local service's.")
    return connection.execute(sa.select(_version.c.version_num)).scalar() == HEAD


def upgrade(path: Path, revision: str = "head") -> None:
    """Run the migrations on the database at *path*; blocking."""
    require("alembic", "The database of an older release")
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except CommandError as error:
        raise ViConfigurationError(f"The database cannot be upgraded: {error}.", path=str(path)) from error
    finally:
        engine.dispose()
