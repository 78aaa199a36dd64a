"""Where settings come from, in which order, and what is refused; a key is never shown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import vi
from vi.config import (
    CONFIG_VARIABLE,
    DEFAULT_ENDPOINT,
    ENDPOINT_VARIABLE,
    KEY_VARIABLE,
    ORGANIZATION_VARIABLE,
    PROFILE_VARIABLE,
    RetryPolicy,
    Settings,
    Timeouts,
    TransferLimits,
    default_config_path,
    is_loopback,
    load_settings,
)
from vi.errors import ViConfigurationError, ViInvalidParameterError
from vi.profiles import save_profile


def key(letter: str) -> str:
    return "dtvi_" + letter * 98


def as_toml(values: dict[str, Any], header: str = "") -> str:
    return "".join([header, *(f"{name} = {json.dumps(value)}\n" for name, value in values.items())])


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment of its own, whose default settings file is in an empty folder."""
    return {"XDG_CONFIG_HOME": str(tmp_path / "home"), "APPDATA": str(tmp_path / "home"), "HOME": str(tmp_path)}


@pytest.fixture
def default_file(environ: dict[str, str]) -> Path:
    path = default_config_path(environ)
    path.parent.mkdir(parents=True)
    return path


SOURCES = ["argument", "named file", "environment", "default file"]
FIELDS = ["secret_key", "organization_id", "endpoint"]


class TestPrecedence:
    """Argument, then the file or profile that the caller names, then the environment, then the default file."""

    def values(self, source: str) -> dict[str, str]:
        letter = source[0]
        return {"secret_key": key(letter), "organization_id": f"of-{letter}", "endpoint": f"https://{letter}.example"}

    def load(self, given: dict[str, list[str]], tmp_path: Path, environ: dict[str, str]) -> Settings:
        """Load with each field given in the sources named for it."""

        def take(source: str) -> dict[str, str]:
            return {field: self.values(source)[field] for field in FIELDS if source in given[field]}

        named = tmp_path / "named.toml"
        named.write_text(as_toml(take("named file")))
        default = default_config_path(environ)
        default.parent.mkdir(parents=True, exist_ok=True)
        default.write_text(as_toml(take("default file")))
        names = {"secret_key": KEY_VARIABLE, "organization_id": ORGANIZATION_VARIABLE, "endpoint": ENDPOINT_VARIABLE}
        environ |= {names[field]: value for field, value in take("environment").items()}
        use_named = any("named file" in sources for sources in given.values())
        return load_settings(**take("argument"), config_file=named if use_named else None, environ=environ)

    @pytest.mark.parametrize("field", FIELDS)
    @pytest.mark.parametrize("first", range(3))
    def test_the_first_source_that_has_a_field_gives_it(
        self, field: str, first: int, tmp_path: Path, environ: dict[str, str]
    ) -> None:
        """The other fields come from the argument, so each field is looked up for itself."""
        given = {other: ["argument"] for other in FIELDS} | {field: SOURCES[first:]}
        settings = self.load(given, tmp_path, environ)
        expected = self.values(SOURCES[first])[field]
        assert getattr(settings, field) == expected
        for other in set(FIELDS) - {field}:
            assert getattr(settings, other) == self.values("argument")[other]

    @pytest.mark.parametrize("field", FIELDS)
    def test_the_default_file_is_the_last(self, field: str, tmp_path: Path, environ: dict[str, str]) -> None:
        given = {other: ["environment"] for other in FIELDS} | {field: ["default file"]}
        assert getattr(self.load(given, tmp_path, environ), field) == self.values("default file")[field]

    def test_a_named_file_closes_the_default_one(self, tmp_path: Path, environ: dict[str, str]) -> None:
        given = {"secret_key": ["named file"], "organization_id": ["default file"], "endpoint": ["named file"]}
        with pytest.raises(ViConfigurationError, match="No organization id"):
            self.load(given, tmp_path, environ)

    def test_the_endpoint_has_a_default(self, environ: dict[str, str]) -> None:
        assert load_settings(key("k"), "acme", environ=environ).endpoint == DEFAULT_ENDPOINT

    @pytest.mark.parametrize("name", ["secret_key", "organization_id", "endpoint", "profile"])
    @pytest.mark.parametrize("empty", ["", "  "])
    def test_an_empty_argument_is_not_replaced(self, environ: dict[str, str], name: str, empty: str) -> None:
        """A script whose variable is unset must not reach another organization in silence."""
        environ |= {KEY_VARIABLE: key("e"), ORGANIZATION_VARIABLE: "env"}
        with pytest.raises(ViConfigurationError, match=f"{name} must not be empty"):
            load_settings(**{name: empty}, environ=environ)

    def test_an_empty_variable_counts_as_unset(self, environ: dict[str, str]) -> None:
        environ |= {KEY_VARIABLE: key("e"), ORGANIZATION_VARIABLE: "env", ENDPOINT_VARIABLE: ""}
        settings = load_settings(environ=environ)
        assert (settings.secret_key, settings.organization_id) == (key("e"), "env")
        assert settings.endpoint == DEFAULT_ENDPOINT

    def test_a_default_file_is_not_read_when_nothing_is_missing(
        self, default_file: Path, environ: dict[str, str]
    ) -> None:
        default_file.write_text("this is no TOML")
        environ |= {KEY_VARIABLE: key("e"), ORGANIZATION_VARIABLE: "env", ENDPOINT_VARIABLE: "https://e.example"}
        assert load_settings(environ=environ).organization_id == "env"
        del environ[KEY_VARIABLE]
        with pytest.raises(ViConfigurationError, match="cannot be parsed"):
            load_settings(environ=environ)


