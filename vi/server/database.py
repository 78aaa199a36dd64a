"""Metadata on SQLite: one writer that commits in groups, and readers beside it.

Work is a function of a connection. Writes queue up while a transaction is being flushed to disk; the next transaction
takes all of them, each in its own savepoint, and one flush makes them durable together. A write returns only after
that flush. Readers see the last commit and never wait for the writer (WAL).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ..errors import ViConfigurationError
from . import migrations, query

T = TypeVar("T")
Work = Callable[[sa.Connection], T]

_READERS = 4
_READ_SECONDS = 30
_GROUP = 128


@attrs.define
class _Job:
    work: Work[Any]
    outcome: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Database:
    """The metadata of one data folder, opened by `Database.open`."""

    def __init__(self, readers: AsyncEngine, writers: AsyncEngine, writer: AsyncConnection) -> None:
        self._readers = readers
        self._writers = writers
        self._writer = writer
        self._jobs: deque[_Job] = deque()
        self._wanted = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="vi-database-writer")

    @classmethod
    async def open(cls, path: Path) -> Database:
        """Open the database at *path*, making or upgrading its tables first."""
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        writers = _engine(path, 1, "BEGIN IMMEDIATE")
        readers = _engine(path, _READERS, "BEGIN")
        try:
            async with writers.begin() as connection:
                current = await connection.run_sync(migrations.prepare)
            if not current:
                await asyncio.to_thread(migrations.upgrade, path)
            return cls(readers, writers, await writers.connect())
        except BaseException as error:
            await writers.dispose()
            await readers.dispose()
            if isinstance(error, sa.exc.DBAPIError):
                message = f"The database {path} cannot be used: {error.orig}."
                raise ViConfigurationError(message, path=str(path)) from error
            raise

    async def read(self, work: Work[T]) -> T:
        """Run *work* on a reader's connection, in one consistent view."""
        async with self._readers.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Work[T]) -> T:
        """Run *work* in a transaction; returns when it is on disk. An error of *work* undoes its changes alone."""
        if self._closing:
            raise RuntimeError("the database is closed")
        job = _Job(work, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._wanted.set()
        result: T = await job.outcome
        return result

    async def aclose(self) -> None:
        """Finish what was asked for and close."""
        self._closing = True
        self._wanted.set()
        await self._task
        await self._writer.close()
        await self._writers.dispose()
        await self._readers.dispose()

    async def _run(self) -> None:
        while self._jobs or not self._closing:
            await self._wanted.wait()
            self._wanted.clear()
            while self._jobs:
                group = [self._jobs.popleft() for _ in range(min(len(self._jobs), _GROUP))]
                group = [job for job in group if not job.outcome.cancelled()]
                try:
                    await self._writer.run_sync(_commit, group)
                except Exception as error:  # noqa: BLE001 - whatever it is, every waiting job must hear of it
                    for job in group:
                        job.error = job.error or error
                    with contextlib.suppress(Exception):
                        await self._writer.rollback()
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
        job.error = error  # before the savepoint is undone, which may fail in its turn
        raise


def _is_open(connection: sa.Connection) -> bool:
    """Tell whether the transaction goes on: when the disk is full or fails, SQLite undoes all of it by itself."""
    driver = connection.connection.driver_connection
    return driver is not None and bool(driver.in_transaction)


def _resolve(job: _Job) -> None:
    if job.outcome.done():
        return
    if job.error is not None:
        job.outcome.set_exception(job.error)
    else:
        job.outcome.set_result(job.result)


def _engine(path: Path, connections: int, begin: str) -> AsyncEngine:
    url = sa.URL.create("sqlite+aiosqlite", database=str(path))
    engine = create_async_engine(
        url, pool_size=connections, max_overflow=0, pool_timeout=_READ_SECONDS, hide_parameters=True
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=10000",
            "temp_store=MEMORY",
            "cache_size=-32000",
            "mmap_size=268435456",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        query.prepare(connection)

    @sa.event.listens_for(engine.sync_engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
