"""The published client, run once from its own environment against a served folder; the tests look at what it saw."""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

import vi
from tests.support import engines

DRIVER = Path(__file__).with_name("published_client.py")
ROOT = Path(vi.__file__).parents[1]
ODD_NAMES = ("100% sure+#1.png", "naïve café.jpg", "a&b=c;d.jpeg", "日本.webp", "question?.gif")


@attrs.frozen
class Run:
    """A finished run: the files that went in, what the client said, where it saved."""

    pictures: Path
    large: Path
    facts: dict[str, Any]
    log: str
    exit_code: int

    def fact(self, step: str) -> Any:
        """Return what a step saw, or fail with what it raised."""
        fact = self.facts.get(step)
        if fact is None:
            pytest.fail(f"the client did not get to {step!r}:\n{self.log[-3000:]}")
        if "failed" in fact and isinstance(fact["failed"], str):
            pytest.fail(fact["failed"])
        return fact


def peer_python() -> str:
    """Return the interpreter that has the published client."""
    python = os.environ.get("VI_PEER_PYTHON")
    if not python:
        pytest.skip("VI_PEER_PYTHON does not name an interpreter with the published client; nox -s interop does")
    return python


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Serve a folder as ``python -m vi serve`` and let the client work through its script."""
    python = peer_python()
    folder = tmp_path_factory.mktemp("interop")
    pictures, large = make_pictures(folder / "pictures"), make_large(folder / "large")
    home = folder / "home"
    home.mkdir()
    with served(folder / "data", folder / "service.env") as (settings, process):
        environment = {**os.environ, **settings, "HOME": str(home), "USERPROFILE": str(home)}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [python, str(DRIVER), str(pictures), str(large), str(folder / "saved")],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=240,
            check=False,
        )
    facts: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        facts.update(json.loads(line))
    return Run(pictures, large, facts, done.stderr, process.returncode)


@contextmanager
def served(data: Path, env_file: Path) -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    """Run the service as its users do; yields the settings it wrote, and ends it with SIGTERM."""
    command = [sys.executable, "-m", "vi", "serve", "--data", str(data), "--port", "0", "--env-file", str(env_file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **engines.environment(data)}
    with subprocess.Popen(command, env=environment, cwd=data.parent, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the service ended before it listened"
            lines = [line.partition("=") for line in shlex.split(env_file.read_text())]
            yield {name: value for name, _, value in lines}, process
        finally:
            process.terminate()
            process.wait(20)


def make_pictures(folder: Path) -> Path:
    """Fill a folder with 300 pictures of all types, some under names that are hard on URLs."""
    from vi import _samples

    last_of_type = {path.suffix: path for path in _samples.make_samples(folder, count=300)}
    for name in ODD_NAMES:
        last_of_type[Path(name).suffix].rename(folder / name)
    return folder


def make_large(folder: Path) -> Path:
    """Fill a folder with an image and a video that are large enough to go in parts."""
    from vi import _samples

    folder.mkdir()
    (folder / "wide.bmp").write_bytes(_samples.encode(1, ".bmp", (3000, 2001)))
    video = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + random.Random(1).randbytes(40_000_003)
    (folder / "drive day 1.mp4").write_bytes(video)
    return folder
