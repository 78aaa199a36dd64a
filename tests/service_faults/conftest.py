"""A process that starts services whose disk fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import connect, fresh_api, fresh_service, picture, start_service

__all__ = ["connect", "fresh_api", "fresh_service", "picture", "start_service"]

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


class Stage:
    """Orders to the process of `stage.py`, one at a time."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.service_faults.stage"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        self._lock = threading.Lock()

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    if not hasattr(os, "fork"):
        pytest.skip("needs a system that can fork")
    stage = Stage()
    yield stage
    stage.close()


class Served:
    """A folder and the service of it, which `revive` starts again when it has died; only the first disk may fail."""

    def __init__(self, stage: Stage, folder: Path, fault: str | None = None, number: int = 0, **config: Any) -> None:
        self.data = folder / "data"
        self.report = folder / "report"
        self._stage = stage
        self._config = config
        self._fault: dict[str, Any] = {"fault": fault, "number": number} if fault else {}
        self._running: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self.starts = 0
        self.died_starting = False

    @property
    def fired(self) -> str | None:
        """The operation that failed."""
        return self.report.read_text() if self.report.exists() else None

    @property
    def pid(self) -> int:
        """The process of the service."""
        assert self._running is not None
        return int(self._running["pid"])

    @property
    def log(self) -> str:
        """What the services wrote."""
        path = Path(f"{self.report}.log")
        return path.read_text() if path.exists() else ""

    def revive(self) -> dict[str, Any]:
        """Return what the service told, started first when it does not run."""
        with self._lock:
            if self._running is not None and self._stage.ask(wait=self._running["pid"])["status"] is not None:
                self._running = None
            while self._running is None:
                self.starts += 1
                assert self.starts < 4, f"it does not start:\n{self.log}"
                order = {"data": str(self.data), "report": str(self.report), "config": self._config, **self._fault}
                self._fault = {}
                answer = self._stage.ask(**order)
                if answer["told"] is None:
                    self.died_starting = True
                    assert self.fired is not None, f"it does not start:\n{self.log}"
                    self._stage.ask(wait=answer["pid"], signal=signal.SIGKILL)
                else:
                    self._running = answer
            return dict(self._running["told"])

    def stop(self) -> int:
        """End the service in order."""
        self._fault = {}
        assert self._running is not None
        running, self._running = self._running, None
        return int(self._stage.ask(wait=running["pid"], signal=signal.SIGTERM)["status"])
