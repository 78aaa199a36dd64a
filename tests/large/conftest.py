"""A service in a process of its own, and clients measured in theirs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a client of a service that runs as a process."""
    folder = tmp_path_factory.mktemp("large")
    env_file = folder / "service.env"
    inherited = {**os.environ, "PYTHONPATH": str(ROOT), "VI_CACHE_DIR": str(folder / "cache"), "VI_PROGRESS": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "vi.server", "--data", str(folder / "data"), "--port", "0", "--env-file", str(env_file)],
        env=inherited,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Serving ")
    yield {**inherited, **dict(line.split("=", 1) for line in shlex.split(env_file.read_text()))}
    process.terminate()
    process.wait(30)
    process.stdout.close()


Measure = Callable[..., dict[str, Any]]


@pytest.fixture
def measure(environment: dict[str, str], tmp_path: Path, record_property: Callable[[str, object], None]) -> Measure:
    """Runs a client program and returns what it reports: one JSON object, with its peak memory in MB."""

    def run(source: str, *arguments: object) -> dict[str, Any]:
        path = tmp_path / "client.py"
        path.write_text(f"{source}\n{REPORT}")
        done = subprocess.run(
            [sys.executable, str(path), *map(str, arguments)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        for name, value in found.items():
            record_property(name, value)
        sys.stderr.write(f"\n{found}\n")
        return found

    return run


REPORT = r"""
import json, re, resource
if sys.platform == "linux":
    # ru_maxrss would begin with the size of the process that started this one.
    peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) << 10
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1 << 10)
report["peak_mb"] = round(peak / (1 << 20), 1)
print(json.dumps(report))
"""
