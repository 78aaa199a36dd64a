"""A PostgreSQL of the tests' own, on a Unix socket; where tests are root, whom it refuses, it runs as another user."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest


class Postgres:
    """A running server that makes databases."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
            _run(user, [*control, "-o", settings, "-l", str(folder / "log"), "start"])
            try:
                yield cls(folder)
            finally:
                _run(user, [*control, "-m", "immediate", "stop"])

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
    identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    done = subprocess.run(command, cwd="/", capture_output=False, stdout=subprocess.DEVNULL, check=False, **identity)
    assert done.returncode == 0, command
