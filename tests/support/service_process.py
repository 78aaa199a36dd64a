"""A service in a process of its own, which can be killed; its descriptors and its memory are not the client's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import vi
from tests.support import engines

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("serve.py")


class ServiceProcess:
    """Serves a folder, after each start at the same port; *config* are fields of `ServiceConfig`."""

    def __init__(self, data: Path, **config: Any) -> None:
        self._command = [sys.executable, str(SCRIPT), str(data)]
        self._config = json.dumps({**engines.settings(data), **config})
        self._port = 0
        self.start()
        told = self.ready()
        self.url: str = told["url"]
        self.secret_key: str = told["secret_key"]
        self.organization_id: str = told["organization_id"]
        self._port = int(self.url.rpartition(":")[2])

    def start(self, dies_at: int = 0, when: str = "before") -> None:
        """Start it, to be killed *before* or *after* a request; without waiting until it listens."""
        self.process = subprocess.Popen(
            [*self._command, str(self._port), self._config, str(dies_at), when],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> dict[str, str]:
        """Wait until it listens, and return what it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the service ended before it listened"
        told: dict[str, str] = json.loads(line)
        return told

    def client(self, **settings: Any) -> vi.Client:
        return vi.Client(self.secret_key, self.organization_id, self.url, **settings)

    def kill(self) -> None:
        self.process.kill()

    def wait(self, seconds: float | None = 30) -> None:
        """Wait for its end."""
        process = self.process
        process.wait(seconds)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.wait()
