"""Several processes on one database and one folder: killed and ended in turn, with nothing lost and nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import sqlalchemy as sa

import vi
from tests.support import next_release
from tests.support.cluster import Cluster, check_rows, count, open_engine, until
from vi._samples import make_samples
from vi.cli import main
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


async def test_processes_of_this_release_and_of_the_next_serve_one_database(
    cluster: Cluster, balancer: Balancer, engine_of: Any, tmp_path: Path
) -> None:
    """As in an update: migrate while old ones run, start new ones, also an old one again, and end the old ones."""
    program = next_release.__name__
    sent = 0

    async def upload(url: str, number: int) -> None:
        nonlocal sent
        pictures = make_samples(tmp_path / f"from {sent}", count=number, size=(40, 30))
        names = [path.rename(path.with_name(f"{sent}-{at}{path.suffix}")) for at, path in enumerate(pictures)]
        async with vi.AsyncClient(**{**cluster.settings, "endpoint": url}) as client:
            result = await client.assets.upload(dataset, names)
            assert (result.total_succeeded, result.total_failed) == (number, 0), result.summary()
            await client.assets.set_metadata(dataset, {names[0].name: {"lot": sent}})
            await client.assets.upload(dataset, names[1])
            sent += number
            assert await client.assets.count(dataset) == sent

    def own(port: int) -> str:
        return f"http://127.0.0.1:{port}"

    def run(*statements: str) -> Any:
        with engine_of.begin() as connection:
            return [connection.execute(sa.text(one)) for one in statements][-1]

    old = await cluster.start()
    balancer.ports.append(old)
    async with vi.AsyncClient(**cluster.settings) as client:
        dataset = (await client.datasets.create(name="update")).dataset_id
    await upload(own(old), 4)
    migrate = await asyncio.create_subprocess_exec(
        sys.executable, "-m", program, "server", "migrate", "--database", cluster.database
    )
    assert await migrate.wait() == 0
    assert run("SELECT version_num FROM alembic_version").scalar() == next_release.REVISION
    run("""UPDATE service SET identity = identity || '{"later": 1}'""")  # the next release may keep more there, too
    new, again = await asyncio.gather(cluster.start(program=program), cluster.start())
    balancer.ports += [new, again]
    for port in (old, new, again):
        await upload(own(port), 4)
    assert main(["server", "keys", "add", "ci", "--database", cluster.database]) == 0
    assert run("SELECT identity ->> 'later' FROM service").scalar() == "1"
    written = "SELECT count(*) FROM ingestion_session WHERE later"
    assert run(f"{written} = '{next_release.WRITTEN}'").scalar() > 0
    assert run(f"{written} IS NULL").scalar() > 0
    balancer.ports[:] = [new]
    for at in (0, 2):
        cluster.processes[at].send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(cluster.processes[at].wait, 60) == 0
    await upload(cluster.url, 4)
    assert main(["server", "check", "--database", cluster.database]) == 0
    await cluster.end()
    check_rows(engine_of, sent)
