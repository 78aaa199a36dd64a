"""What the database promises when its disk is full, and how it flushes (row P4)."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from vi.server.store import readers
from vi.server.store.database import Database
from vi.server.store.metadata import TooManyReadsError
from vi.server.store.schema import garbage

pytestmark = pytest.mark.anyio


def _note(*blobs: str) -> Any:
    return lambda connection: connection.execute(garbage.insert(), [{"blob": blob} for blob in blobs])


async def test_a_commit_is_flushed_before_it_is_answered(tmp_path: Path) -> None:
    """With WAL, NORMAL would lose the last commits with the power: each would be a PUT that was acknowledged."""
    database = await Database.open(tmp_path / "vi.db")
    try:
        level = await database.write(lambda c: c.execute(sa.text("PRAGMA synchronous")).scalar_one())
        assert await database.read(lambda c: c.execute(sa.text("PRAGMA journal_mode")).scalar_one()) == "wal"
    finally:
        await database.aclose()
    assert level == 2  # FULL


async def test_what_shares_a_commit_with_a_full_disk_is_not_called_done(tmp_path: Path) -> None:
    """SQLite undoes the whole transaction when the disk is full, so each of the group must hear of it."""
    path = tmp_path / "vi.db"
    database = await Database.open(path)
    try:
        pages = await database.write(lambda c: c.execute(sa.text("PRAGMA page_count")).scalar_one())
        await database.write(lambda c: c.execute(sa.text(f"PRAGMA max_page_count = {pages + 8}")))
        works = [_note("first"), _note(*(f"{number}{'x' * 2000}" for number in range(99))), _note("last")]
        outcomes = await asyncio.gather(*map(database.write, works), return_exceptions=True)
        assert all("full" in str(outcome) for outcome in outcomes), outcomes
        assert await database.read(lambda c: c.execute(sa.select(garbage.c.blob)).all()) == []
        await database.write(_note("again"))
    finally:
        await database.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select blob from garbage").fetchall() == [("again",)]


async def test_an_error_of_one_leaves_the_others_of_its_commit(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "vi.db")
    try:
        await database.write(_note("taken"))
        outcomes = await asyncio.gather(
            *map(database.write, [_note("a"), _note("taken"), _note("b")]), return_exceptions=True
        )
        assert [isinstance(outcome, sa.exc.IntegrityError) for outcome in outcomes] == [False, True, False]
        found = await database.read(lambda c: set(c.execute(sa.select(garbage.c.blob)).scalars()))
        assert found == {"a", "b", "taken"}
    finally:
        await database.aclose()


def _for_ever(connection: sa.Connection) -> Any:
    numbers = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number) SELECT count(*) FROM number"
    return connection.execute(sa.text(numbers)).scalar_one()


async def test_reads_that_never_end_hold_back_neither_a_write_nor_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds no reader is told so in time, and closing stops those that nobody waits for any more."""
    monkeypatch.setattr(readers, "READ_SECONDS", 0.1)
    database = await Database.open(tmp_path / "vi.db")
    reads = [asyncio.create_task(database.read(_for_ever)) for _ in range(readers.READERS)]
    try:
        await asyncio.sleep(0)
        with pytest.raises(TooManyReadsError):
            await database.read(lambda c: c.execute(sa.select(garbage.c.blob)).all())
        await database.write(_note("written"))
        assert not any(read.done() for read in reads)
        for read in reads:
            read.cancel()
        with pytest.raises(TooManyReadsError):  # the threads are still at it
            await database.read(lambda c: c.execute(sa.select(garbage.c.blob)).all())
    finally:
        async with asyncio.timeout(30):
            await database.aclose()
    assert [read.cancelled() for read in reads] == [True] * readers.READERS


async def test_a_read_between_two_statements_does_not_hold_back_the_end(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "vi.db")
    begun, go_on = threading.Event(), threading.Event()

    def work(connection: sa.Connection) -> Any:
        begun.set()
        go_on.wait(30)
        return _for_ever(connection)

    read = asyncio.create_task(database.read(work))
    await asyncio.to_thread(begun.wait, 30)
    read.cancel()
    closing = asyncio.create_task(database.aclose())
    done, _ = await asyncio.wait({closing}, timeout=0.1)  # it has said so in vain meanwhile
    assert not done
    go_on.set()
    async with asyncio.timeout(30):
        await closing


async def test_requests_that_find_no_reader_are_told_to_come_again(
    start_service: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, real = threading.Event(), Database._read
    monkeypatch.setattr(readers, "READ_SECONDS", 0.1)
    api = await connect(start_service())
    monkeypatch.setattr(Database, "_read", lambda self, work: held.wait(30) and real(self, work))
    path = f"{api.organization}/datasets"
    asked = {asyncio.create_task(api("GET", path)) for _ in range(readers.READERS + 1)}
    try:
        [refused], waiting = await asyncio.wait(asked, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    finally:
        held.set()
    answer = refused.result()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * readers.READERS
