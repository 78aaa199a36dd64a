"""The local service in a process of its own, and what has to be done there between two runs."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import vi

PATIENCE = 600.0


@contextlib.contextmanager
def local_service(scratch: Path) -> Iterator[dict[str, str]]:
    """Run the local service over a folder in *scratch*; yields the settings of a client."""
    env_file = scratch / "vi.env"
    command = [sys.executable, "-m", "vi", "serve", "--data", f"{scratch}/data", "--port", "0"]
    with subprocess.Popen([*command, "--env-file", str(env_file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield dict(line.split("=", 1) for line in env_file.read_text().split())
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def own_client(settings: Mapping[str, str]) -> Iterator[vi.Client]:
    """Yield a client of this process for those settings."""
    key, organization, endpoint = (
        settings[f"DATATURE_VI_{name}"] for name in ("SECRET_KEY", "ORGANIZATION_ID", "API_ENDPOINT")
    )
    with vi.Client(key, organization, endpoint) as client:
        yield client


def settle(client: vi.Client, dataset: str, count: int, *, keep: bool = False) -> None:
    """Wait until a dataset has its *count* assets, and delete it, so that the next run finds the service at rest."""
    began = time.monotonic()
    while (found := client.assets.count(dataset)) < count:
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"{found} of {count} files were ingested.")
        time.sleep(0.1)
    if not keep:
        client.datasets.delete(dataset)
        time.sleep(1.0)  # the bytes go after the answer
