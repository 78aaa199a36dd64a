"""Digests of files that have not changed since they were read: comparing a folder again costs a look at each file.

A cache in SQLite beside the journals. It tells whether a file is unchanged, never what to send: what is sent is read.
An entry holds for a file of the same size, times and inode; for an object of a store, of the same size and ETag.
A file that changed within two seconds of being read is not entered, since another change might leave the same times.
Whatever is wrong with the cache (broken, locked, a full disk, writable by others) costs speed only.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import attrs

from ..change_time import change_time
from ..sources.local import Facts, Stamp
from ..sources.remote import RemoteObject
from ..threads.stopping import to_end_in_thread
from .locked_lines import cache_folder

if TYPE_CHECKING:
    import sqlite3

FORMAT = 1
MOST = 1_000_000
"""Entries kept; when there are more, the quarter that was read longest ago is forgotten."""
RACY_NS = 2_000_000_000
PATIENCE = 0.5
"""Seconds to wait for another run that is writing."""

_TABLE = """
    CREATE TABLE IF NOT EXISTS files (
        place TEXT PRIMARY KEY, state TEXT NOT NULL, size INTEGER NOT NULL, family TEXT, crc32c INTEGER NOT NULL,
        sha256 TEXT NOT NULL, read INTEGER NOT NULL
    )
"""

logger = logging.getLogger("vi.transfer")


@attrs.frozen
class Look:
    """A file as it was before it was read: where it is, and what changes with its content."""

    place: str
    state: str
    stamp: Stamp | None
    settled: bool
    """Whether its last change is long enough ago for another one to show."""

    @classmethod
    def at(cls, path: str) -> Look | None:
        """Look at a regular file, through links; None when there is none. Blocking."""
        try:
            place = os.path.abspath(path)  # noqa: PTH100 - as text, and no link is followed
            status = os.stat(place)  # noqa: PTH116 - hot path
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        times = f"{status.st_mtime_ns} {change_time(place, status)}"
        state = f"{status.st_size} {times} {status.st_dev} {status.st_ino}"
        return cls(
            os.fsencode(place).hex() if not place.isprintable() else place,
            state,
            Stamp.of(status),
            status.st_mtime_ns < time.time_ns() - RACY_NS,
        )

    @classmethod
    def afar(cls, found: RemoteObject) -> Look | None:
        """Look at a remote file; None when its file system tells nothing that changes with the content. Blocking."""
        state = found.state()
        if state is None:
            return None
        return cls(found.label, state.text, None, state.changed is None or state.changed < time.time() - RACY_NS / 1e9)


def change_number(look: Look | None) -> int:
    """Return a number that changes with what was looked at, to be kept in a plan; 0 when nothing tells."""
    return 0 if look is None else int.from_bytes(hashlib.sha256(look.state.encode()).digest()[:6], "big") + 1


class KnownDigests:
    """The cache, open for one run; every method blocks, and none raises for what is wrong with the cache.

    Without *trust* it is only written to.
    """

    def __init__(self, database: sqlite3.Connection | None, *, trust: bool = True) -> None:
        self._database = database
        self._trust = trust
        self._lock = threading.Lock()
        self._written = False

    @classmethod
    def open(cls, *, trust: bool = True, folder: Path | None = None) -> Self:
        """Open the cache; one that cannot be used knows nothing."""
        try:
            return cls(_open(folder if folder is not None else cache_folder().parent), trust=trust)
        except Exception as error:  # noqa: BLE001 - SQLite may be missing, and its errors with it
            logger.info("Digests of unchanged files are not remembered: %s", error)
            return cls(None, trust=trust)

    def facts(self, looks: Sequence[Look | None]) -> list[Facts | None]:
        """Return what is known of files that are as they were when they were read."""
        asked = {look.place: look for look in looks if look is not None}
        if not self._trust or not asked:
            return [None] * len(looks)
        marks = ",".join("?" * len(asked))
        query = f"SELECT place, state, size, family, crc32c, sha256 FROM files WHERE place IN ({marks})"  # noqa: S608
        found: dict[str, Facts] = {}
        for place, state, size, family, crc, sha in self._do(query, tuple(asked)):
            if state == asked[place].state:
                found[place] = Facts(size, crc, family, asked[place].stamp, sha)
        return [found.get(look.place) if look is not None else None for look in looks]

    def note(self, read: Iterable[tuple[Look | None, Facts]]) -> None:
        """Enter what was read of files that were looked at before and are the same still."""
        now = int(time.time())
        rows = [
            (look.place, look.state, facts.size, facts.family, facts.crc32c, facts.sha256, now)
            for look, facts in read
            if look is not None
            and look.settled
            and facts.stamp == look.stamp
            and facts.crc32c is not None
            and facts.sha256 is not None
        ]
        if rows:
            self._written = True
            self._do("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the cache, and forget the oldest of what is too much."""
        if self._written:
            [[count]] = self._do("SELECT count(*) FROM files", ()) or [[0]]
            if count > MOST:
                excess = count - MOST * 3 // 4
                self._do("DELETE FROM files WHERE rowid IN (SELECT rowid FROM files ORDER BY read LIMIT ?)", (excess,))
        with self._lock:
            database, self._database = self._database, None
            if database is not None:
                with contextlib.suppress(Exception):
                    database.close()

    def _do(self, statement: str, values: Any) -> list[Any]:
        with self._lock:
            if self._database is None:
                return []
            try:
                if isinstance(values, list):
                    with self._database:
                        self._database.executemany(statement, values)
                    return []
                with self._database:
                    return self._database.execute(statement, values).fetchall()
            except Exception as error:  # noqa: BLE001 - every error of SQLite means the same here
                logger.info("Digests of unchanged files are no longer remembered: %s", error)
                with contextlib.suppress(Exception):
                    self._database.close()
                self._database = None
                return []


def _open(folder: Path) -> sqlite3.Connection:
    import sqlite3

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "digests.db"
    for again in (False, True):
        _check_private(folder, path)
        database = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            [made] = database.execute("PRAGMA user_version").fetchone()
            if made not in (0, FORMAT):
                raise sqlite3.DatabaseError("of another format")
            with database:
                database.execute(_TABLE)
                database.execute(f"PRAGMA user_version = {FORMAT}")
            return database
        except sqlite3.Error as error:
            database.close()
            if again or isinstance(error, sqlite3.OperationalError):  # locked, or a disk that does not take it
                raise
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                (folder / name).unlink(missing_ok=True)
    raise AssertionError("unreachable")


def _check_private(folder: Path, path: Path) -> None:
    """Make the file, or refuse one that somebody else can write: what it says of a file would be believed."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        if sys.platform == "win32":
            return
        if os.fstat(descriptor).st_nlink > 1:
            raise PermissionError(f"{path} has a second name (a hard link)")
        for status in (os.fstat(descriptor), folder.stat()):
            if status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise PermissionError(f"others can write {path}")
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def known_digests(*, trust: bool) -> AsyncIterator[KnownDigests]:
    """Open the cache for a block."""
    known = await to_end_in_thread(functools.partial(KnownDigests.open, trust=trust))
    try:
        yield known
    finally:
        with anyio.CancelScope(shield=True):
            await to_end_in_thread(known.close)
