"""Three services on one database and one store, behind nginx: what is killed, ended or away loses nothing."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")
pytest.importorskip("aiobotocore")

import vi
from tests.support.cluster import Cluster, check_rows, count, open_engine, until
from tests.support.nginx import Nginx
from tests.support.ports import free_ports
from tests.support.seaweed import Seaweed
from vi._samples import make_samples
from vi.server.store.schema import asset, garbage

pytestmark = [pytest.mark.anyio, pytest.mark.scale, pytest.mark.large, pytest.mark.timeout(900)]

FILES = 2000
AWAY_SECONDS = 10


class Site:
    """The services, their balancer, and a client that uploads everything with its default settings."""

    def __init__(self, cluster: Cluster, nginx: Nginx, ports: list[int], pictures: Path) -> None:
        self.cluster = cluster
        self.nginx = nginx
        self.ports = ports
        self.pictures = pictures
        self.engine = open_engine(cluster.database)
        self.retries: Counter[str] = Counter()
        self.sent = 0

    def note(self, event: Any) -> None:
        if isinstance(event, vi.RetryEvent):
            self.retries[event.reason] += 1
        elif isinstance(event, vi.RequestEvent):
            self.sent += event.kind == "storage" and event.status == 200

    def begin(self) -> asyncio.Task[Any]:
        """Start the upload of all pictures."""

        def upload() -> Any:
            with vi.Client(**self.cluster.settings) as client:
                client.hooks.add(self.note)
                return client.assets.upload(client.datasets.create(name="site").dataset_id, self.pictures)

        return asyncio.create_task(asyncio.to_thread(upload))

    async def until_some_are_sent(self) -> None:
        """Wait until the client is in the middle of sending."""
        async with asyncio.timeout(100):
            while self.sent < FILES // 20:
                await asyncio.sleep(0.005)
        assert self.sent < FILES, "too late"

    async def check(self, seaweed: Seaweed, result: Any) -> None:
        """Everything is stored once, and nothing else is left."""
        assert (result.total_succeeded, result.total_failed) == (FILES, 0), result.summary()
        blobs = check_rows(self.engine, FILES)

        def verify() -> Any:
            with vi.Client(**self.cluster.settings) as client:
                (dataset,) = client.datasets.list().items
                return client.assets.verify(dataset.dataset_id, self.pictures)

        assert (await asyncio.to_thread(verify)).ok
        await self.cluster.end()
        await self.cluster.tidy()
        keys = [key for key in seaweed.keys(self.cluster.store) if key != "service.json"]
        kept = {f"sessions/{blob.replace('.', '/')}" for blob in blobs}
        assert {key for key in keys if not key.endswith(".thumbnail")} == kept
        assert {key.removesuffix(".thumbnail") for key in keys} == kept  # the store may have missed some thumbnails
        assert count(self.engine, garbage) == 0
        assert "Traceback" not in self.cluster.log(), self.cluster.log()


@pytest.fixture(params=["through", "direct"])
async def site(request: pytest.FixtureRequest, postgres: Any, seaweed: Seaweed, tmp_path: Path) -> AsyncIterator[Site]:
    make_samples(tmp_path / "pictures", count=FILES, size=(60, 40))
    ports = free_ports(3)
    with Nginx.started(ports) as nginx:
        words = ("--drain", "2", "--uploads", request.param)
        cluster = Cluster(tmp_path, postgres.create(), nginx.url, seaweed.create(), words)
        made = Site(cluster, nginx, ports, tmp_path / "pictures")
        try:
            await asyncio.gather(*(cluster.start(port) for port in ports))
            yield made
        finally:
            cluster.kill()
            made.engine.dispose()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
async def test_services_that_end_lose_nothing(site: Site, seaweed: Seaweed, number: signal.Signals) -> None:
    sending = site.begin()
    shares = (0, 0.75) if number == signal.SIGKILL else (0, 0.3, 0.6)
    await site.until_some_are_sent()
    for turn, share in enumerate(shares):
        await until(site.engine, asset, int(share * FILES))
        assert not sending.done()
        (process,) = [one for one in site.cluster.processes if f"{site.ports[turn]}" in one.args]  # type: ignore[operator]
        process.send_signal(number)
        assert await asyncio.to_thread(process.wait, 60) == (0 if number == signal.SIGTERM else -number)
        await site.cluster.start(site.ports[turn])
    result = await sending
    if number == signal.SIGTERM:
        assert site.retries.total() <= len(shares), site.retries
    await site.check(seaweed, result)


@pytest.mark.parametrize("what", ["postgres", "seaweed"])
async def test_after_an_outage_of_ten_seconds_everything_is_stored(
    site: Site, postgres: Any, seaweed: Seaweed, what: str
) -> None:
    sending = site.begin()
    await site.until_some_are_sent()
    stop, start = (postgres.kill, postgres.start) if what == "postgres" else (seaweed.stop, seaweed.start)
    await asyncio.to_thread(stop)
    try:
        await asyncio.sleep(AWAY_SECONDS)
    finally:
        await asyncio.to_thread(start)
    assert not sending.done()
    result = await sending
    assert not any(status.startswith("4") for status in site.nginx.failures())
    await site.check(seaweed, result)
