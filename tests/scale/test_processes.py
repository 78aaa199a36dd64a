"""Several processes on one database and one folder: killed and ended in turn, with nothing lost and nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

sa = pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import vi  # noqa: E402
from vi._samples import make_samples  # noqa: E402
from vi.server import ServiceConfig  # noqa: E402
from vi.server.config import Folder  # noqa: E402
from vi.server.disk.leftovers import Leftovers  # noqa: E402
from vi.server.housekeeping import Housekeeping  # noqa: E402
from vi.server.lifecycle import wall_clock  # noqa: E402
from vi.server.parts import open_parts  # noqa: E402
from vi.server.store.schema import asset, dataset, garbage, ingest_item, ingestion_session  # noqa: E402

pytestmark = [pytest.mark.anyio, pytest.mark.scale]

PATIENCE = 100.0


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


@attrs.define
class Cluster:
    """Processes that serve one folder with one database, behind one address."""

    folder: Path
    database: str
    balancer: Balancer
    processes: list[subprocess.Popen[bytes]] = attrs.Factory(list)

    async def start(self) -> subprocess.Popen[bytes]:
        """Start one more and return it once it answers."""
        file = self.folder / f"{len(self.processes)}.env"
        command = [sys.executable, "-m", "vi", "serve", "--data", str(self.folder / "data"), "--port", "0"]
        command += ["--env-file", str(file), "--public-url", self.balancer.url]
        process = subprocess.Popen(command, env={**os.environ, "VI_DATABASE": self.database}, stdout=subprocess.DEVNULL)
        self.processes.append(process)
        async with asyncio.timeout(PATIENCE):
            while not file.exists() or "ORGANIZATION" not in file.read_text("utf-8"):
                assert process.poll() is None
                await asyncio.sleep(0.05)
        values = dict(line.split("=", 1) for line in file.read_text("utf-8").splitlines())
        self.balancer.ports.append(int(values["DATATURE_VI_API_ENDPOINT"].rpartition(":")[2]))
        self.settings = {"secret_key": values["DATATURE_VI_SECRET_KEY"], "endpoint": self.balancer.url}
        self.settings["organization_id"] = values["DATATURE_VI_ORGANIZATION_ID"]
        return process

    settings: dict[str, str] = attrs.Factory(dict)


@pytest.fixture
async def cluster(postgres: Any, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Balancer() as balancer:
        made = Cluster(tmp_path, postgres.create(), balancer)
        try:
            yield made
        finally:
            for process in made.processes:
                process.kill()
                process.wait(20)


@pytest.fixture
def engine_of(cluster: Cluster) -> Iterator[Any]:
    engine = sa.create_engine(sa.make_url(cluster.database).set(drivername="postgresql+psycopg"))
    yield engine
    engine.dispose()


def count(engine: Any, table: Any) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


async def until(engine: Any, table: Any, number: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while count(engine, table) < number:
            await asyncio.sleep(0.02)


def check_rows(engine: Any, number: int) -> set[str]:
    """Counters equal rows; returns the objects of the assets."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(asset.c.filename, asset.c.size, asset.c.blob)).all()
        assert len({row.filename for row in rows}) == len(rows) == number
        (one,) = connection.execute(sa.select(dataset)).all()
        assert (one.asset_total, one.byte_total) == (number, sum(row.size for row in rows))
        for session in connection.execute(sa.select(ingestion_session)):
            states = connection.execute(sa.select(ingest_item.c.state).where(ingest_item.c.session_seq == session.seq))
            done = [state for (state,) in states if state == 2]
            assert session.succeeded == len(done)
            assert session.state != "open"
            assert session.total == session.succeeded + session.errored or session.reason == "Cancelled"
    return {row.blob for row in rows}


async def tidy(cluster: Cluster) -> None:
    """Do what one of the processes does after a day."""
    config = ServiceConfig(database=cluster.database)
    folder = Folder(cluster.folder / "data")
    async with AsyncExitStack() as stack:
        opened = await open_parts(stack, folder, config, wall_clock)
        await opened.removal.resume(await opened.removal.left())
        database: Any = opened.database
        ingestion: Any = opened.ingestion
        keeping = Housekeeping(database, ingestion, opened.removal, Leftovers(folder.bytes), config, wall_clock)
        await keeping.sweep(0)


@pytest.mark.parametrize("files", [200, pytest.param(2000, marks=pytest.mark.large)])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
async def test_what_three_processes_store_is_stored_once_whatever_ends_them(
    cluster: Cluster, engine_of: Any, tmp_path: Path, number: signal.Signals, files: int
) -> None:
    make_samples(tmp_path / "pictures", count=files, size=(400, 300))
    for _ in range(3):
        await cluster.start()

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
        replaced.append(asyncio.create_task(cluster.start()))
    await asyncio.gather(*replaced)
    if number == signal.SIGTERM:
        cluster.processes[2].send_signal(number)
    result = await sending
    assert (result.total_succeeded, result.total_failed) == (files, 0)
    for process in cluster.processes[: 3 if number == signal.SIGTERM else 2]:
        assert await asyncio.to_thread(process.wait, 60) == (0 if number == signal.SIGTERM else -number)
    with_rows = check_rows(engine_of, files)
    for process in cluster.processes:
        process.terminate()
    for process in cluster.processes:
        await asyncio.to_thread(process.wait, 60)
    await tidy(cluster)
    root = cluster.folder / "data" / "bytes"
    objects = {path.name for path in (root / "objects").rglob("*") if path.is_file()}
    assert {name for name in objects if not name.endswith(".thumbnail")} == with_rows
    assert {name.removesuffix(".thumbnail") for name in objects} == with_rows
    assert not list((root / "staging").iterdir())
    assert not list((root / "parts").iterdir())
    assert count(engine_of, garbage) == 0
