"""`doctor` finds what is wrong, says what to do, and ends with 1 only if something fails."""

from __future__ import annotations

import datetime as dt
import socket
import sys
from collections.abc import Callable
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.outcomes import Outcome
from vi.cli import checks

Run = Callable[..., Outcome]


def found(run: Run, *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    ended = run("doctor", "--json", *arguments)
    assert ended.err == ""
    return ended.code, {check["name"]: check for check in ended.json_lines()}


def test_all_is_well(run: Run, service: Any, tmp_path: Path) -> None:
    code, checks_ = found(run)
    assert code == 0, checks_
    assert [name for name, check in checks_.items() if check["state"] == "fail"] == []
    assert {"settings", "proxy", "address", "clock", "credentials", "CRC32C", "aiohttp", "cache", "this folder"} <= set(
        checks_
    )
    assert service.url in checks_["address"]["found"]
    assert service.organization_id in checks_["credentials"]["found"]
    assert checks_["clock"]["state"] == "ok"
    assert str(tmp_path / "cache") in checks_["cache"]["found"]
    assert not (tmp_path / "cache").exists()
    people = run("doctor")
    assert people.code == 0
    assert len(people.lines) >= len(checks_)
    assert run("doctor", "--quiet").out == ""


def test_the_walls_around_decoders_are_named(run: Run, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that stand, or those that this system lacks and why."""
    walls = pytest.importorskip("vi.server.inspection.walls")
    said = found(run)[1]["decoders"]
    assert said["state"] == ("ok" if set(walls.available().values()) == {"on"} else "note")
    if sys.platform == "win32":
        assert said["found"].count("Windows has none") == 1
    if sys.platform == "linux":
        monkeypatch.setattr(walls, "_landlock_version", lambda: 0)
        lacking = found(run)[1]["decoders"]
        assert lacking["state"] == "note"
        assert "no landlock" in lacking["found"]


def test_no_settings(run: Run, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in service.environment:
        monkeypatch.delenv(name)
    code, checks_ = found(run)
    assert code == 1
    assert checks_["settings"]["state"] == "fail"
    assert "vi-sdk login" in checks_["settings"]["advice"]
    assert "address" not in checks_
    assert checks_["CRC32C"]["state"] == "ok"


def test_nobody_there(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    code, checks_ = found(run, "--endpoint", f"http://127.0.0.1:{port}")
    assert code == 1
    assert "refused" in checks_["address"]["found"]
    assert "vi-sdk serve" in checks_["address"]["advice"]
    assert "credentials" not in checks_


def test_a_name_that_cannot_be_resolved(run: Run) -> None:
    code, checks_ = found(run, "--endpoint", "https://nowhere.invalid")
    assert code == 1
    assert "cannot be resolved" in checks_["address"]["found"]


def test_a_key_that_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATATURE_VI_SECRET_KEY", "dtvi_" + "x" * 98)
    code, checks_ = found(run)
    assert code == 1
    assert checks_["address"]["state"] == "ok"
    assert checks_["credentials"]["state"] == "fail"
    assert "vi-sdk login" in checks_["credentials"]["advice"]
    assert run("doctor", "--quiet").lines[0].startswith("fail  credentials")


def test_a_proxy_is_shown_without_its_password(run: Run, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    elsewhere = "https://service.test"
    assert checks.proxy(elsewhere).found == "requests go through http://***@127.0.0.1:9"
    monkeypatch.setenv("DATATURE_VI_API_ENDPOINT", elsewhere)
    code, checks_ = found(run)
    assert code == 1
    assert checks_["proxy"]["state"] == "note"
    assert checks_["address"]["state"] == "fail"
    monkeypatch.setenv("no_proxy", ".test")
    assert "NO_PROXY leaves this service out" in checks.proxy(elsewhere).found


def test_a_proxy_is_not_used_for_this_machine(run: Run, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    code, checks_ = found(run)
    assert code == 0
    assert "not used for this machine" in checks_["proxy"]["found"]


@pytest.mark.parametrize(
    ("ahead", "state", "words"),
    [
        (0, "ok", "agrees"),
        (-20, "ok", "20 s ahead of"),
        (-900, "warn", "900 s ahead of"),
        (900, "warn", "900 s behind"),
    ],
)
def test_clocks(ahead: int, state: str, words: str) -> None:
    date = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=ahead, milliseconds=400), usegmt=True)
    check = checks.clock(date)
    assert check.state == state
    assert words.split()[-1] in check.found
    assert bool(check.advice) is (state == "warn")


@pytest.mark.parametrize("date", [None, "None", "yesterday"])
def test_a_service_without_a_date(date: str | None) -> None:
    assert checks.clock(date).state == "note"


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.folder("x", tmp_path / "not" / "yet", "").state == "ok"
    assert list(tmp_path.iterdir()) == []

    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    usage = type("Usage", (), {"free": checks.NO_SPACE - 1})
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage)
    assert checks.folder("x", tmp_path, "Move.") == checks.Check(
        "x", "fail", f"{tmp_path}: 64.0 MiB free", "Free some space. Move."
    )
    monkeypatch.setattr(checks.tempfile, "NamedTemporaryFile", refuse)
    assert checks.folder("x", tmp_path, "Move.").found == f"{tmp_path}: no file can be made: Permission denied"


def test_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    for soft, state in ((64, "fail"), (256, "warn"), (4096, "ok")):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, 1_000_000))
        check = checks.open_files()
        assert check.state == state
        assert check.advice == ("" if state == "ok" else "Run: ulimit -n 4096")
