"""What ``--help`` says is true: every verb has an example that runs, and the exit codes are those of the table."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.cli.outcomes import Outcome
from tests.support.systems import WINDOWS, needs_signals
from vi._optional import obstacle, requirement
from vi.cli import build_parser, exits, main
from vi.server.config import Folder, ServiceConfig
from vi.server.identity import load_identity

Run = Callable[..., Outcome]

IN_A_SHELL = ("login", "completion")
"""Verbs whose examples need more of a shell than variables."""
SLOW = ("serve", "demo", "watch", "worker")
WITH_A_DATABASE = (("server", "migrate"), ("server", "check"))
"""Verbs that run for long; their examples are run apart."""
WITH_A_STORE = (("server", "set-store"),)
"""Its example is what tests/scale/test_restore.py does."""


def leaves(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb that does something, with its parser."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield words, parser
    for action in inner:
        for name, below in action.choices.items():
            yield from leaves(below, (*words, name))


VERBS = dict(leaves(build_parser()))


def example(words: tuple[str, ...]) -> list[str]:
    """The commands of a verb's example."""
    text = VERBS[words].epilog.partition("example:\n")[2].partition("\n\n")[0]
    return [line.strip() for line in text.replace("\\\n", " ").splitlines()]


def test_the_parser_of_one_command_is_that_of_all() -> None:
    of_one = {}
    for command in dict.fromkeys(words[0] for words in VERBS):
        of_one |= {words: verb for words, verb in leaves(build_parser(command)) if words[0] == command}
    assert {words: verb.format_help() for words, verb in of_one.items()} == {
        words: verb.format_help() for words, verb in VERBS.items()
    }
    assert {words[0] for words, _ in leaves(build_parser("datasets"))} == {"datasets", "help"}


def test_every_verb_has_an_example_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for words in VERBS:
        assert any(f"vi-sdk {' '.join(words)}" in line for line in example(words)), words
        with pytest.raises(SystemExit) as ended:
            main([*words, "--help"])
        told = capsys.readouterr()
        assert (ended.value.code, told.err) == (0, "")
        assert "\nexample:\n  " in told.out
        assert told.out.endswith("\nExit codes: see vi-sdk --help.\n")