class TestFiles:
    def test_the_published_clients_json_file(self, tmp_path: Path, environ: dict[str, str]) -> None:
        path = tmp_path / "settings.json"
        text = json.dumps({"secret_key": key("j"), "organization_id": "from-json", "unknown": 1})
        for mark in ("", "\ufeff"):
            path.write_text(mark + text, "utf-8")
            settings = load_settings(config_file=path, environ=environ)
            assert (settings.secret_key, settings.organization_id) == (key("j"), "from-json")

    def test_a_file_that_an_editor_of_windows_has_written_is_read_and_changed(
        self, tmp_path: Path, environ: dict[str, str]
    ) -> None:
        path = tmp_path / "c.toml"
        text = "# mine\r\n" + as_toml({"secret_key": key("w"), "organization_id": "work"}).replace("\n", "\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert load_settings(config_file=path, environ=environ).organization_id == "work"
        save_profile(key("p"), "play", "https://play.example", profile="play", config_file=path, environ=environ)
        assert load_settings(config_file=path, environ=environ).organization_id == "work"
        assert load_settings(config_file=path, profile="play", environ=environ).secret_key == key("p")
        assert b"# mine" in path.read_bytes()

    def test_profiles(self, default_file: Path, environ: dict[str, str]) -> None:
        default_file.write_text(
            as_toml({"secret_key": key("d"), "organization_id": "default"}, "[profiles.default]\n")
            + as_toml({"secret_key": key("w"), "organization_id": "work"}, "[profiles.work]\n")
        )
        assert load_settings(environ=environ).organization_id == "default"
        assert load_settings(profile="work", environ=environ).organization_id == "work"
        assert load_settings(environ={**environ, PROFILE_VARIABLE: "work"}).organization_id == "work"
        assert load_settings(config_file=default_file, profile="work", environ=environ).secret_key == key("w")
        with pytest.raises(ViConfigurationError, match=r"No profile 'play' in .*; it has: default, work"):
            load_settings(profile="play", environ=environ)

    @pytest.mark.parametrize("there", [True, False], ids=["a file", "no file"])
    def test_an_unknown_profile_of_the_variable_is_refused_beside_a_whole_environment(
        self, there: bool, default_file: Path, environ: dict[str, str]
    ) -> None:
        whole = {KEY_VARIABLE: key("e"), ORGANIZATION_VARIABLE: "env", ENDPOINT_VARIABLE: "https://e.example"}
        environ |= {**whole, PROFILE_VARIABLE: "play"}
        if there:
            default_file.write_text(as_toml({"organization_id": "work"}, "[profiles.work]\n"))
        with pytest.raises(ViConfigurationError, match=r"play.*it has: work" if there else "VI_PROFILE names .*'play'"):
            load_settings(environ=environ)
        given = load_settings(key("a"), "argument", "https://a.example", environ=environ)
        assert given.organization_id == "argument"  # a login makes the profile
        if there:
            assert load_settings(environ={**environ, PROFILE_VARIABLE: "work"}).organization_id == "env"

    def test_the_profile_default_may_be_the_top_of_the_file(self, default_file: Path, environ: dict[str, str]) -> None:
        default_file.write_text(as_toml({"secret_key": key("d"), "organization_id": "top"}, ""))
        assert load_settings(environ={**environ, PROFILE_VARIABLE: "default"}).organization_id == "top"

    def test_a_named_profile_comes_before_the_environment(self, default_file: Path, environ: dict[str, str]) -> None:
        default_file.write_text(as_toml({"secret_key": key("w"), "organization_id": "work"}, "[profiles.work]\n"))
        environ |= {KEY_VARIABLE: key("e"), ORGANIZATION_VARIABLE: "env"}
        assert load_settings(profile="work", environ=environ).organization_id == "work"
        assert load_settings(environ=environ).organization_id == "env"

    def test_a_file_may_name_the_profile_to_use(self, tmp_path: Path, environ: dict[str, str]) -> None:
        path = tmp_path / "c.toml"
        path.write_text('profile = "b"\n' + as_toml({"secret_key": key("b"), "organization_id": "B"}, "[profiles.b]\n"))
        assert load_settings(config_file=path, environ=environ).organization_id == "B"

    def test_the_default_file_may_be_elsewhere(self, tmp_path: Path, environ: dict[str, str]) -> None:
        path = tmp_path / "elsewhere.toml"
        path.write_text(as_toml({"secret_key": key("v"), "organization_id": "elsewhere"}))
        environ[CONFIG_VARIABLE] = str(path)
        assert load_settings(environ=environ).organization_id == "elsewhere"
        environ[CONFIG_VARIABLE] = str(tmp_path / "missing.toml")
        with pytest.raises(ViConfigurationError, match=r"missing.toml cannot be read"):
            load_settings(environ=environ)

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("a.toml", b"secret_key = " + key("s").encode(), "cannot be parsed at line 1"),
            ("a.toml", b"secret_key = 7\n", "secret_key in .* must be text"),
            ("a.json", b'{"secret_key": "' + key("s").encode(), "cannot be parsed at line 1"),
            ("a.json", b"[]", "must hold an object"),
            ("a.toml", b"\xff\xfe", "cannot be read: it is not UTF-8 text"),
            ("missing.toml", None, "cannot be read: No such file or directory"),
        ],
    )
    def test_a_bad_file_is_named_and_not_quoted(
        self, name: str, content: bytes | None, problem: str, tmp_path: Path, environ: dict[str, str]
    ) -> None:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ViConfigurationError, match=problem) as raised:
            load_settings(config_file=path, environ=environ)
        assert raised.value.path == str(path)
        assert "ssss" not in str(raised.value) + repr(raised.value)

    @pytest.mark.skipif(os.name == "nt", reason="paths of POSIX systems")
    def test_where_the_default_file_is(self) -> None:
        assert default_config_path({"XDG_CONFIG_HOME": "/x"}) == Path("/x/vi/config.toml")
        assert default_config_path({}) == Path.home() / ".config" / "vi" / "config.toml"
        assert default_config_path({CONFIG_VARIABLE: "~/c.toml", "XDG_CONFIG_HOME": "/x"}) == Path.home() / "c.toml"


