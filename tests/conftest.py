"""A running service, clients of it, and a check that each test leaves nothing of ours running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import pytest

import vi
from tests.support import engines as support
from tests.support.postgres import Postgres
from tests.support.readme_blocks import run
from tests.support.seaweed import Seaweed
from vi import _samples
from vi.testing import TestedService

# A job in the background of a shell ignores Ctrl+C, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("vi", deadline=None)
hypothesis.settings.load_profile("vi")

if find_spec("pi_heif") is None:  # for which there is no wheel everywhere: images are of the other types then
    _samples.EXTENSIONS = tuple(one for one in _samples.EXTENSIONS if one not in (".heic", ".heif"))

OURS = ("vi-client", "vi-lane")
PATIENCE = 5.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reason = support.reason_not_to_run(item.path.name, getattr(item, "originalname", item.name))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep journals out of the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VI_CACHE_DIR", str(folder))
        # What a test says of the terminal must not depend on where the tests run.
        for variable in ("CI", "NO_COLOR", "FORCE_COLOR", "VI_PROGRESS", "VI_LOG", "VI_CONFIG", "VI_PROFILE"):
            patch.delenv(variable, raising=False)
        yield folder


@pytest.fixture(scope="session", autouse=True)
def engines(request: pytest.FixtureRequest, cache_folder: Path) -> Iterator[None]:
    """Let services keep rows and bytes where ``VI_TEST_ENGINE`` says; `nox -s scale` sets it."""
    if not support.CHOSEN:
        yield
        return
    support.chosen = support.Engines(request.getfixturevalue("postgres"), request.getfixturevalue("seaweed"))
    with support.chosen.everywhere():
        yield
    support.chosen = None


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    running = TestedService.start(tmp_path_factory.mktemp("service") / "data")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL of this session, where its programs are installed."""
    with Postgres.started() as running:
        yield running


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Seaweed]:
    """An S3 store of this session, where its program is installed."""
    with Seaweed.started() as running:
        yield running


@pytest.fixture(scope="session")
def engine() -> str:
    """What services keep their metadata in; tests/service has both."""
    return "sqlite"


@pytest.fixture
def client(service: TestedService) -> Iterator[vi.Client]:
    with service.client() as client:
        yield client


@pytest.fixture
async def async_client(service: TestedService) -> AsyncIterator[vi.AsyncClient]:
    before = _tasks()
    async with service.async_client() as client:
        yield client
    deadline = time.monotonic() + PATIENCE
    while left := _tasks() - before:
        assert time.monotonic() < deadline, f"tasks were left behind: {left}"
        await asyncio.sleep(0.01)


def _tasks() -> set[asyncio.Task[Any]]:
    """The running loop's tasks without those of the test runner."""
    return {t for t in asyncio.all_tasks() if not getattr(t.get_coro(), "__qualname__", "").startswith("TestRunner.")}


@pytest.fixture
def dataset(client: vi.Client) -> str:
    """The id of an empty dataset."""
    return client.datasets.create(name="test").dataset_id


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small image of every extension; shared, so only to be read."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, extension in enumerate(_samples.EXTENSIONS):
        (folder / f"picture-{number:02d}{extension}").write_bytes(_samples.encode(number, extension, (32, 24)))
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with four small images, for the test alone."""
    folder = tmp_path / "images"
    _samples.make_samples(folder, count=4, seed=7, size=(32, 24))
    return folder


@pytest.fixture
def environment() -> Iterator[None]:
    """What a test sets in the environment, such as a proxy, is not for the tests that follow."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def reader(
    service: TestedService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: None
) -> Callable[..., dict[str, Any]]:
    """Runs blocks where a reader would: a folder with ``images``, and the settings of a service."""
    _samples.make_samples(tmp_path / "images", count=14, size=(40, 30))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    return lambda section, source="README.md": run(section, tmp_path, service.environment, source)


def where(threads: Sequence[threading.Thread]) -> str:
    """Return what each thread is at."""
    frames = sys._current_frames()
    stacks = [(t.name, frames.get(t.ident or 0)) for t in threads]
    return "\n".join(f"{name}:\n{''.join(traceback.format_stack(frame))}" for name, frame in stacks)


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail a test after which threads of ours go on, unless they were there before it."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + PATIENCE
    while left := [t for t in threading.enumerate() if t not in before and t.name.startswith(OURS)]:
        assert time.monotonic() < deadline, f"threads were left running: {left}\n{where(left)}"
        time.sleep(0.005)
