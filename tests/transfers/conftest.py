"""A service that notes every request and can hold any of them, and the pictures that tests move."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.support.pictures import picture
from tests.support.recorded_service import RecordedService, service, shared_service  # noqa: F401 - fixtures
from vi.server import ServiceConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., RecordedService]]:
    """Starts services with settings of a test's own."""
    running: list[RecordedService] = []

    def start(**settings: Any) -> RecordedService:
        running.append(RecordedService(tmp_path / f"data-{len(running)}", ServiceConfig(**settings)))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def client(service: RecordedService) -> Iterator[vi.Client]:
    with service.client() as client:
        yield client


@pytest.fixture
def dataset(client: vi.Client, service: RecordedService) -> str:
    """The id of an empty dataset; what it took to make it is not on the list of requests."""
    dataset_id = client.datasets.create(name="test").dataset_id
    service.forget()
    return dataset_id


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """Makes the bytes of small images: one for each seed."""
    return lambda seed=0, side=8: picture(seed, (side, side))


@pytest.fixture
def folder(tmp_path: Path, png: Callable[..., bytes]) -> Callable[..., Path]:
    """Makes folders of images: by number, or by name."""

    def make(count: int = 3, *, name: str = "images", names: list[str] | None = None, seed: int = 0) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for number, filename in enumerate(names or [f"image-{n:03d}.png" for n in range(count)]):
            path = root / filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(seed * 1000 + number))
        return root

    return make


def content_of(folder: Path) -> dict[str, str]:
    """Return the digest of every file below *folder*, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, str]]:
    """Reads a folder as name and digest."""
    return content_of


@pytest.fixture
def stored(client: vi.Client) -> Callable[[str], dict[str, str]]:
    """Reads what a dataset holds as name and digest, from the service alone."""

    def read(dataset_id: str) -> dict[str, str]:
        return {a.filename: a.metadata.hash.contents for a in client.assets.list(dataset_id).all_items()}

    return read


@pytest.fixture
def script(tmp_path: Path, service: RecordedService) -> Callable[..., subprocess.Popen[str]]:
    """Starts a Python program that finds the service in its environment, with warnings shown."""

    def start(source: str, *arguments: str, under: str | None = None) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text(source)
        command = [sys.executable, str(path), *arguments]
        if under is not None:
            # The second command keeps the shell from handing its process over to the first.
            command = [under, "-c", f"{shlex.join(command)}; exit $?"]
        environment = {**os.environ, **service.environment, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
        return subprocess.Popen(
            command,
            env=environment,
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start
