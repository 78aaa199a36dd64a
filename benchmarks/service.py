"""The local service in a process of its own, and what has to be done there between two runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from harness import FAST, HERE
from measured import WITHOUT

import vi
from vi.server.config import Folder
from vi.server.store import schema

PATIENCE = 600.0


@contextlib.contextmanager
def local_service(scratch: Path) -> Iterator[dict[str, str]]:
    """Run the local service over a folder in *scratch*; yields the settings of a client."""
    with local_service_process(scratch) as (settings, _):
        yield settings


@contextlib.contextmanager
def local_service_process(scratch: Path) -> Iterator[tuple[dict[str, str], int]]:
    """Run the local service over a folder in *scratch*; yields the settings of a client and the service's process."""
    env_file = scratch / "vi.env"
    command = [sys.executable, str(HERE / "serve.py"), "serve", "--data", f"{scratch}/data", "--port", "0"]
    environment = {**os.environ, WITHOUT: FAST}
    with subprocess.Popen([*command, "--env-file", str(env_file)], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield dict(line.split("=", 1) for line in env_file.read_text().split()), process.pid
        finally:
            process.terminate()
            process.wait()


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU seconds, user and system, that a process has used, 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_below(pid: int) -> float:
    """Return the CPU seconds that a process and those that it has started have used, 0 where it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [
            int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
        ]
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(map(cpu_seconds_below, children))


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


BLOCK = 10_000


def fill(scratch: Path, dataset: str, count: int) -> None:
    """Give a dataset of a service that does not run *count* assets more, whose bytes do not exist."""
    engine = sa.create_engine(f"sqlite:///{Folder(scratch / 'data').database}")
    now = int(time.time() * 1000)
    with engine.begin() as connection:
        seq = connection.execute(sa.select(schema.dataset.c.seq).where(schema.dataset.c.id == dataset)).scalar_one()
        for start in range(0, count, BLOCK):
            numbers = range(start, min(start + BLOCK, count))
            connection.execute(schema.asset.insert(), [_asset(seq, number, now) for number in numbers])
        connection.execute(
            schema.dataset.update()
            .where(schema.dataset.c.seq == seq)
            .values(asset_total=schema.dataset.c.asset_total + count, byte_total=schema.dataset.c.byte_total + count)
        )
    engine.dispose()


def _asset(seq: int, number: int, now: int) -> dict[str, Any]:
    digest = hashlib.sha256(f"{seq} {number}".encode()).hexdigest()
    return {
        "id": f"{seq:x}{number:015x}",
        "dataset_seq": seq,
        "filename": f"{digest[:8]}-{number:07}.jpg",
        "kind": "Image",
        "mime": "image/jpeg",
        "status": "ready",
        "source": "managed/datature/default",
        "size": 100_000 + number % 1000,
        "crc32c": number,
        "sha256": digest,
        "blob": f"{digest[:2]}-{digest[2:32]}",
        "has_thumbnail": False,
        "width": 960,
        "height": 720,
        "frames": 1,
        "custom_metadata": {"camera": f"north {number % 7}", "night": number % 2 == 0},
        "annotation_tags": {},
        "created": now + number,
        "updated": now + number,
        "contents_updated": now + number,
    }
