"""Several processes on one database and one folder: killed and ended in turn, with nothing lost and nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import vi
from tests.support.cluster import Cluster, check_rows, count, open_engine, until
from vi._samples import make_samples
from vi.server.store.schema import asset, garbage

pytestmark = [pytest.mark.anyio, pytest.mark.scale]


class Balancer:
    """Passes each connection on to one of several addresses in turn, and to the next if that one refuses."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._turn = 0
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Balancer:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for one in list(self._passing):
            one.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            for _ in range(len(self.ports)):
                self._turn += 1
                with contextlib.suppress(OSError):
                    port = self.ports[self._turn % len(self.ports)]
                    there, back = await asyncio.open_connection("127.0.0.1", port)
                    await asyncio.gather(_pass(reader, back), _pass(there, writer))
                    return
        finally:
            self._passing.discard(task)
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def balancer() -> AsyncIterator[Balancer]:
    async with Balancer() as running:
        yield running


@pytest.fixture
async def cluster(postgres: Any, balancer: Balancer, tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path, postgres.create(), balancer.url)
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture
def engine_of(cluster: Cluster) -> Iterator[Any]:
    engine = open_engine(cluster.database)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("files", [200, pytest.param(2000, marks=pytest.mark.large)])
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGTERM, id="ended", marks=pytest.mark.large),
    ],
)
async def test_what_three_processes_store_is_stored_once_whatever_ends_them(
    cluster: Cluster, balancer: Balancer, engine_of: Any, tmp_path: Path, number: signal.Signals, files: int
) -> None:
    make_samples(tmp_path / "pictures", count=files, size=(400, 300))

    async def start() -> None:
        balancer.ports.append(await cluster.start())

    for _ in range(3):
        await start()

    def upload() -> Any:
        with vi.Client(**cluster.settings) as client:
            name = client.datasets.create(name="cluster").dataset_id
            return client.assets.upload(name, tmp_path / "pictures")

    sending = asyncio.ensure_future(asyncio.to_thread(upload))
    replaced = []
    for turn, share in enumerate((0.1, 0.5)):
        await until(engine_of, asset, int(share * files))
        assert not sending.done()
        cluster.processes[turn].send_signal(number)
        replaced.append(asyncio.create_task(start()))
    await asyncio.gather(*replaced)
    if number == signal.SIGTERM:
        cluster.processes[2].send_signal(number)
    result = await sending
    assert (result.total_succeeded, result.total_failed) == (files, 0)
    for process in cluster.processes[: 3 if number == signal.SIGTERM else 2]:
        assert await asyncio.to_thread(process.wait, 60) == (0 if number == signal.SIGTERM else -number)
    with_rows = check_rows(engine_of, files)
    await cluster.end()
    await cluster.tidy()
    root = cluster.folder / "data" / "bytes"
    objects = {path.name for path in (root / "objects").rglob("*") if path.is_file()}
    assert {name for name in objects if not name.endswith(".thumbnail")} == with_rows
    assert {name.removesuffix(".thumbnail") for name in objects} == with_rows
    assert not list((root / "staging").iterdir())
    assert not list((root / "parts").iterdir())
    assert count(engine_of, garbage) == 0
