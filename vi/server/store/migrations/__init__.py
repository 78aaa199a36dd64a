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

HEAD = "0009"

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


def revision(connection: sa.Connection) -> str | None:
    """Return the revision of a database; None if it is empty."""
    if not sa.inspect(connection).has_table(_version.name):
        return None
    found: str | None = connection.execute(sa.select(_version.c.version_num)).scalar()
    return found


def is_next(connection: sa.Connection) -> bool:
    """Tell whether the database is one revision ahead: that one only adds, so that processes can be updated in turn."""
    found = revision(connection)
    return found is not None and found.isdigit() and int(found) == int(HEAD) + 1


def upgrade(path: Path, revision: str = "head") -> None:
    """Run the migrations on the SQLite database at *path*; blocking."""
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            run(connection, revision)
    except ViConfigurationError as error:
        error.path = str(path)
        raise
    finally:
        engine.dispose()


def run(connection: sa.Connection, revision: str = "head") -> None:
    """Run the migrations in a transaction of *connection*; blocking."""
    require("alembic", "The database of an older release")
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise ViConfigurationError(f"The database cannot be upgraded: {error}.") from error
