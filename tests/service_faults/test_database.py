"""What the database promises when its disk is full, and how it flushes (row P4)."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from vi.server.database import Database
from vi.server.schema import garbage

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
