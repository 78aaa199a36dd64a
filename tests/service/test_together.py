"""Two services on one database and one folder are one service: what one begins, the other resumes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.service.conftest import Api, Clock, ClockedService, Connect, Picture
from tests.service.test_wire_multipart import Upload
from vi.cli import main
from vi.errors import ViConfigurationError
from vi.server import ServiceConfig
from vi.server.context import CONTEXT
from vi.server.lifecycle import working

sa = pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

from vi.server.store import claims, sessions  # noqa: E402
from vi.server.store.schema import asset, ingest_item  # noqa: E402
from vi.testing import TestedService  # noqa: E402

pytestmark = [pytest.mark.anyio, pytest.mark.scale]


class Joined(ClockedService):
    """A service whose clock is that of another."""

    def __init__(self, data: Path, config: ServiceConfig, clock: Clock) -> None:
        self.clock = clock
        TestedService.__init__(self, data, config, clock=clock)
        self.loop = self._loop


@attrs.frozen
class Pair:
    """Two services, a connection to each, and their database."""

    services: list[Joined]
    apis: list[Api]
    engine: Any
    clock: Clock
    database: str

    def at(self, number: int, url: str) -> str:
        """Return a signed URL as it is at one of the two."""
        for service in self.services:
            url = url.replace(service.url, self.services[number].url)
        return url

    def run(self, statement: Any) -> Any:
        with self.engine.begin() as connection:
            done = connection.execute(statement)
            return done.all() if done.returns_rows else None

    def context(self, number: int) -> Any:
        running = self.services[number]._local._running
        assert running is not None
        return running._app[CONTEXT]

    async def call(self, number: int, work: Callable[[], Any]) -> Any:
        """Run *work* in the loop of one of the two."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), self.services[number].loop))


StartPair = Callable[..., Any]


@pytest.fixture
def start_pair(postgres: Any, tmp_path: Path, connect: Connect) -> Iterator[StartPair]:
    started: list[Joined] = []
    engines: list[Any] = []

    async def start(**settings: Any) -> Pair:
        config, clock = ServiceConfig(**{"database": postgres.create(), **settings}), Clock()
        services = [Joined(tmp_path / "data", config, clock) for _ in range(2)]
        started.extend(services)
        engines.append(sa.create_engine(sa.make_url(config.database).set(drivername="postgresql+psycopg")))
        return Pair(services, [await connect(one) for one in services], engines[-1], clock, str(config.database))

    yield start
    for one in started:
        one.stop()
    for engine in engines:
        engine.dispose()


@pytest.fixture
async def pair(start_pair: StartPair) -> Pair:
    return await start_pair()


async def test_a_session_of_one_takes_files_at_the_other_and_both_hear_of_its_end(pair: Pair, picture: Picture) -> None:
    first, second = pair.apis
    path = await first.create_dataset()
    files = {f"{number}.png": picture(number) for number in range(6)}
    session = await first.open_session(path, files)
    waiting = [asyncio.ensure_future(api("GET", session["selfLink"], wait=10)) for api in pair.apis]
    for number, upload in enumerate(session["status"]["assets"]):
        url = pair.at(number % 2, upload["upload"]["url"])
        answer = await first.raw("PUT", url, files[upload["metadata"]["filename"]], upload["upload"]["headers"])
        assert answer.status == 200, answer.body
    for one in waiting:
        assert (await one).document["status"]["progressCount"] == {"total": 6, "succeeded": 6, "errored": 0}
    for found in await second.assets(path, contents="y"):
        assert (await first.raw("GET", pair.at(0, found["contents"]["asset"]["url"]))).body == files[found["filename"]]
    url = pair.at(1, session["status"]["assets"][0]["upload"]["url"])
    assert (await first.raw("PUT", url, b"late", session["status"]["assets"][0]["upload"]["headers"])).status == 410


