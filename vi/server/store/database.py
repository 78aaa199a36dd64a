"""Metadata on SQLite: one writer that commits in groups, and readers beside it.

Work is a function of a connection. It runs in one thread from its first statement to its last, which costs the event
loop one hop; it must not touch state that tasks of the loop change. Writes queue up while a transaction is being
flushed to disk; the next transaction takes all of them, each in its own savepoint, and one flush makes them durable
together. A write returns only after that flush. Readers see the last commit and never wait for the writer (WAL).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError

from ...errors import ViConfigurationError
from ..disk.own import check_journal, check_own, open_own
from . import migrations, query
from .metadata import TooManyReadsError, Work
from .readers import READERS, Readers

T = TypeVar("T")

_LOOK_SECONDS = 0.01
_GROUP = 128
_CHECKED_BYTES = 32 << 20
"""Databases up to this size are checked when they are opened; checking a larger one would delay the start."""
_QUERY_SECONDS = 30.0
_QUERY_STEPS = 50_000
"""How many virtual machine steps pass before SQLite asks whether to continue: a few milliseconds."""


@attrs.define
class _Job:
    work: Work[Any]
    outcome: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Database:
    """The metadata of one data folder, opened by `Database.open`."""

    def __init__(self, readers: sa.Engine, writers: sa.Engine, writer: sa.Connection) -> None:
        self._readers = readers
        self._writers = writers
        self._writer = writer
        self._reading = Readers()
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="vi-database-writer")
        self._under_way: set[sqlite3.Connection] = set()
        self._jobs: deque[_Job] = deque()
        self._wanted = asyncio.Event()
        self._closing = False
        self.query_seconds: float = _QUERY_SECONDS
        self._task = asyncio.create_task(self._run(), name="vi-database-writer")

    @classmethod
    async def open(cls, path: Path) -> Database:
        """Open the database at *path*, making or upgrading its tables first."""
        os.close(open_own(path, os.O_RDWR | os.O_CREAT))
        for beside in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                check_own(f"{path}{beside}", os.lstat(f"{path}{beside}"))
        check_journal(f"{path}-journal")
        writers = _engine(path, 1, "BEGIN IMMEDIATE")
        try:
            await asyncio.to_thread(_prepare, path, writers)
            return cls(_engine(path, READERS, "BEGIN"), writers, writers.connect())
        except BaseException as error:
            writers.dispose()
            if isinstance(error, DBAPIError):
                message = f"The database {path} cannot be used: {error.orig}."
                raise ViConfigurationError(message, path=str(path)) from error
            raise

    async def read(self, work: Work[T]) -> T:
        """Run *work* on a reader's connection, in one consistent view; raises `TooManyReadsError`."""
        return await self._reading.run(self._read, work)

    def _read(self, work: Work[T]) -> T:
        with self._readers.connect() as connection:
            driver = _driver(connection)
            self._under_way.add(driver)
            try:
                if self._closing:
                    raise RuntimeError("the database is closed")
                ends = time.monotonic() + self.query_seconds
                driver.set_progress_handler(lambda: time.monotonic() > ends, _QUERY_STEPS)
                return work(connection)
            except OperationalError as error:
                if "interrupted" in str(error.orig) and not self._closing:
                    raise TooManyReadsError from None
                raise
            finally:
                driver.set_progress_handler(None, 0)
                self._under_way.discard(driver)

    async def write(self, work: Work[T]) -> T:
        """Run *work* in a transaction; returns when it is on disk. An error undoes the changes of this *work* only."""
        if self._closing:
            raise RuntimeError("the database is closed")
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._wanted.set()
        result: T = await job.outcome
        return result

    async def aclose(self) -> None:
        """Finish queued work and close."""
        self._closing = True
        self._wanted.set()
        await self._task
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._reading.shutdown(wait=False)
        while self._under_way:  # reads whose callers have gone
            for driver in list(self._under_way):
                driver.interrupt()  # does nothing between two statements
            time.sleep(_LOOK_SECONDS)
        self._reading.shutdown()
        self._writing.shutdown()
        self._writer.close()
        self._writers.dispose()
        self._readers.dispose()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._jobs or not self._closing:
            await self._wanted.wait()
            self._wanted.clear()
            while self._jobs:
                group = [self._jobs.popleft() for _ in range(min(len(self._jobs), _GROUP))]
                group = [job for job in group if not job.outcome.cancelled()]
                try:
                    await loop.run_in_executor(self._writing, _commit, self._writer, group)
                except Exception as error:  # noqa: BLE001 - whatever it is, every waiting job must hear of it
                    for job in group:
                        job.error = job.error or error
                    with contextlib.suppress(Exception):
                        await loop.run_in_executor(self._writing, self._writer.rollback)
                for job in group:
                    _resolve(job)


def _commit(connection: sa.Connection, group: list[_Job]) -> None:
    with connection.begin():
        alone = len(group) == 1
        for job in group:
            try:
                if alone:
                    job.result = job.work(connection)
                else:
                    with connection.begin_nested():
                        _do(job, connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, the one who waits for this job gets it
                job.error = job.error or error
                if alone or not _is_open(connection):
                    raise job.error from None


def _do(job: _Job, connection: sa.Connection) -> None:
    try:
        job.result = job.work(connection)
    except Exception as error:
        job.error = error  # before the rollback of the savepoint, which may fail too
        raise


def _is_open(connection: sa.Connection) -> bool:
    """Tell whether the transaction is still open: if the disk is full or fails, SQLite rolls it back."""
    return _driver(connection).in_transaction


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _resolve(job: _Job) -> None:
    if job.outcome.done():
        return
    if job.error is not None:
        job.outcome.set_exception(job.error)
    else:
        job.outcome.set_result(job.result)


def _prepare(path: Path, writers: sa.Engine) -> None:
    if path.stat().st_size <= _CHECKED_BYTES:
        with writers.connect() as connection:
            problem = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if problem != "ok":
            raise ViConfigurationError(f"The database {path} is damaged: {str(problem)[:200]}.", path=str(path))
    with writers.begin() as connection:
        current = migrations.prepare(connection)
    if not current:
        migrations.upgrade(path)


def _read_json(text: str) -> Any:
    return {} if text == "{}" else json.loads(text)  # which most of it is


def _engine(path: Path, connections: int, begin: str) -> sa.Engine:
    url = sa.URL.create("sqlite", database=str(path))
    # One connection per thread, so no thread waits for a connection.
    engine = sa.create_engine(
        url, pool_size=connections, max_overflow=0, hide_parameters=True, json_deserializer=_read_json
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "fullfsync=1",  # macOS: past the cache of the drive; no effect on other systems
            "busy_timeout=10000",
            "temp_store=MEMORY",
            "cache_size=-32000",
            "mmap_size=268435456",
            "trusted_schema=OFF",  # views and triggers of a foreign database cannot call functions with side effects
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        query.prepare(connection)

    @event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
