"""Programs that embed Python, or are frozen, start no copies of themselves for shards."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from multiprocessing import spawn
from pathlib import Path

import pytest

import vi
from vi import runs
from vi._interpreter import is_helper, is_python

TRACKER = ["-B", "-c", "from multiprocessing.resource_tracker import main;main(5)"]
SERVER = ["-c", "import sys; from multiprocessing.forkserver import main; main(3, 4, [], **{})"]


@pytest.fixture(autouse=True)
def executable() -> Iterator[None]:
    before = spawn.get_executable()
    yield
    multiprocessing.set_executable(before)


@pytest.mark.parametrize(
    ("path", "python"),
    [
        ("/usr/bin/python3.14t", True),
        ("python.exe" if os.name != "nt" else r"C:\py\python.exe", True),
        ("/opt/pypy3", True),
        ("/usr/bin/uwsgi", False),
        ("/opt/blender", False),
        ("", False),
    ],
)
def test_programs_are_told_by_their_names(path: str, python: bool) -> None:
    assert is_python(path) == python


@pytest.mark.parametrize("frozen", [False, True])
def test_helpers_of_multiprocessing_are_known_by_their_words(frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    words = spawn.get_command_line(pipe_handle=3, parent_pid=4, tracker_fd=5)[1:]
    assert [is_helper(each) for each in (words, TRACKER, SERVER)] == [True] * 3
    assert not is_helper(["-c", "import vi; vi.run_shards('multiprocessing')", "--verbose"])


@pytest.mark.parametrize("program", ["/usr/bin/uwsgi", "/opt/blender/blender", None])
def test_a_program_that_is_not_python_is_not_started_for_shards(program: str | None, tmp_path: Path) -> None:
    multiprocessing.set_executable(program)  # type: ignore[arg-type] # what it takes from a program without one
    with pytest.raises(vi.ViConfigurationError, match="Shards are worked on by Python processes") as refused:
        runs.run_shards(tmp_path)
    assert "set_executable" in (refused.value.suggestion or "")


@pytest.mark.parametrize(
    "words", [["--multiprocessing-fork", "pipe_handle=5"], TRACKER, SERVER], ids=lambda one: one[-1]
)
def test_a_frozen_program_that_runs_again_as_a_helper_starts_no_more(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "argv", ["app", *words])
    with pytest.raises(vi.ViConfigurationError, match="runs the program again") as refused:
        runs.run_shards(tmp_path)
    assert "freeze_support" in (refused.value.suggestion or "")