async def test_what_one_cancels_or_replaces_the_other_does_not_serve(pair: Pair, picture: Picture) -> None:
    first, second = pair.apis
    path = await first.create_dataset()
    await first.ingest(path, {"a.png": picture(1)})
    (found,) = await first.assets(path, contents="y")
    url = found["contents"]["asset"]["url"]
    assert (await first.raw("GET", url)).body == picture(1)
    await second.ingest(path, {"a.png": picture(2)})
    assert (await first.raw("GET", url)).body == picture(2)
    session = await first.open_session(path, {"b.png": picture(3)})
    assert (await second("POST", session["selfLink"] + ":cancel")).status == 200
    (upload,) = session["status"]["assets"]
    assert (await first.put(upload, picture(3))).status == 410
    assert (await second("DELETE", f"{path}/assets/{found['assetId']}")).status == 204
    assert (await first.raw("GET", url)).status == 404


async def test_parts_of_one_file_go_to_both(start_pair: StartPair, picture: Picture) -> None:
    pair = await start_pair(part_bytes=1000)
    first, second = pair.apis
    data = picture(1, width=40, height=30, format="BMP")
    upload = await Upload.begin(first, data)
    for number in range(1, upload.count + 1):
        upload.api = pair.apis[number % 2]
        answer = await upload.send(number, upload.part(data, number))
        assert answer.status == 200
        upload.api = pair.apis[(number + 1) % 2]
        assert (await upload.report(number, answer.headers["ETag"])).status == 200
    assert (await second("POST", upload.path + "/completion", {})).status == 200
    assert (await first.ended(upload.session))["status"]["progressCount"]["succeeded"] == 1
    (found,) = await second.assets(upload.dataset_path, contents="y")
    assert (await first.raw("GET", found["contents"]["asset"]["url"])).body == data
    assert list((pair.services[0].data / "bytes" / "parts").iterdir()) == []


async def test_a_file_that_arrives_at_one_is_not_given_up_by_the_other(start_pair: StartPair, picture: Picture) -> None:
    pair = await start_pair(upload_url_seconds=20)
    first, second = pair.apis
    path = await first.create_dataset()
    files = {"slow.png": picture(1), "never.png": picture(2)}
    session = await first.open_session(path, files)
    uploads = {one["metadata"]["filename"]: one for one in session["status"]["assets"]}
    held = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield files["slow.png"][:10]
        await held.wait()
        yield files["slow.png"][10:]

    sending = asyncio.ensure_future(first.put(uploads["slow.png"], body()))
    async with asyncio.timeout(20):
        while not pair.run(sa.select(ingest_item.c.idx).where(ingest_item.c.arriving.is_not(None))):
            await asyncio.sleep(0.01)
    pair.clock.advance(25)
    await second.until(session, lambda found: found["status"]["progressCount"]["errored"] == 1)
    await pair.call(1, pair.context(1).ingestion.expire_all)
    held.set()
    assert (await sending).status == 200
    ended = await second.ended(session)
    assert ended["status"]["progressCount"] == {"total": 2, "succeeded": 1, "errored": 1}


async def test_what_one_leaves_the_other_finishes(pair: Pair, picture: Picture) -> None:
    first, second = pair.apis
    path, gone = await first.create_dataset(), await first.create_dataset()
    session = await first.open_session(path, {"a.png": picture(1)})
    await first.ingest(gone, {"b.png": picture(2)})
    pair.services[0].stop()
    pair.clock.advance(1000)
    # As if the first had been killed after it had hidden the dataset.
    pair.run(sa.text("UPDATE dataset SET deleted = 1 WHERE id = :id").bindparams(id=gone.rpartition("_")[2]))
    assert (await second.ended(session))["status"]["progressCount"]["errored"] == 1
    removal = pair.context(1).removal
    left = await pair.call(1, removal.left)
    await pair.call(1, partial(removal.resume, left.since(left)))
    async with asyncio.timeout(20):
        while pair.run(sa.select(asset.c.seq)):
            await asyncio.sleep(0.01)


