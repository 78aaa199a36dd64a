"""Settings from the shell: login, whoami, config, profiles. Keys are stored, used, and never printed."""

from __future__ import annotations

import io
import os
import stat
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.cli.outcomes import Outcome
from tests.support.systems import WINDOWS, needs_links
from vi.cli import main
from vi.profiles import list_profiles, save_profile

Run = Callable[..., Outcome]

KEY, OTHER_KEY = "dtvi_" + "a" * 98, "dtvi_" + "b" * 98


@pytest.fixture
def file(home: Path) -> Path:
    """The default settings file, which is not there yet."""
    return Path(os.environ["XDG_CONFIG_HOME"], "vi", "config.toml")


@pytest.fixture
def login(run: Run, service: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Logs in with a key from a pipe."""

    def call(*arguments: str, key: str | None = None) -> Outcome:
        where = ["--endpoint", service.url, "--organization", service.organization_id]
        return run("login", "--key-stdin", *where, *arguments, input=f"{key or service.secret_key}\n")

    return call


GIVEN = {
    "closed": (None, "no key was given"),
    "empty": (b"", "no key was given"),
    "as PowerShell writes a file": ("KEY\r\n".encode("utf-16"), "the key on stdin is not text in utf-8"),
    "with a byte order mark": (b"\xef\xbb\xbfKEY\r\n", ""),
}


@pytest.mark.parametrize("given", GIVEN)
def test_a_key_comes_from_any_shell(
    home: Path, service: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], given: str
) -> None:
    data, problem = GIVEN[given]
    key = service.secret_key.encode("utf-16-le" if data and data.startswith(b"\xff") else "utf-8")
    found = data and data.replace("KEY".encode("utf-16-le"), key).replace(b"KEY", key)
    monkeypatch.setattr(sys, "stdin", None if found is None else io.TextIOWrapper(io.BytesIO(found), "utf-8"))
    code = main(["login", "--key-stdin", "--endpoint", service.url, "--organization", service.organization_id])
    assert code == (2 if problem else 0)
    assert problem in (told := capfd.readouterr().err)
    assert "defect" not in told


def test_login_stores_the_key_for_its_owner_alone(
    login: Callable[..., Outcome], run: Run, file: Path, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = login()
    assert (done.code, done.out) == (0, "")
    assert f"The key is in {file}." in done.err
    assert "The environment comes before the file: DATATURE_VI_SECRET_KEY, " in done.err
    assert WINDOWS or stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tomllib.loads(file.read_text())["profiles"]["default"] == {
        "secret_key": service.secret_key,
        "organization_id": service.organization_id,
        "endpoint": service.url,
    }
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]
    for name in service.environment:
        monkeypatch.delenv(name)
    who = run("whoami")
    assert who.code == 0
    assert service.organization_id in who.out
    assert f"the file {file}" in who.out


def test_login_into_a_profile(login: Callable[..., Outcome], run: Run, service: Any, file: Path) -> None:
    assert login("--profile", "work").code == 0
    listed = run("config", "profiles", "--json").json_lines()
    assert listed == [
        {
            "name": "work",
            "organization_id": service.organization_id,
            "endpoint": service.url,
            "has_key": True,
            "selected": False,
        }
    ]
    who = run("whoami", "--profile", "work", "--json").json()
    assert who["sources"]["secret_key"] == f"profile 'work' of {file}"


def test_login_keeps_a_key_that_is_refused_out_of_the_file(login: Callable[..., Outcome], file: Path) -> None:
    refused = login(key=KEY)
    assert (refused.code, refused.out) == (3, "")
    malformed = login(key="dtvi_short")
    assert malformed.code == 2
    assert not file.exists()


def test_login_needs_a_terminal_or_a_pipe_that_is_named(run: Run, file: Path) -> None:
    assert run("login").code == 2
    assert run("login", "--key-stdin").code == 2
    assert not file.exists()


def test_an_empty_key_is_not_taken_from_elsewhere(run: Run, service: Any, file: Path) -> None:
    refused = run("login", "--key-stdin", "--organization", service.organization_id, "--endpoint", service.url)
    assert (refused.code, refused.err) == (2, "error: no key was given\n")
    assert not file.exists()


def test_whoami(run: Run, service: Any) -> None:
    shown = run("whoami")
    assert shown.code == 0
    assert service.url in shown.out
    assert "the environment (DATATURE_VI_SECRET_KEY)" in shown.out
    assert run("whoami", "--quiet").out == f"{service.organization_id}\n"
    sources = run("whoami", "--json", "--endpoint", service.url).json()["sources"]
    assert sources == {
        "secret_key": "the environment (DATATURE_VI_SECRET_KEY)",
        "organization_id": "the environment (DATATURE_VI_ORGANIZATION_ID)",
        "endpoint": "the argument",
    }


def test_config(run: Run, file: Path, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("config", "path").out == f"{file}\n"
    shown = run("config", "show", "--json").json()
    assert (shown["file"], shown["file_exists"]) == (str(file), False)
    assert shown["secret_key"] == {"value": True, "source": "the environment (DATATURE_VI_SECRET_KEY)"}
    assert shown["endpoint"]["value"] == service.url
    assert "Key           set, from the environment" in run("config", "show").out
    monkeypatch.delenv("DATATURE_VI_SECRET_KEY")
    assert "Key           not set" in run("config", "show").out
    monkeypatch.delenv("DATATURE_VI_API_ENDPOINT")
    assert "https://api.vi.datature.com, from the default" in run("config", "show").out
    empty = run("config", "profiles")
    assert (empty.code, empty.out) == (0, "")
    assert run("config", "profiles", "--config", "none.toml").code == 4


class TestProfiles:
    """The file is the user's: only three lines of one table may change."""

    TEXT = f"""# mine
profile = "work"  # the usual one

[profiles.work]
note = "keep"  # this too
secret_key = "{KEY}"
organization_id = "old"

[other]
endpoint = "not ours"
"""

    def test_only_the_profile_changes(self, tmp_path: Path) -> None:
        path = tmp_path / "config.toml"
        path.write_text(self.TEXT)
        save_profile(OTHER_KEY, "new", "https://vi.example", config_file=path, environ={})
        lines = path.read_text().splitlines()
        assert [line for line in self.TEXT.splitlines() if line not in lines] == [
            f'secret_key = "{KEY}"',
            'organization_id = "old"',
        ]
        assert tomllib.loads(path.read_text())["profiles"]["work"] == {
            "note": "keep",
            "secret_key": OTHER_KEY,
            "organization_id": "new",
            "endpoint": "https://vi.example",
        }
        save_profile(KEY, "play", "https://vi.example", profile="to play", config_file=path, environ={})
        assert [(p.name, p.organization_id, p.selected) for p in list_profiles(path, environ={})] == [
            ("to play", "play", False),
            ("work", "new", True),
        ]

    def test_settings_at_the_top_stay_there(self, tmp_path: Path) -> None:
        path = tmp_path / "config.toml"
        path.write_text(f'organization_id = "old"\nsecret_key = "{KEY}"\n[other]\nx = 1')
        save_profile(OTHER_KEY, "new", "https://vi.example", config_file=path, environ={})
        document = tomllib.loads(path.read_text())
        assert (document["organization_id"], document["secret_key"], document["other"]) == ("new", OTHER_KEY, {"x": 1})
        assert "profiles" not in document

    @pytest.mark.parametrize(
        "text",
        [
            'profiles = {default = {organization_id = "x"}}\n',
            'x = """\n[profiles.default]\n"""\n[profiles.default]\n',
            "[profiles]\ndefault.organization_id = 'x'\n",
        ],
        ids=["inline", "quoted header", "dotted"],
    )
    def test_however_the_file_is_written_one_profile_changes(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "config.toml"
        path.write_text(text)
        before = tomllib.loads(text)
        for name in ("default", "added"):
            save_profile(KEY, "new", "https://vi.example", profile=name, config_file=path, environ={})
        after = tomllib.loads(path.read_text())
        saved = {"secret_key": KEY, "organization_id": "new", "endpoint": "https://vi.example"}
        kept = before.get("profiles", {}).get("default", {})
        assert after == {**before, "profiles": {"default": {**kept, **saved}, "added": saved}}

    @pytest.mark.parametrize("text", ["profiles = 3\n", "profiles = {default = 3}\n"])
    def test_what_cannot_be_changed_is_left(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "config.toml"
        path.write_text(text)
        with pytest.raises(vi.ViConfigurationError, match="cannot be edited safely"):
            save_profile(KEY, "new", "https://vi.example", config_file=path, environ={})
        assert path.read_text() == text
        assert [p.name for p in tmp_path.iterdir()] == ["config.toml"]

    @needs_links
    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        real, link = tmp_path / "real.toml", tmp_path / "config.toml"
        real.write_text("")
        link.symlink_to(real)
        save_profile(KEY, "new", "https://vi.example", config_file=link, environ={})
        assert link.is_symlink()
        assert "profiles" in tomllib.loads(real.read_text())

    def test_bad_values_are_refused_before_anything_is_written(self, tmp_path: Path) -> None:
        path = tmp_path / "config.toml"
        for key, organization, endpoint in (
            ("dtvi_x", "o", "https://vi.example"),
            (KEY, "", "https://vi.example"),
            (KEY, "o", "http://vi.example"),
        ):
            with pytest.raises(vi.ViConfigurationError):
                save_profile(key, organization, endpoint, config_file=path, environ={})
        with pytest.raises(vi.ViConfigurationError, match="saved as TOML"):
            save_profile(KEY, "o", "https://vi.example", config_file=tmp_path / "config.json", environ={})
        with pytest.raises(vi.ViInvalidParameterError, match="name must be printable"):
            save_profile(KEY, "o", "https://vi.example", profile="a\nb", config_file=path, environ={})
        assert list(tmp_path.iterdir()) == []
