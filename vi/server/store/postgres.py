"""Metadata on PostgreSQL: the same work as on SQLite, each write in a transaction of its own.

Reads see one snapshot. Writes run concurrently and lock rows (`locks`). A write that fails because of a deadlock, or
because the connection broke before the commit, is repeated. If the answer to a commit is lost, its outcome is unknown:
that is `CommitLostError`.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from ..._optional import require
from ...errors import ViConfigurationError
from . import migrations, query_postgres
from .metadata import CommitLostError, DatabaseUnavailableError, TooManyReadsError, Work
from .readers import READERS, Readers

T = TypeVar("T")

_WRITERS = 8
_QUERY_SECONDS = 30.0
_PATIENCE = 10.0
"""Seconds for which work is tried again while PostgreSQL cannot be reached, from when it was asked for."""
_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_TRIES = 20
_AGAIN = frozenset({"40001", "40P01"})
_CANCELLED = "57014"
_NAME = "vi-sdk"
"""What connections are named, with the token of the object that they belong to."""
_PREPARING, _LEADING = 0x76695F70, 0x76695F6C
"""Names of advisory locks."""


class PostgresDatabase:
    """The metadata in one PostgreSQL database, opened by `PostgresDatabase.open`."""

    def __init__(self, readers: sa.Engine, writers: sa.Engine, name: str) -> None:
        self._name = name
        self._readers = readers
        self._writers = writers
        self._leader: sa.Connection | None = None
        self._is_leader = False
        self._reading = Readers()
        self._writing = ThreadPoolExecutor(_WRITERS, thread_name_prefix="vi-database-writer")
        self._closing = threading.Event()

    @classmethod
    async def open(cls, url: str) -> PostgresDatabase:
        """Connect to the database at *url*, making its tables first."""
        return await asyncio.to_thread(cls.open_blocking, url)

    @classmethod
    def open_blocking(cls, url: str, *, make: bool = True, upgrade: bool = False) -> PostgresDatabase:
        """Do as `open` does; with *upgrade* bring tables of an older release to this one's. Blocking.

        Without *make* an empty database is refused.
        """
        name = f"{_NAME} {secrets.token_hex(4)}"
        readers = _engine(url, name, READERS + 1, "REPEATABLE READ", statement_timeout=int(_QUERY_SECONDS * 1000))
        writers = _engine(url, name, _WRITERS + 1, "READ COMMITTED")
        try:
            with writers.begin() as connection:
                _prepare(connection, url, make=make, upgrade=upgrade)
            return cls(readers, writers, name)
        except BaseException as error:
            readers.dispose()
            writers.dispose()
            if isinstance(error, DBAPIError):
                reason = str(error.orig).strip().splitlines()[0][:120]
                raise ViConfigurationError(f"The database {_shown(url)} cannot be used: {reason}.") from None
            raise

    async def read(self, work: Work[T]) -> T:
        """Run *work* on a reader's connection, in one consistent view.

        Raises `TooManyReadsError`, and `DatabaseUnavailableError` when PostgreSQL could not be reached for a while.
        """
        return await self._reading.run(self._read, work, _give_up_at())

    def read_blocking(self, work: Work[T]) -> T:
        """Do as `read` does, in this thread."""
        return self._read(work, _give_up_at())

    def _read(self, work: Work[T], ends: float) -> T:
        def once() -> T:
            with self._readers.connect() as connection:
                return work(connection)

        try:
            return self._insist(once, ends)
        except OperationalError as error:
            if _code(error) == _CANCELLED:
                raise TooManyReadsError from None
            raise

    async def write(self, work: Work[T]) -> T:
        """Run *work* in a transaction; returns when it is durable. It may run more than once; an error undoes it.

        Raises `DatabaseUnavailableError` when PostgreSQL could not be reached for a while, and `CommitLostError`.
        """
        if self._closing.is_set():
            raise RuntimeError("the database is closed")
        writing = asyncio.get_running_loop().run_in_executor(self._writing, self._write, work, _give_up_at())
        writing.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        result: T = await asyncio.shield(writing)
        return result

    def write_blocking(self, work: Work[T]) -> T:
        """Do as `write` does, in this thread."""
        return self._write(work, _give_up_at())

    def _write(self, work: Work[T], ends: float) -> T:
        def once() -> T:
            with self._writers.connect() as connection:
                transaction = connection.begin()
                try:
                    result = work(connection)
                except BaseException:
                    transaction.rollback()
                    raise
                try:
                    transaction.commit()
                except DBAPIError as error:
                    if _code(error) in _AGAIN:
                        raise
                    raise _DoubtfulCommitError(error) from error
                return result

        try:
            return self._insist(once, ends)
        except _DoubtfulCommitError as doubtful:
            if _is_lost(doubtful.error):
                raise CommitLostError from doubtful.error
            raise doubtful.error from None

    def _insist(self, once: Callable[[], T], ends: float) -> T:
        """Repeat *once* while PostgreSQL rolls it back, or until *ends* cannot be reached."""
        pause = _PAUSE
        for left in itertools.count(_TRIES, -1):
            try:
                return once()
            except DBAPIError as error:
                if _is_lost(error):
                    if time.monotonic() >= ends and left < _TRIES:  # the first may have met a connection of before
                        raise DatabaseUnavailableError from error
                elif not (_code(error) in _AGAIN and left > 0):
                    raise
            if self._closing.wait(pause):
                raise RuntimeError("the database is closed")
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("unreachable")

    async def leads(self) -> bool:
        """Tell whether this process is the one of all on this database that does what one is enough for.

        Raises `DatabaseUnavailableError` when PostgreSQL could not be reached for a while.
        """
        return await asyncio.to_thread(self._insist, self._leads, _give_up_at())

    def _leads(self) -> bool:
        try:
            if self._leader is None:
                self._leader = self._writers.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._is_leader = False
            if self._is_leader:
                self._leader.execute(sa.select(1))  # the lock goes with the connection
            else:
                lock = self._leader.execute(sa.select(sa.func.pg_try_advisory_lock(_LEADING)))
                self._is_leader = bool(lock.scalar())
            return self._is_leader
        except BaseException:
            self._resign()
            raise

    async def is_alone(self) -> bool:
        """Tell whether no other process of the same user of PostgreSQL has this database open."""

        def others(connection: sa.Connection) -> int:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            named = " AND application_name LIKE :any AND application_name <> :own"
            count = connection.execute(sa.text(query + named), {"any": f"{_NAME} %", "own": self._name}).scalar()
            return int(count or 0)

        return await self.read(others) == 0

    def _resign(self) -> None:
        if self._leader is not None:
            self._leader.invalidate()  # the lock goes with the connection
            self._leader.close()
            self._leader = None

    async def aclose(self) -> None:
        """Finish queued work and close."""
        await asyncio.to_thread(self.close_blocking)

    def close_blocking(self) -> None:
        """Do as `aclose` does, in this thread."""
        self._closing.set()
        self._writing.shutdown()
        self._reading.shutdown()
        self._resign()
        self._writers.dispose()
        self._readers.dispose()


class _DoubtfulCommitError(Exception):
    """A commit was sent, and no answer came."""

    def __init__(self, error: DBAPIError) -> None:
        self.error = error


def _code(error: DBAPIError) -> str | None:
    code: str | None = getattr(error.orig, "sqlstate", None)
    return code


def _is_lost(error: DBAPIError) -> bool:
    """Tell whether PostgreSQL could not be reached: an error of the connection has no code, or one of two classes."""
    code = _code(error)
    unreached = code is None and isinstance(error, OperationalError)
    return error.connection_invalidated or unreached or (code or "").startswith(("08", "57P0"))


def _give_up_at() -> float:
    return time.monotonic() + _PATIENCE


_NAMES = ("postgresql", "postgres", "postgresql+psycopg")


def _shown(url: str) -> str:
    address = sa.make_url(url)
    shown = {name: value for name, value in address.query.items() if name in ("host", "port")}  # not a password
    return address.set(query=shown).render_as_string(hide_password=True)


def _engine(url: str, name: str, connections: int, isolation: Any, **settings: int) -> sa.Engine:
    require("psycopg", "A PostgreSQL database")
    try:
        address = sa.make_url(url)
    except (ArgumentError, ValueError):
        address = None
    if address is None or address.drivername not in _NAMES:
        raise ViConfigurationError("The database must be an address such as postgresql://user@host/name.")
    options = " ".join(f"-c {name}={value}" for name, value in {"jit": "off", **settings}.items())
    return sa.create_engine(
        address.set(drivername="postgresql+psycopg"),
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        isolation_level=isolation,
        json_serializer=query_postgres.dump_json,
        connect_args={"options": options, "connect_timeout": 10, "application_name": name},
    )


def _prepare(connection: sa.Connection, url: str, *, make: bool, upgrade: bool) -> None:
    """Make the tables of an empty database, one process at a time."""
    if connection.execute(sa.text("SHOW server_encoding")).scalar() != "UTF8":
        raise ViConfigurationError(
            f"The database {_shown(url)} is not in UTF-8.", suggestion="Make one: createdb --encoding=UTF8 NAME"
        )
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_PREPARING)))
    new = not sa.inspect(connection).get_table_names()
    if new and not make:
        raise ViConfigurationError(
            f"The database {_shown(url)} is empty.", suggestion="Serve a folder with it first: vi-sdk serve --database"
        )
    if new:
        for statement in query_postgres.functions():
            connection.exec_driver_sql(statement)
    if upgrade and not new:
        migrations.run(connection)
    if not migrations.prepare(connection) and not migrations.is_next(connection):
        raise ViConfigurationError(
            f"The database {_shown(url)} has tables of another release.",
            suggestion=f"Run: vi-sdk server migrate; this release needs revision {migrations.HEAD}.",
        )
    if new:
        for statement in query_postgres.INDEXES:
            connection.exec_driver_sql(statement)