MALFORMED = [
    "wrong-but-secret",
    "dtvi_tooshortbutsecret",
    "dtvi_" + "secret" * 20,
    "dtvi_" + "s" * 97 + "!",
    "DTVI_" + "s" * 98,
    " " + key("s"),
    key("s") + "\n",
    "dtvi_" + "ß" * 98,
]


class TestKeys:
    @pytest.mark.parametrize("source", ["argument", "file", "environment"])
    @pytest.mark.parametrize("bad", MALFORMED)
    def test_a_malformed_key_is_refused_with_its_source_and_never_shown(
        self, bad: str, source: str, tmp_path: Path, environ: dict[str, str]
    ) -> None:
        file = tmp_path / "c.toml"
        file.write_text(as_toml({"secret_key": bad}))
        arguments: dict[str, Any] = {"organization_id": "acme"}
        if source == "argument":
            arguments["secret_key"] = bad
        elif source == "file":
            arguments["config_file"] = file
        else:
            environ[KEY_VARIABLE] = bad
        with pytest.raises(ViConfigurationError, match=f"from the {source}") as raised:
            load_settings(**arguments, environ=environ)
        error = raised.value
        assert error.error_code == "InvalidApiKey"
        assert f"got {len(bad)} characters" in error.message
        shown = str(error) + repr(error) + repr(error.to_dict()) + repr(vars(error))
        assert "secret" not in shown.replace("secret key", "").replace("secret_key", "")
        assert "sss" not in shown
        assert bad.strip() not in shown

    def test_a_missing_key_says_what_to_do(self, environ: dict[str, str]) -> None:
        with pytest.raises(ViConfigurationError, match="No secret key was found") as raised:
            load_settings(environ=environ)
        assert raised.value.suggestion is not None
        assert KEY_VARIABLE in raised.value.suggestion

    def test_no_repr_shows_the_key(self, environ: dict[str, str]) -> None:
        settings = load_settings(key("s"), "acme", environ=environ)
        assert "ssss" not in repr(settings)
        assert "dtvi_***" in repr(settings)
        with vi.Client(key("s"), "acme") as client:
            assert repr(client) == f"Client(organization_id='acme', endpoint='{DEFAULT_ENDPOINT}')"
            assert "ssss" not in repr(client.settings)


