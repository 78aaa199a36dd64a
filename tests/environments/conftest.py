"""Programs that use the package where something of the usual surroundings is missing or odd."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vi.testing import TestedService

ROOT = Path(__file__).parents[2]
PATIENCE = 60

Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def program(service: TestedService, tmp_path: Path) -> Program:
    """Runs a program that finds the service by its environment, and has a cache of its own."""

    def run(
        code: str, *arguments: str, without: tuple[str, ...] = (), **options: Any
    ) -> subprocess.CompletedProcess[str]:
        environ = {
            **os.environ,
            **service.environment,
            "PYTHONPATH": str(ROOT),
            "VI_CACHE_DIR": str(tmp_path / "cache"),
        }
        environ |= options.pop("env", {})
        for name in without:
            environ.pop(name, None)
        command = [sys.executable, "-c", code, *map(str, arguments)]
        settings = {"capture_output": True, "text": True, "timeout": PATIENCE, "cwd": tmp_path, **options}
        return subprocess.run(command, env=environ, check=False, **settings)

    return run
