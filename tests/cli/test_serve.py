"""`vi-sdk serve` as a person meets it, in the foreground and background; help; datasets by name."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

import vi
from tests.cli.outcomes import Outcome
from tests.support.systems import WINDOWS

Start = Callable[..., "subprocess.Popen[str]"]
Spawn = Callable[..., Outcome]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def rows(block: str) -> dict[str, str]:
    """The names and values of what the service says."""
    return dict(re.findall(r"^  (\w+)\s+(.+)$", block, re.MULTILINE))


@pytest.fixture
def detached(spawn: Spawn) -> Iterator[Callable[..., Outcome]]:
    """Starts services in the background, and ends them after the test."""
    begun: list[int] = []

    def call(*arguments: str) -> Outcome:
        ended = spawn("serve", "--port", "0", "--detach", *arguments)
        begun.extend(int(pid) for pid in re.findall(r"kill (?:/F /PID )?(\d+)$", ended.out, re.MULTILINE))
        return ended

    yield call
    for pid in begun:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


class TestDetached:
    def test_it_returns_when_the_service_is_ready(
        self, detached: Callable[..., Outcome], run: Spawn, home: Path
    ) -> None:
        ended = detached("--data", "d", "--profile", "--env-file", "vi.env")
        assert (ended.code, ended.err) == (0, "")
        said = rows(ended.out)
        assert set(said) == {"address", "organization", "gallery", "profile", "settings", "key", "stop"}
        assert said["settings"].startswith("vi.env: Get-Content '" if WINDOWS else "vi.env: set -a; . ")
        with vi.Client(profile="local") as client:
            assert client.settings.endpoint == said["address"]
            client.datasets.create(name="kept")
        assert run("datasets", "ls", "--profile", "local", "--json").json_lines()[0]["name"] == "kept"
        assert (home / "vi.env").read_text().startswith("DATATURE_VI_API_ENDPOINT=")
        assert (home / "d" / "service.log").read_text() == ""
        assert (home / "d" / ".gitignore").exists()

    @pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
    def test_the_settings_of_a_service_at_an_ipv6_address_can_be_used(
        self, detached: Callable[..., Outcome], home: Path
    ) -> None:
        assert detached("--data", "d", "--host", "::1", "--env-file", "vi.env").code == 0
        given = dict(shlex.split(line)[0].split("=", 1) for line in (home / "vi.env").read_text().splitlines())
        assert given["DATATURE_VI_API_ENDPOINT"].startswith("http://[::1]:")
        with vi.Client(
            given["DATATURE_VI_SECRET_KEY"], given["DATATURE_VI_ORGANIZATION_ID"], given["DATATURE_VI_API_ENDPOINT"]
        ) as client:
            assert client.datasets.create(name="six").name == "six"

    def test_a_profile_is_saved_under_the_name_given_and_requests_are_logged(
        self, detached: Callable[..., Outcome], home: Path
    ) -> None:
        ended = detached("--data", "d", "--profile", "desk", "--config", "settings.toml", "--access-log")
        assert ended.code == 0
        saved = tomllib.loads((home / "settings.toml").read_text())
        assert saved["profiles"]["desk"]["endpoint"] == rows(ended.out)["address"]
        with vi.Client(profile="desk", config_file="settings.toml") as client:
            client.datasets.list()
            client.datasets.list()  # the line of the first is written by now
        logged = [json.loads(line) for line in (home / "d" / "service.log").read_text().splitlines()]
        assert (logged[0]["method"], logged[0]["status"], logged[0]["key"]) == ("GET", 200, "owner")

    def test_a_failure_is_told_with_its_code(self, detached: Callable[..., Outcome], home: Path) -> None:
        (home / "d").write_text("no folder")
        ended = detached("--data", "d")
        assert (ended.code, ended.out) == (2, "")
        assert re.fullmatch(r"error: .*[/\\]d cannot be used: .+\n", ended.err)


def test_the_login_link_works_once(start: Start, home: Path) -> None:
    process = start("serve", "--port", "0")
    assert process.stdout is not None
    try:
        block = "".join(iter(process.stdout.readline, "  stop          Ctrl+C\n"))
        link = rows(block)["gallery"].removesuffix("  (works once)")
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with browser.open(link) as page:
            assert "ticket" not in page.url
            assert "Log out" in page.read().decode()
        another = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with pytest.raises(urllib.error.HTTPError) as refused:
            another.open(link)
        with refused.value as answer:
            assert answer.code == 401
            assert "was used or is too old" in answer.read().decode()
    finally:
        process.send_signal(signal.SIGTERM if WINDOWS else signal.SIGINT)  # there it is ended without being asked
        process.communicate(timeout=20)
    assert WINDOWS or process.returncode == 0


class TestHelp:
    @pytest.mark.parametrize("words", [[], ["assets"], ["datasets"], ["transfers"], ["config"]], ids=" ".join)
    def test_a_missing_command_shows_what_there_is(self, words: list[str], run: Spawn) -> None:
        shown = run(*words)
        assert (shown.code, shown.out) == (2, "")
        assert "\ncommands:\n" in shown.err
        asked = run("help", *words)
        assert (asked.code, asked.err) == (0, "")
        assert asked.out.rstrip() == shown.err.rstrip()

    def test_help_of_a_command(self, run: Spawn) -> None:
        assert run("help", "assets", "upload").out == run("assets", "upload", "--help").out
        assert run("help", "nonsense").code == 2


class TestNames:
    """A dataset is found by its name wherever an id is taken."""

    def test_every_command_takes_a_name(self, run: Spawn, client: vi.Client, home: Path) -> None:
        run("datasets", "create", "cranes at night")
        assert run("assets", "upload", "cranes at night", "images").code == 0
        assert run("assets", "count", "cranes at night").out == "4\n"
        assert len(run("assets", "ls", "cranes at night", "--quiet").lines) == 4
        assert run("assets", "verify", "cranes at night", "images").code == 0
        assert run("assets", "sync", "cranes at night", "images", "--dry-run").code == 0
        assert run("assets", "download", "cranes at night", "copy").code == 0
        assert len(run("datasets", "show", "cranes at night", "--quiet").lines) == 1
        assert run("datasets", "rm", "cranes at night", "--yes").code == 0
        assert run("datasets", "ls", "--quiet").out.count("cranes at night") == 0

    def test_a_name_that_looks_like_an_id(self, run: Spawn) -> None:
        run("datasets", "create", "signs")
        assert run("assets", "count", "signs").out == "0\n"

    def test_a_name_of_several_is_refused_with_their_ids(self, run: Spawn) -> None:
        ids = [run("datasets", "create", "twice named", "--quiet").out.strip() for _ in range(2)]
        refused = run("assets", "count", "twice named")
        assert refused.code == 2
        assert all(one in refused.err for one in ids)
        assert run("assets", "count", ids[0]).out == "0\n"

    def test_an_unknown_name_gets_the_nearest(self, run: Spawn) -> None:
        run("datasets", "create", "harbour cranes")
        refused = run("assets", "count", "harbor cranes")
        assert refused.code == 4
        assert "Did you mean 'harbour cranes'?" in refused.err


@pytest.mark.parametrize("name", ["blender", "python_app"])
def test_a_program_that_is_not_python_is_not_started_again_in_the_background(
    run: Callable[..., Outcome], home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It would run its script again, and that one would start the next."""
    program = home / name
    program.write_text(f"#!/bin/sh\ntouch {home}/started\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(sys, "exec_prefix", str(home))
    if name.startswith("python"):
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    ended = run("serve", "--data", "data", "--port", "0", "--detach")
    assert (ended.code, ended.out) == (2, "")
    assert "error: --detach cannot start the service: " in ended.err
    assert not (home / "started").exists()