class TestOtherValues:
    @pytest.mark.parametrize("organization", ["a/b", "a\nb", "a\0b", "\x7f"])
    def test_an_organization_that_cannot_be_sent(self, organization: str, environ: dict[str, str]) -> None:
        with pytest.raises(ViConfigurationError, match="organization id from the argument"):
            load_settings(key("k"), organization, environ=environ)

    def test_a_missing_organization(self, environ: dict[str, str]) -> None:
        with pytest.raises(ViConfigurationError, match="No organization id was found"):
            load_settings(key("k"), environ=environ | {ORGANIZATION_VARIABLE: "   "})

    @pytest.mark.parametrize(
        ("endpoint", "kept"),
        [
            ("https://api.example", "https://api.example"),
            ("https://api.example/", "https://api.example"),
            ("https://api.example/prefix/", "https://api.example/prefix"),
            ("http://127.0.0.1:8787", "http://127.0.0.1:8787"),
            ("http://localhost:1", "http://localhost:1"),
            ("http://[::1]:1", "http://[::1]:1"),
        ],
    )
    def test_good_endpoints(self, endpoint: str, kept: str, environ: dict[str, str]) -> None:
        assert load_settings(key("k"), "acme", endpoint, environ=environ).endpoint == kept

    @pytest.mark.parametrize(
        ("endpoint", "problem"),
        [
            ("api.example", "is not an http"),
            ("ftp://api.example", "is not an http"),
            ("https://", "is not an http"),
            ("https://a:99999", "is not an http"),
            ("https://a:0", "is not an http"),
            ("https://[::1", "is not an http"),
            ("https://user:pass@api.example", "must not have a user"),
            ("https://api.example?x=1", "must not have a user, query or fragment"),
            ("https://api.example#x", "must not have a user, query or fragment"),
            ("http://api.example", "would send the secret key unencrypted"),
            ("http://127.0.0.1.example", "would send the secret key unencrypted"),
            ("http://localhost.example", "would send the secret key unencrypted"),
        ],
    )
    def test_bad_endpoints(self, endpoint: str, problem: str, environ: dict[str, str]) -> None:
        with pytest.raises(ViConfigurationError, match=problem) as raised:
            load_settings(key("k"), "acme", endpoint, environ=environ)
        assert "the argument" in raised.value.message
        assert "pass@" not in str(raised.value)

    def test_plain_http_may_be_asked_for_by_name(self, environ: dict[str, str]) -> None:
        settings = load_settings(key("k"), "acme", "http://api.example", allow_http=True, environ=environ)
        assert settings.endpoint == "http://api.example"

    @pytest.mark.parametrize(
        ("host", "is_it"),
        [
            *((host, True) for host in ("localhost", "LOCALHOST", "a.localhost", "127.8.9.1", "::1")),
            *((host, False) for host in ("127.0.0.1.x", "localhost.x", "128.0.0.1", "", None)),
        ],
    )
    def test_loopback(self, host: str | None, is_it: bool) -> None:
        assert is_loopback(host) == is_it

    @pytest.mark.parametrize("cls", [Timeouts, RetryPolicy, TransferLimits])
    @pytest.mark.parametrize("value", [0, -1, "5", None, True, float("nan")])
    def test_limits_are_numbers_above_zero(self, cls: type, value: Any) -> None:
        for name in (attribute.name for attribute in cls.__attrs_attrs__):  # type: ignore[attr-defined]
            with pytest.raises(ViInvalidParameterError, match=name) as raised:
                cls(**{name: value})
            assert raised.value.parameter == name

    @pytest.mark.parametrize(("cls", "name"), [(RetryPolicy, "max_attempts"), (TransferLimits, "max_concurrency")])
    def test_counts_are_integers(self, cls: type, name: str) -> None:
        with pytest.raises(ViInvalidParameterError, match=f"{name} must be an integer above 0, got 2.5"):
            cls(**{name: 2.5})

    def test_a_session_takes_at_most_5000_files(self) -> None:
        assert TransferLimits(session_files=5000).session_files == 5000
        with pytest.raises(ViInvalidParameterError, match="at most 5000"):
            TransferLimits(session_files=5001)


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY_VARIABLE, ORGANIZATION_VARIABLE, ENDPOINT_VARIABLE, CONFIG_VARIABLE, PROFILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