@pytest.mark.parametrize(
    "words",
    [words for words in VERBS if not {*words} & {*IN_A_SHELL, *SLOW} and words not in WITH_A_DATABASE + WITH_A_STORE],
    ids=lambda words: " ".join(words),
)
def test_an_example_runs(
    words: tuple[str, ...], run: Run, filled: str, client: vi.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASET", filled)
    asset = client.assets.list(filled).items[0]
    monkeypatch.setenv("ASSET", asset.asset_id)
    Path("labels.csv").write_text(f"filename,lot\n{asset.filename},7\n")
    Path("vi-data").mkdir()
    load_identity(Folder(Path("vi-data")).identity, ServiceConfig(), 0)
    for line in example(words):
        assigned = re.fullmatch(r"([A-Z]+)=\$\((.*)\)", line)
        program, *arguments = shlex.split(assigned[2] if assigned else line, comments=True)
        assert program == "vi-sdk"
        ended = run(*map(os.path.expandvars, arguments))
        assert ended.code == 0, (line, ended)
        if assigned:
            monkeypatch.setenv(assigned[1], ended.out.strip())


@pytest.mark.scale
def test_the_examples_with_a_database_run(postgres: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VI_DATABASE", postgres.create())
    for words in WITH_A_DATABASE:
        for line in example(words):
            ended = run(*map(os.path.expandvars, shlex.split(line)[1:]))
            assert ended.code == 0, (line, ended)


@pytest.fixture
def shell(home: Path, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs lines in bash, where ``vi-sdk`` is ours."""
    program = tmp_path / "bin" / "vi-sdk"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m vi "$@"\n')
    program.chmod(0o755)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": root}

    def call(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], env=environment, capture_output=True, text=True, timeout=60
        )

    return call


@pytest.mark.skipif(WINDOWS, reason="runs a shell of Unix")
@pytest.mark.parametrize("verb", IN_A_SHELL)
def test_an_example_runs_in_a_shell(verb: str, shell: Any, home: Path, service: Any) -> None:
    ended = shell("\n".join(example((verb,))))
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert service.secret_key not in ended.stderr
    if verb == "completion":
        assert {path.name for path in home.iterdir()} == {"images", "_vi-sdk", "vi-sdk.fish"}


@needs_signals
def test_the_example_of_serve_runs(start: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    line, *_ = example(("serve",))
    process = start(*shlex.split(line)[1:])
    assert process.stdout is not None
    assert "".join(iter(process.stdout.readline, "  stop          Ctrl+C\n")).startswith("Serving ")
    settings = dict(line.split("=", 1) for line in (home / "vi-data" / ".env").read_text().splitlines())
    assert set(settings) == {"DATATURE_VI_SECRET_KEY", "DATATURE_VI_ORGANIZATION_ID", "DATATURE_VI_API_ENDPOINT"}
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


@needs_signals
@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_of_watch_run_until_they_are_told_to_stop(
    number: int, start: Callable[..., subprocess.Popen[str]], home: Path, dataset: str
) -> None:
    line = example(("assets", "watch"))[number]
    (home / "done").mkdir()
    (home / "images").rename(home / ("camera" if "./camera" in line else "inbox"))
    process = start(*shlex.split(line.replace("$DATASET", dataset))[1:])
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(4 if "--json" in line else 8)]
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
    if "--json" in line:
        assert {json.loads(one)["kind"] for one in told} == {"stored"}
        assert len(told) == 4
    else:
        assert sorted(one.split()[0] for one in told) == ["moved"] * 4 + ["stored"] * 4
        assert len(list((home / "done").iterdir())) == 4


def test_the_example_of_demo_runs(run: Run) -> None:
    shown = run(*shlex.split(example(("demo",))[1])[1:])
    assert shown.code == 0
    assert shown.lines[-1] == "4 of 4 files went up, came back, and are the same byte for byte."
    assert "vi-sdk serve --data ./vi-demo --open" in shown.err
    with vi.Client.local("vi-demo") as client:
        assert [dataset.name for dataset in client.datasets.list().all_items()] == ["demo"]


def test_demo_without_its_extra_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    refused = run("demo")
    assert (refused.code, refused.out) == (2, "")
    assert "sqlalchemy, which is not installed" in refused.err
    assert f"pip install {requirement('local')}" in refused.err


def test_demo_leaves_out_what_cannot_be_decoded_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pi_heif", reason="without it the tests make no HEIF images")
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    shown = run("demo")
    assert shown.code == 0
    assert shown.lines[-1] == "40 of 40 files went up, came back, and are the same byte for byte."
    assert f"2 HEIF images left out: {obstacle('pi_heif') or 'pi-heif is not installed'}." in shown.err


@pytest.mark.parametrize(
    ("words", "shown"),
    [(["upload"], "assets upload"), (["split"], "plan split"), (["keys", "add"], "server keys add"), ([], "")],
)
def test_help_finds_a_command_whose_group_is_left_out(
    words: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["help", *words])
    assert capsys.readouterr().out.startswith(f"usage: {f'vi-sdk {shown}'.strip()} [-h]")


def test_help_asks_for_the_group_where_several_have_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "ls"]) == 2
    assert "there is no command 'ls'; did you mean datasets ls?" in capsys.readouterr().err


def test_help_holds_the_table_of_exit_codes() -> None:
    told = build_parser().format_help()
    assert [line for line in exits.TEXT.splitlines() if line not in told] == []
    assert {code for code, _ in exits.TABLE} == {0, 1, 2, 3, 4, 5, 7, 9, 130}


SITUATIONS: dict[str, tuple[int, str]] = {
    "count": (0, "assets count {dataset}"),
    "a broken file": (1, "assets upload {dataset} broken.png"),
    "an unknown verb": (2, "assets frobnicate"),
    "a missing argument": (2, "assets ls"),
    "a file that is not there": (2, "assets upload {dataset} nowhere.png"),
    "a malformed id": (2, "assets show {dataset} a/b"),
    "a bad query": (2, "assets ls {dataset} --query ==="),
    "no settings": (2, "assets ls {dataset} --config nowhere.toml"),
    "deleting unasked": (2, "assets rm {dataset} --all"),
    "an unknown dataset": (4, "assets ls 0123456789abcdef"),
    "an unknown asset": (4, "assets show {dataset} 0123456789abcdef"),
    "an unknown profile": (2, "assets ls {dataset} --profile nobody"),
    "a silent service in too little time": (5, "assets verify {dataset} images --timeout 0.2 --endpoint {silent}"),
    "a name that is taken": (7, "assets rename {dataset} --filename {one} {two}"),
    "nothing to do": (9, "assets upload {dataset} images --skip-existing --fail-if-nothing"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_exit_codes(situation: str, run: Run, filled: str, home: Path, silent: str) -> None:
    (home / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    one, two, *_ = sorted(path.name for path in (home / "images").iterdir())
    expected, command = SITUATIONS[situation]
    values = {"dataset": filled, "silent": silent, "one": one, "two": two}
    ended = run(*(word.format_map(values) for word in shlex.split(command)))
    assert ended.code == expected, ended
    assert bool(ended.out) == (situation == "count")
    assert bool(ended.err) == (expected not in (0,))


@pytest.mark.parametrize(("variable", "value"), [("DATATURE_VI_SECRET_KEY", "dtvi_" + "x" * 98)])
def test_a_key_that_is_refused_is_3(
    variable: str, value: str, run: Run, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    refused = run("assets", "ls", filled)
    assert (refused.code, refused.out) == (3, "")
    assert run("assets", "ls", filled, "--organization", "of-somebody-else").code == 3


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that accepts connections and says nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class TestOrderOfArguments:
    """Options may stand anywhere after the verb, and ``--`` ends them."""

    @pytest.mark.parametrize(
        "words",
        [
            ["D", "a", "b", "--include", "x"],
            ["--include", "x", "D", "a", "b"],
            ["D", "--include", "x", "a", "b"],
            ["D", "a", "--include", "x", "b"],
            ["--include=x", "--", "D", "a", "b"],
        ],
        ids=" ".join,
    )
    def test_options_between(self, words: list[str]) -> None:
        given = build_parser().parse_args(["assets", "upload", *words])
        assert (given.dataset, given.paths, given.include) == ("D", ["a", "b"], ["x"])

    def test_a_path_with_a_dash(self) -> None:
        given = build_parser().parse_args(["assets", "upload", "D", "--", "-dash.png", "--x"])
        assert given.paths == ["-dash.png", "--x"]

    @pytest.mark.parametrize(
        "words", [["D", "--nonsense", "a"], ["D", "a", "--incl", "x"], ["D", "a", "--json", "--quiet"]], ids=" ".join
    )
    def test_what_is_not_understood_is_refused(self, words: list[str]) -> None:
        with pytest.raises(exits.WrongUseError) as refused:
            build_parser().parse_args(["assets", "upload", *words])
        assert refused.value.see == "vi-sdk assets upload --help"


def test_what_asks_nobody_loads_nothing_of_a_client() -> None:
    """The version, the help and a completion script cost little more than Python itself."""
    heavy = {"aiohttp", "anyio", "asyncio", "attr", "cattrs", "idna", "msgspec", "secrets", "ssl", "tomllib", "tqdm"}
    code = (
        "import contextlib, io, sys, vi.cli\n"
        "for words in (['--version'], ['--help'], ['datasets', 'ls', '--help'], ['completion', 'zsh']):\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):\n"
        "        vi.cli.main(words)\n"
        f"    print(words, bool(said.getvalue()), sorted({heavy} & set(sys.modules)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line for line in ended.stdout.splitlines() if not line.endswith("] True []")] == []
    assert len(ended.stdout.splitlines()) == 4


def test_the_readme_has_the_table_of_exit_codes() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8").replace("`", "")
    assert [row for row in exits.TABLE if f"\n| {row[0]} | {row[1]} |\n" not in text] == []