async def test_keys_logins_and_signatures_are_those_of_all(
    pair: Pair, visit: Any, capsys: pytest.CaptureFixture[str], picture: Picture
) -> None:
    first = pair.apis[0]
    path = await first.create_dataset()
    await first.ingest(path, {"a.png": picture(1)})
    visitor = await visit(pair.services[0])
    ticket = pair.services[0]._local.login_link()
    assert ticket is not None
    other = await visit(pair.services[1], key=None)
    for status in (303, 401):
        assert (await other("GET", pair.at(1, ticket).removeprefix(pair.services[1].url))).status == status
    visitor.service = pair.services[1]
    assert (await visitor("GET", "/")).status == 200
    assert (await visitor.post("/gallery/datasets", {"name": "by form"})).status == 303

    assert main(["server", "keys", "add", "ci", "--database", pair.database]) == 0
    key = {"Authorization": f"Bearer {capsys.readouterr().out.strip()}"}
    old = pair.context(0).signer.key
    assert main(["server", "keys", "rotate", "--database", pair.database]) == 0
    async with asyncio.timeout(30):
        while old in (pair.context(0).signer.key, pair.context(1).signer.key):
            for api in pair.apis:  # whoever signs, and with which key: the other accepts it
                (found,) = await api.assets(path, contents="y")
                for number in range(2):
                    answer = await api.raw("GET", pair.at(number, found["contents"]["asset"]["url"]))
                    assert answer.body == picture(1)
    assert [(await api("GET", path, headers=key)).status for api in pair.apis] == [200, 200]
    assert (await visitor.post("/gallery/logout", {})).status == 303
    visitor.service = pair.services[0]
    assert "csrf" not in (await visitor("GET", "/gallery/datasets")).text


async def stop_looking(ingestion: Any) -> None:
    """Leave a service as one that has too much to do."""
    for task in ingestion._tasks:
        task.cancel()


async def test_a_worker_looks_at_files_that_a_service_received(pair: Pair, picture: Picture) -> None:
    first = pair.apis[0]
    for number in range(2):
        await pair.call(number, partial(stop_looking, pair.context(number).ingestion))
    path = await first.create_dataset()
    session = await first.open_session(path, {"a.png": picture(1)})
    await first.put_all(session, {"a.png": picture(1)})
    async with working(pair.services[0].data, ServiceConfig(database=pair.database)):
        assert (await first.ended(session))["status"]["progressCount"]["succeeded"] == 1
    with pytest.raises(ViConfigurationError, match="needs the PostgreSQL database"):
        async with working(pair.services[0].data, ServiceConfig()):
            pass


async def test_check_finds_counters_that_are_not_their_rows(
    pair: Pair, picture: Picture, capsys: pytest.CaptureFixture[str]
) -> None:
    first = pair.apis[0]
    path = await first.create_dataset()
    await first.ingest(path, {"a.png": picture(1), "b.png": b"no picture"})
    command = ["server", "check", "--database", pair.database]
    assert main(command) == 0
    pair.run(sa.text("UPDATE dataset SET asset_total = 5"))
    pair.run(sa.text("UPDATE ingestion_session SET errored = 2"))
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "5 assets of" in said
    assert "1 succeeded and 2 failed are counted, 1 and 1 did" in said


async def test_each_takes_other_files_and_one_that_ended_three_processes_fails(pair: Pair, picture: Picture) -> None:
    first = pair.apis[0]
    path = await first.create_dataset()
    files = {f"{number}.png": picture(number) for number in range(8)}
    session = await first.open_session(path, files)
    for one in pair.services:
        one.stop()
    (row,) = pair.run(sa.text("SELECT seq FROM ingestion_session"))
    arrivals = [
        sessions.Arrival(row.seq, number, f"000000-{number:024x}", len(files["0.png"]), 1) for number in range(8)
    ]
    with pair.engine.begin() as connection:
        assert all(sessions.record(connection, arrivals).open)
    with pair.engine.begin() as connection, pair.engine.begin() as other:
        mine = claims.take(connection, 5)
        rest = claims.take(other, 5)
    assert sorted(one.index for one in mine + rest) == list(range(8))
    with pair.engine.begin() as connection:
        assert claims.take(connection, 5) == []
        claims.give_back(connection, [(row.seq, one.index) for one in rest])
        connection.execute(ingest_item.update().where(ingest_item.c.claimed.is_not(None)).values(claimed=1))
        again = claims.take(connection, 5)
        assert [one.tries for one in again] == [2], "what ended a process is looked at alone"
        connection.execute(ingest_item.update().values(claimed=1, tries=3))
    joined = Joined(pair.services[0].data, ServiceConfig(database=pair.database), pair.clock)
    try:
        ended = await Api(joined, first.session).ended(session)
        assert ended["status"]["progressCount"]["errored"] == 8
        assert "EUNKNOWN" in str(ended["status"])
    finally:
        joined.stop()
