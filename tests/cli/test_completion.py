"""Completion scripts come from the parser; the one for bash is asked here as bash would."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.outcomes import Outcome
from vi.cli import build_parser
from vi.cli.completion import Command, bash, fish, read_commands, zsh

COMMANDS = list(read_commands(build_parser()))


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[list[str]]]:
    """Asks bash what it would offer after each of several lines; the last word of a line is the one to complete."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "images").mkdir()
    (folder / "vi-sdk.bash").write_text(bash(COMMANDS))

    def ask(*lines: str) -> list[list[str]]:
        script = "source ./vi-sdk.bash\n"
        for line in lines:
            words = line.split(" ")
            quoted = " ".join(f"'{word}'" for word in words)
            script += f'COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _vi_sdk; echo "${{COMPREPLY[*]}}"\n'
        ended = subprocess.run(["bash", "-uc", script], cwd=folder, capture_output=True, text=True, check=True)
        return [line.split() for line in ended.stdout.splitlines()]

    return ask


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes(complete: Callable[..., list[list[str]]]) -> None:
    top, verbs, options, choices, files, ids, no_files, shells, value = complete(
        "vi-sdk ",
        "vi-sdk assets ",
        "vi-sdk assets upload D --me",
        "vi-sdk assets upload --names ",
        "vi-sdk assets upload D im",
        "vi-sdk assets show D ",
        "vi-sdk assets upload --metadata ",
        "vi-sdk completion ",
        "vi-sdk assets upload --plan im",
    )
    assert {"datasets", "assets", "transfers", "doctor", "completion"} <= set(top)
    assert {"upload", "download", "ls", "rm", "sync"} <= set(verbs)
    assert options == ["--metadata", "--metadata-file"]
    assert choices == ["basename", "relative"]
    assert files == value == ["images"]
    assert ids == no_files == []
    assert shells == ["bash", "zsh", "fish"]


@pytest.mark.parametrize("make", [bash, zsh, fish], ids=lambda make: make.__name__)
def test_every_command_and_option_is_in_the_script(make: Callable[[list[Command]], str]) -> None:
    script = make(COMMANDS)
    for command in COMMANDS:
        for word in (*command.words, *command.choices):
            assert word in script
        for option in command.options:
            assert all(name.lstrip("-") in script for name in option.names)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_and_parses(shell: str, run: Callable[..., Outcome], home: Path) -> None:
    printed: Any = run("completion", shell)
    assert (printed.code, printed.err) == (0, "")
    if shutil.which(shell):
        (home / "script").write_text(printed.out)
        subprocess.run([shell, "-n", "script"], cwd=home, check=True)
