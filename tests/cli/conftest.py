"""The command line as people meet it: in this process for the many, in processes of their own for what needs one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.cli.outcomes import Outcome, check_no_secret
from vi import _samples
from vi.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def samples() -> dict[str, bytes]:
    """Four small images by name."""
    names = ("bridge.png", "crane.jpg", "dock.png", "east.jpg")
    return {name: _samples.encode(number, name[-4:], (32, 24)) for number, name in enumerate(names)}


@pytest.fixture
def home(samples: dict[str, bytes], service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with images, where the environment names the service."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CI", "VI_LOG", "VI_PROFILE", "VI_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("XDG_CONFIG_HOME", "APPDATA"):  # of Windows
        monkeypatch.setenv(name, str(tmp_path / "settings"))
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "home"
    (folder / "images").mkdir(parents=True)
    for name, content in samples.items():
        (folder / "images" / name).write_bytes(content)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(
    home: Path, service: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Runs a command in this process; no output may hold a secret, but for a key that `server keys` makes."""

    def call(*arguments: str, input: str = "") -> Outcome:
        capfd.readouterr()
        monkeypatch.setattr(sys, "stdin", io.StringIO(input))
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        out, err = capfd.readouterr()
        made = arguments[:2] == ("server", "keys") and arguments[2:3] in (("add",), ("replace",))
        check_no_secret(err if made else out + err, service.secret_key)
        assert "\x1b" not in out + err
        return Outcome(code, out, err)

    return call


@pytest.fixture
def start(home: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command in a process of its own."""

    def popen(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        extra = options.pop("env", {})
        settings: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "cwd": home,
            "env": {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", **extra},
        }
        return subprocess.Popen([sys.executable, "-m", "vi", *arguments], **{**settings, **options})

    return popen


@pytest.fixture
def spawn(start: Callable[..., subprocess.Popen[str]], service: Any) -> Callable[..., Outcome]:
    """Runs a command in a process of its own."""

    def call(*arguments: str, input: str | None = None, **options: Any) -> Outcome:
        if input is not None:
            options["stdin"] = subprocess.PIPE
        process = start(*arguments, **options)
        out, err = process.communicate(input, timeout=60)
        check_no_secret(out + err, service.secret_key)
        return Outcome(process.returncode, out, err)

    return call


@pytest.fixture
def filled(home: Path, client: vi.Client, dataset: str) -> str:
    """The id of a dataset that holds the images."""
    client.assets.upload(dataset, home / "images", custom_metadata={"camera": "north"}, show_progress=False)
    return dataset


@pytest.fixture(scope="session")
def png() -> Callable[[int], bytes]:
    """Makes the bytes of small images: one for each seed."""
    return lambda seed: _samples.encode(seed, ".png", (16, 12))
