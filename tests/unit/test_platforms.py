"""What the code does on systems other than this one, as far as it can be asked here."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

import vi
from vi import _checksums, _connections, _disk
from vi._paths import check_path_text
from vi._show import console
from vi._transfer.remote_folders import is_remote
from vi._transfer.sources.remote import as_remote, local_path
from vi.cli.moves import expand_patterns
from vi.server import command

PACKAGE = Path(vi.__file__).parent


@pytest.fixture
def no_choice(monkeypatch: pytest.MonkeyPatch) -> Any:
    _checksums._implementation.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    _checksums._implementation.cache_clear()


def test_a_fastcrc_that_takes_bytes_alone_is_not_used(no_choice: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastcrc", exc_type=ImportError)  # its DLL does not load under wine
    fast = _checksums._fastcrc()

    def old(data: Any, value: int = 0) -> int:
        if not isinstance(data, bytes):
            raise TypeError("argument 'data': 'bytearray' object cannot be converted to 'PyBytes'")
        return fast(data, value)

    no_choice.setattr(_checksums, "_fastcrc", lambda: old)
    assert _checksums.crc32c(bytearray(b"123456789")) == 0xE3069283
    assert _checksums.implementation() != "fastcrc"


class OldPath:
    """As paths of universal_pathlib 0.2 were: of another file system, and yet a path of this one."""

    protocol = "memory"
    fs = None

    def __init__(self, path: str) -> None:
        self.path, self.name = path, path.rpartition("/")[2]

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return f"memory://{self.path}"

    def iterdir(self) -> None: ...

    def open(self, mode: str) -> None: ...


class OwnPath(OldPath):
    protocol = ""


def test_a_path_of_another_file_system_is_remote_although_it_has_a_path_here() -> None:
    remote = as_remote(OldPath("/out/a.png"))
    assert remote is not None
    assert remote.label == "memory:///out/a.png"
    assert is_remote(OldPath("/out"))
    assert as_remote(OwnPath("/out/a.png")) is None
    assert not is_remote(OwnPath("/out"))
    assert as_remote(Path("/out/a.png")) is None


def test_an_address_of_a_file_on_another_machine_is_refused_but_on_windows() -> None:
    assert local_path("file:///a%20b.png") == local_path("file://localhost/a%20b.png") == f"{os.sep}a b.png"
    if sys.platform == "win32":  # where it is the path of a shared folder
        assert local_path("file://server/share/a%20b.png") == r"\\server\share\a b.png"
        return
    with pytest.raises(vi.ViInvalidParameterError, match="server"):
        local_path("file://server/share/a.png")


def test_patterns_are_expanded_where_the_shell_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png", "c.txt", "[d].png"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert expand_patterns(["*.png", "c.txt"], system="win32") == ["[d].png", "a.png", "b.png", "c.txt"]
    assert expand_patterns(["[d].png", "nothing*"], system="win32") == ["[d].png", "nothing*"]
    assert expand_patterns(["*.png"], system="linux") == ["*.png"]


def test_a_quote_that_a_backslash_kept_in_a_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shells of Windows pass `"C:\\my images\\"` as a path that ends with a quote."""
    monkeypatch.setattr(sys, "platform", "linux")
    check_path_text('my images"', "save_dir")
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(vi.ViInvalidParameterError, match=r"save_dir holds a quote.*Leave out the backslash"):
        check_path_text('my images"', "save_dir")


@pytest.mark.parametrize(
    ("code", "said"), [(1225, "connection refused"), (10054, "connection reset by peer"), (59, "an unexpected error")]
)
def test_a_connection_that_windows_refuses_is_told_as_on_other_systems(code: int, said: str) -> None:
    """The calls of a proactor loop have Windows' own codes, and EINVAL as their number."""
    error = OSError(errno.EINVAL, "An unexpected error")
    setattr(error, "winerror", code)  # noqa: B010
    assert _connections.read_failure(error, URL("http://vi.example")).reason.endswith(f" failed: {said}")


def test_every_reader_that_left_is_known_on_windows() -> None:
    kinds = {errno.EPIPE, errno.EBADF} | ({errno.EINVAL} if sys.platform == "win32" else set())
    assert kinds == console._NOBODY_READS


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_flush_is_none_of_our_faults(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_disk, "_sync", refuse)
    _disk.flush(0)


def test_every_flush_goes_through_the_one_that_knows_the_system() -> None:
    flushing = {path.name for path in PACKAGE.rglob("*.py") if "fsync(" in path.read_text("utf-8")}
    assert flushing == {"_disk.py"}


def loaded_on(system: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a module of ours as it is on another system."""
    spec = importlib.util.spec_from_file_location(f"vi.{name}_on_{system}", PACKAGE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", system)
        spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fcntl")
@pytest.mark.parametrize("refused", [None, errno.ENOTSUP, errno.ENOTTY, errno.EIO])
def test_a_mac_flushes_past_the_cache_of_the_drive(refused: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    calls: list[tuple[str, int]] = []

    def control(descriptor: int, number: int) -> None:
        calls.append(("F_FULLFSYNC", number))
        if refused is not None:
            raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(("fsync", descriptor)))
    there = loaded_on("darwin", "_disk", monkeypatch)
    if refused == errno.EIO:  # which the system tells once
        with pytest.raises(OSError, match=os.strerror(refused)):
            there.flush(7)
    else:
        there.flush(7)
    assert calls == [("F_FULLFSYNC", 51)] + ([("fsync", 7)] if refused not in (None, errno.EIO) else [])


def test_the_database_flushes_past_the_cache_of_the_drive(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    from vi.server.store import database

    engine = database._engine(tmp_path / "rows.db", 1, "BEGIN")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA fullfsync").scalar() == 1
    engine.dispose()


def test_a_service_ends_when_a_program_on_windows_asks_it_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Ctrl+Break, and without handlers in the event loop."""
    number = getattr(signal, "SIGBREAK", None) or signal.SIGUSR1
    monkeypatch.setattr(signal, "SIGBREAK", number, raising=False)
    ending = loaded_on("win32", "_signals", monkeypatch).ENDING
    monkeypatch.setattr(command, "ENDING", ending)
    assert number in ending
    before = {one: signal.getsignal(one) for one in ending}

    def unknown(*_: Any) -> None:
        raise NotImplementedError

    async def wait() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "add_signal_handler", unknown)
            ended = command._signalled()
        signal.raise_signal(number)
        await asyncio.wait_for(ended.wait(), 60)

    try:
        asyncio.run(wait())
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
