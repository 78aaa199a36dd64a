"""Row A18: what lies open on the user's own machine."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import vi
from tests.support.systems import needs_modes
from vi._transfer.journals.uploads import Journal, JournalKey
from vi.cli import checks

KEY = "dtvi_" + "Zq9" * 32 + "Zq"


@needs_modes
def test_A18_a_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    for mode, warned in ((0o600, False), (0o644, True), (0o640, True), (0o602, True)):
        file.chmod(mode)
        found = list(checks.private("settings file", file))
        assert [check.state for check in found] == ["warn"] * warned, oct(mode)
        assert all(str(file) in check.found and "chmod" in check.advice for check in found)
    for mode, warned in ((0o700, False), (0o755, False), (0o777, True), (0o770, True)):
        tmp_path.chmod(mode)
        assert [check.state for check in checks.private("cache", tmp_path, written=True)] == ["warn"] * warned
    tmp_path.chmod(0o700)
    assert list(checks.private("cache", tmp_path / "missing")) == []


@needs_modes
@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o644, True), (0o620, True)])
def test_A18_a_settings_file_with_a_key_that_others_can_read_is_warned_of_at_use(
    tmp_path: Path, mode: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"secret_key = '{KEY}'\norganization_id = 'acme'\nendpoint = 'http://127.0.0.1:1'")
    file.chmod(mode)
    for _ in range(2):
        vi.Client(config_file=file)
    assert [str(file) in one and "chmod go-rwx" in one for one in caplog.messages] == [True] * warned


@needs_modes
@pytest.mark.parametrize(("mode", "warned"), [(0o755, False), (0o777, True), (0o1777, False)])
def test_A18_a_cache_that_others_can_write_to_is_warned_of_at_use(
    tmp_path: Path, mode: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    (cache / "transfers").mkdir(parents=True)
    cache.chmod(mode)
    for _ in range(2):
        Journal.open(JournalKey("https://vi.example", "acme", "ds1"), cache / "transfers").close(finished=True)
    assert [f"chmod go-w {cache}" in one for one in caplog.messages] == [True] * warned


@needs_modes
def test_A18_a_key_of_a_data_folder_that_others_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it is in a folder that was unpacked from an archive."""
    from vi.server.config import ServiceConfig
    from vi.server.identity import load_identity

    identity = tmp_path / "identity.json"
    made = load_identity(identity, ServiceConfig(), 0)
    assert load_identity(identity, ServiceConfig(), 0) == made
    assert caplog.messages == []
    identity.chmod(0o644)
    assert load_identity(identity, ServiceConfig(), 0) == made
    assert [f"chmod go-rwx {identity}" in one for one in caplog.messages] == [True]


@pytest.mark.parametrize("kind", [vi.Client, vi.AsyncClient])
def test_A18_a_traceback_shows_a_client_that_was_not_made(kind: type) -> None:
    try:
        kind("not a key", "acme")
    except vi.ViConfigurationError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert f"self = {kind.__name__}()" in shown


def _of_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    monkeypatch.setenv("DATATURE_VI_SECRET_KEY", KEY)
    return {}


def _of_file(text: str) -> Callable[[pytest.MonkeyPatch, Path], dict[str, Any]]:
    def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        return {"config_file": path}

    return write


REFUSED: dict[str, Callable[[pytest.MonkeyPatch, Path], dict[str, Any]]] = {
    "organization": lambda *_: {"secret_key": KEY, "organization_id": "a/b"},
    "endpoint": lambda *_: {"secret_key": KEY, "organization_id": "a", "endpoint": "http://example.com"},
    "a key with a blank": lambda *_: {"secret_key": KEY + " ", "organization_id": "a"},
    "timeouts": lambda *_: {"secret_key": KEY, "organization_id": "a", "timeouts": 5},
    "environment": _of_environment,
    "file without an organization": _of_file(f"secret_key = '{KEY}'"),
    "file that cannot be parsed": _of_file(f"secret_key = '{KEY}"),
    "file without the profile": _of_file(f"profile = 'x'\n[profiles.y]\nsecret_key = '{KEY}'"),
    "file with a bad field": _of_file(f"secret_key = '{KEY}'\nendpoint = 5"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", [vi.Client, vi.AsyncClient])
def test_A18_a_traceback_with_locals_shows_no_key(
    case: str, kind: type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = REFUSED[case](monkeypatch, tmp_path)
    with pytest.raises(vi.errors.ViError) as caught:
        kind(**given)
    assert caught.tb is not None
    report = traceback.TracebackException(caught.type, caught.value, caught.tb.tb_next, capture_locals=True)
    shown = "".join(report.format())
    assert "load_settings" in shown
    assert "Zq9Zq9" not in shown


def test_A18_a_key_is_text_that_only_its_repr_hides() -> None:
    settings = vi.Client(KEY, "acme", "http://127.0.0.1:1").settings
    assert "Zq9" not in f"{settings!r} {[settings.secret_key]} {attrs.asdict(settings)}"
    assert f"{settings.secret_key}" == json.loads(json.dumps(settings.secret_key)) == KEY
    assert pickle.loads(pickle.dumps(settings)).secret_key == KEY
    assert repr(copy.deepcopy([settings.secret_key])) == "['dtvi_***']"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:PASSWORD@[::1/x",
        "postgresql://u:PASSWORD@127.0.0.1:1/x",
        "postgresql://u@127.0.0.1:1/x?password=PASSWORD",
        "mysql://u:PASSWORD@127.0.0.1:1/x",
        "host=h password=PASSWORD",
    ],
)
def test_A18_an_error_of_a_database_shows_no_password(address: str) -> None:
    pytest.importorskip("psycopg")
    from vi.server.store.postgres import PostgresDatabase

    with pytest.raises(vi.ViConfigurationError) as refused:
        PostgresDatabase.open_blocking(address)
    assert "PASSWORD" not in str(refused.value)
