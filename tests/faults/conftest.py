"""The stage is set up once; each test has a scene on it, and its end is checked."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import vi
from tests.faults.invariants import Listener
from tests.faults.proxy import Proxy
from tests.faults.stage import Scene, descriptors
from tests.support.service_process import ServiceProcess
from vi import _samples

PATIENCE = 5.0
LANES = 8


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def stage(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    data = tmp_path_factory.mktemp("stage") / "data"
    service = ServiceProcess(data, public_url=proxy.url, part_bytes=80_000)
    proxy.upstream = service.url
    yield service
    service.stop()


@pytest.fixture(scope="session")
def admin(stage: ServiceProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[vi.Client]:
    """A client that asks the service without the proxy."""
    with vi.Client(stage.secret_key, stage.organization_id, stage.url) as client:
        # Its calls from a test's own loop are short, and meant.
        client._loop_thread._warned = True
        # So that its threads are there before any test looks: a second lane would be taken for the scene's.
        client._loop_thread.run(lambda: keep_to_one_lane(client))
        one = tmp_path_factory.mktemp("first") / "one.png"
        one.write_bytes(_samples.encode(1, ".png", (16, 12)))
        client.assets.upload(client.datasets.create(name="first").dataset_id, one, show_progress=False)
        yield client


async def keep_to_one_lane(client: vi.Client) -> None:
    assert client.assets  # makes the transfers
    assert client._client._transfers is not None
    client._client._transfers.lanes()._threads = 1


@pytest.fixture
def scene(
    proxy: Proxy, stage: ServiceProcess, admin: vi.Client, tmp_path: Path, quiet: None, no_trace: Listener
) -> Iterator[Scene]:
    proxy.reset()
    proxy.upstream = stage.url
    scene = Scene(proxy, stage, admin, tmp_path)
    yield scene
    scene.check_end()


@pytest.fixture(scope="session")
def lanes(proxy: Proxy, stage: ServiceProcess) -> Iterator[list[Proxy]]:
    """Proxies before the one service, for scenes that play beside one another."""
    made = [Proxy(stage.url, instead_of=proxy.url) for _ in range(LANES)]
    yield made
    for one in made:
        one.close()


@pytest.fixture
def no_trace() -> Iterator[Listener]:
    """Everything that is logged during a test, checked at its end."""
    listener = Listener()
    root, ours = logging.getLogger(), logging.getLogger("vi")
    level = ours.level
    root.addHandler(listener)
    ours.setLevel(logging.DEBUG)
    yield listener
    ours.setLevel(level)
    root.removeHandler(listener)
    listener.check()


@pytest.fixture
def quiet(stage: ServiceProcess) -> Iterator[None]:
    """Fail a test that leaves descriptors or threads behind."""
    # What listens is the proxy's; what leads to the service itself is the administrator's.
    yield from watch(stage.url)


@pytest.fixture
def quiet_lanes(proxy: Proxy, stage: ServiceProcess) -> Iterator[None]:
    """The same where the administrator's own transfers go through the proxy and the scenes' do not."""
    proxy.reset()
    watching = watch(stage.url, proxy.url)
    next(watching)
    yield
    proxy.reset()
    next(watching, None)


def watch(*others: str) -> Iterator[None]:
    before, threads = set(descriptors(*others).values()), set(threading.enumerate())
    yield
    deadline = time.monotonic() + PATIENCE
    while True:
        listed = descriptors(*others)
        left = {number: path for number, path in listed.items() if path not in before}
        alive = [t.name for t in threading.enumerate() if t not in threads and t.name.startswith("vi-")]
        if not left and not alive:
            return
        assert time.monotonic() < deadline, f"left open: {left}, left running: {alive}"
        time.sleep(0.01)


@pytest.fixture
async def no_tasks() -> AsyncIterator[None]:
    """Fail a test that leaves tasks behind in its loop."""
    before = asyncio.all_tasks()
    yield
    deadline = time.monotonic() + PATIENCE
    while left := {t for t in asyncio.all_tasks() - before if "TestRunner" not in repr(t.get_coro())}:
        assert time.monotonic() < deadline, f"tasks were left behind: {left}"
        await asyncio.sleep(0.01)
