"""Completion scripts come from the parser; the one for bash is asked here as bash would."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.cli.outcomes import Outcome
from vi.cli import build_parser
from vi.cli.completion import SHELLS, script

ROOT = Path(__file__).parents[2]


@pytest.fixture
def complete(home: Path) -> Callable[..., list[list[str]]]:
    """Asks bash what it would offer after each of several lines; the last word of a line is the one to complete."""
    (home / "vi-sdk.bash").write_text(script(build_parser(), "bash"))
    command = home / "vi-sdk"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vi "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)

    def ask(*lines: str) -> list[list[str]]:
        asked = "source ./vi-sdk.bash\n"
        for line in lines:
            words = re.split(r"(?<!\\) ", line)
            quoted = " ".join(f"'{word}'" for word in words)
            asked += f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _shtab_vi_sdk\n"
            asked += 'printf "%s|" "${COMPREPLY[@]}"; echo\n'
        path = f"{home}{os.pathsep}{os.environ['PATH']}"
        ended = subprocess.run(
            ["bash", "-c", asked],
            cwd=home,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        )
        return [[word for word in line.split("|") if word] for line in ended.stdout.splitlines()]

    return ask


@pytest.mark.skipif(not shutil.which("bash") or os.name == "nt", reason="needs bash")
def test_bash_completes(complete: Callable[..., list[list[str]]], client: vi.Client) -> None:
    client.datasets.create(name="Street signs 2031")
    for _ in range(2):
        client.datasets.create(name="Street twins 2031")
    top, verbs, words, choices, files, ids, shells, value, named, twins = complete(
        "vi-sdk ",
        "vi-sdk assets ",
        "vi-sdk assets upload D --me",
        "vi-sdk assets upload --names ",
        "vi-sdk assets upload D im",
        "vi-sdk assets show D ",
        "vi-sdk completion ",
        "vi-sdk assets upload --plan im",
        "vi-sdk assets ls Street\\ s",
        "vi-sdk assets ls Street\\ tw",
    )
    assert {"datasets", "assets", "transfers", "doctor", "completion"} <= set(top)
    assert {"upload", "download", "ls", "rm", "sync"} <= set(verbs)
    assert words == ["--metadata", "--metadata-file"]
    assert choices == ["basename", "relative"]
    assert files == value == ["images"]
    assert ids == twins == []
    assert shells == [*SHELLS, "datasets"]
    assert named == ["Street\\ signs\\ 2031"]


def test_names_that_are_not_unique_are_offered_as_ids(run: Callable[..., Outcome], client: vi.Client) -> None:
    twins = [client.datasets.create(name="twins of completion").dataset_id for _ in range(2)]
    lines = run("completion", "datasets").lines
    assert set(twins) <= set(lines)
    assert "twins of completion" not in lines


def test_a_service_that_is_down_offers_nothing(run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATATURE_VI_API_ENDPOINT", "http://127.0.0.1:9")
    assert run("completion", "datasets") == Outcome(0, "", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_and_parses(shell: str, run: Callable[..., Outcome], home: Path) -> None:
    printed: Any = run("completion", shell)
    assert (printed.code, printed.err) == (0, "")
    assert "assets" in printed.out
    assert "metadata-file" in printed.out
    if shell != "powershell" and shutil.which(shell):
        (home / "script").write_text(printed.out)
        subprocess.run([shell, "-n", "script"], cwd=home, check=True)
