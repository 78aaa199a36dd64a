"""A PostgreSQL of the tests' own, on a Unix socket; where tests are root, whom it refuses, it runs as another user."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

_START_SECONDS = 60


class Postgres:
    """A running server that makes databases."""

    def __init__(self, folder: Path, programs: Path, start: Callable[[], bool]) -> None:
        self._folder = folder
        self._programs = programs
        self._start = start
        self._numbers = itertools.count()

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[Self]:
        """Start a server and end it; skips the test where its programs are missing."""
        pytest.importorskip("psycopg", reason="psycopg is not installed")
        programs = _programs()
        # Not below the folders of pytest, which other users may not pass.
        with tempfile.TemporaryDirectory(prefix="vi-pg-") as made:
            folder = Path(made)
            user = _other_user()
            if user is not None:
                os.chown(folder, user.pw_uid, user.pw_gid)
            data = str(folder / "data")
            _run(user, [str(programs / "initdb"), "-D", data, "-A", "trust", "-U", "vi", "-E", "UTF8", "--no-sync"])
            settings = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=200"
            control = [str(programs / "pg_ctl"), "-D", data, "-w"]
            start = [*control, "-o", settings, "-l", str(folder / "log"), "start"]
            _run(user, start)
            try:
                yield cls(folder, programs, lambda: _runs(user, start))
            finally:
                _run(user, [*control, "-m", "immediate", "stop"])

    def kill(self) -> None:
        """Kill the server, and wait for those that it has started for connections, which end by themselves."""
        number = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{number}/task/{number}/children")
        started = children.read_text().split() if children.exists() else []
        os.kill(number, signal.SIGKILL)
        deadline = time.monotonic() + _START_SECONDS
        while any(Path(f"/proc/{one}").exists() for one in started):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def start(self) -> None:
        """Start it again after `kill`."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._start():  # until the last of the old ones has ended
            assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.2)

    def url(self, name: str) -> str:
        """Return the address of a database."""
        return f"postgresql://vi@/{name}?host={self._folder}"

    def create(self) -> str:
        """Make an empty database and return its address."""
        import psycopg

        name = f"test{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def dump(self, url: str) -> bytes:
        """Return what `pg_dump` writes of a database."""
        return self._program(["pg_dump", f"--dbname={url}"])

    def restore(self, dump: bytes, url: str) -> None:
        """Put what `dump` returned into an empty database."""
        self._program(["psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={url}"], dump)

    def _program(self, words: Sequence[str], given: bytes = b"") -> bytes:
        command = [str(self._programs / words[0]), *words[1:]]
        return subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True).stdout


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "/missing")]
    if not found[-1].is_file():
        pytest.skip("PostgreSQL is not installed (initdb)")
    return found[-1].parent


def _other_user() -> Any:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd  # not on Windows

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("PostgreSQL refuses root, and there is neither postgres nor nobody")


def _run(user: Any, command: Sequence[str]) -> None:
    assert _runs(user, command), command


def _runs(user: Any, command: Sequence[str]) -> bool:
    identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, check=False, **identity).returncode == 0
