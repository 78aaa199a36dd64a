"""The metadata in PostgreSQL: whose it is, what is done again, what uses an index."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

sa = pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import vi  # noqa: E402
from vi._samples import make_samples  # noqa: E402
from vi.errors import ViConfigurationError  # noqa: E402
from vi.server import ServiceConfig, serve  # noqa: E402
from vi.server.context import CONTEXT  # noqa: E402
from vi.server.identity import Identity  # noqa: E402
from vi.server.inspection.inspector import Inspector  # noqa: E402
from vi.server.store import assets, datasets, garbage, migrations, schema  # noqa: E402
from vi.server.store.postgres import PostgresDatabase  # noqa: E402
from vi.server.store.selection import Selection  # noqa: E402

pytestmark = [pytest.mark.anyio, pytest.mark.scale]

NOW = 1_760_000_000_000
IDENTITY = Identity("acme", "Acme", "user-1", NOW, "dtvi_" + "a" * 98, "00" * 32)
ROWS = 10_000
FILL = """
INSERT INTO asset (id, dataset_seq, filename, name_folded, kind, mime, status, source, size, crc32c, sha256, blob,
  has_thumbnail, width, height, frames, custom_metadata, annotation_tags, created, updated, contents_updated)
SELECT md5(n::text), :seq, 'P' || n || '.JPG', 'p' || n || '.jpg', 'Image', 'image/jpeg', 'ready', '', 1, 1, '', n,
  false, 1, 1, 1, jsonb_build_object('Lot', n, 'place', 'Place ' || n), '{}', 0, 0, 0 FROM generate_series(1, :rows) n
"""


async def test_a_database_and_a_folder_belong_together(postgres: Any, tmp_path: Path) -> None:
    config = ServiceConfig(database=postgres.create())
    assert config.database not in repr(config)
    async with await serve(tmp_path / "data", config=config) as first:
        with pytest.raises(ViConfigurationError, match="bytes of this database are not in"):
            await serve(tmp_path / "other", config=config)
        async with await serve(tmp_path / "data", config=config) as second:
            assert second.url != first.url
            assert (second.secret_key, second.organization_id) == (first.secret_key, first.organization_id)
    with pytest.raises(ViConfigurationError, match="rows are in a PostgreSQL database"):
        await serve(tmp_path / "data")
    async with await serve(tmp_path / "plain"):
        pass
    with pytest.raises(ViConfigurationError, match="a database of its own"):
        await serve(tmp_path / "plain", config=config)
    with pytest.raises(ViConfigurationError, match=f"belongs to organization {first.organization_id}"):
        await serve(tmp_path / "data", config=ServiceConfig(database=config.database, organization_id="acme"))
    (tmp_path / "data" / "bytes" / "objects" / "000000").mkdir()
    with pytest.raises(ViConfigurationError, match="are those of another database"):
        await serve(tmp_path / "data", config=ServiceConfig(database=postgres.create()))


async def test_what_an_older_release_kept_in_the_folder_is_taken_over(postgres: Any, tmp_path: Path) -> None:
    async with await serve(tmp_path / "data") as before:
        pass
    (tmp_path / "data" / "vi.db").unlink()
    (tmp_path / "data" / "database-elsewhere").touch()
    config = ServiceConfig(database=postgres.create())
    database = await PostgresDatabase.open(config.database)
    row = schema.service.insert().values(one=1, identity={"organization_id": before.organization_id})
    await database.write(lambda connection: connection.execute(row) and None)
    await database.aclose()
    for _ in range(2):
        async with await serve(tmp_path / "data", config=config) as after:
            assert after.secret_key == before.secret_key


async def test_several_that_start_at_once_on_an_empty_database_make_its_tables_once(postgres: Any) -> None:
    url, gate = postgres.create(), threading.Barrier(4)

    def start() -> str | None:
        gate.wait(30)
        database = PostgresDatabase.open_blocking(url)
        try:
            return database.read_blocking(migrations.revision)
        finally:
            database.close_blocking()

    assert await asyncio.gather(*(asyncio.to_thread(start) for _ in range(4))) == [migrations.HEAD] * 4


async def test_tables_of_another_revision_are_migrated_refused_or_one_ahead(postgres: Any, tmp_path: Path) -> None:
    url = postgres.create()

    async def at(*statements: str) -> None:
        database = await PostgresDatabase.open(url)
        await database.write(lambda connection: [connection.execute(sa.text(one)) for one in statements] and None)
        await database.aclose()

    await at("DROP INDEX ix_ingest_item_waiting", "ALTER TABLE visitor DROP COLUMN access",
             "ALTER TABLE ingestion_session DROP COLUMN watched", "ALTER TABLE multipart_upload DROP COLUMN begun",
             "ALTER TABLE service DROP COLUMN store_endpoint",
             "UPDATE alembic_version SET version_num = '0005'")  # fmt: skip
    with pytest.raises(ViConfigurationError) as caught:
        await PostgresDatabase.open(url)
    assert "vi-sdk server migrate" in str(caught.value)
    for _ in range(2):
        database = PostgresDatabase.open_blocking(url, upgrade=True)
        assert database.read_blocking(migrations.revision) == migrations.HEAD
        database.close_blocking()
    # The next release only adds to the tables.
    await at("INSERT INTO visitor (digest, seen, access) VALUES ('d', 1, 'a')",
             "ALTER TABLE asset ADD COLUMN later text", "CREATE TABLE next_release (one integer)",
             f"UPDATE alembic_version SET version_num = '{int(migrations.HEAD) + 1:04}'")  # fmt: skip
    async with await serve(tmp_path / "data", config=ServiceConfig(database=url)) as service:
        key, organization = service.secret_key, service.organization_id
        async with vi.AsyncClient(secret_key=key, organization_id=organization, endpoint=service.url) as client:
            dataset = (await client.datasets.create(name="update")).dataset_id
            assert (await client.assets.upload(dataset, make_samples(tmp_path / "one", count=1))).total_succeeded == 1
            await client.assets.delete(dataset, filename=(await client.assets.list(dataset)).items[0].filename)
    await at(f"UPDATE alembic_version SET version_num = '{int(migrations.HEAD) + 2:04}'")
    with pytest.raises(ViConfigurationError, match="another release"):
        await PostgresDatabase.open(url)


@pytest.mark.parametrize("url", ["postgresql://vi:sesame@127.0.0.1:1/none", "no address"])
async def test_a_database_that_cannot_be_had_is_named_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(ViConfigurationError) as caught:
        await serve(tmp_path / "data", config=ServiceConfig(database=url))
    assert "sesame" not in str(caught.value)


async def test_a_transaction_whose_connection_broke_is_done_again(postgres: Any) -> None:
    database = await PostgresDatabase.open(postgres.create())
    runs = []

    def work(connection: Any) -> None:
        runs.append(1)
        garbage.discard(connection, [f"b{len(runs)}"])
        if len(runs) == 1:
            connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    await database.write(work)
    assert await database.read(garbage.left) == ["b2"]
    await database.aclose()


async def test_two_that_wait_for_each_other_both_get_done(postgres: Any) -> None:
    database = await PostgresDatabase.open(postgres.create())
    gate = threading.Barrier(2)
    first: set[str] = set()

    def work(names: list[str]) -> Any:
        def insert(connection: Any) -> None:
            garbage.discard(connection, names[:1])
            if names[0] not in first:
                first.add(names[0])
                gate.wait(30)
            garbage.discard(connection, names[1:])

        return insert

    await asyncio.gather(database.write(work(["a", "b"])), database.write(work(["b", "a"])))
    assert sorted(await database.read(garbage.left)) == ["a", "b"]
    await database.aclose()


async def test_a_value_and_a_name_are_found_by_an_index(postgres: Any) -> None:
    database = await PostgresDatabase.open(postgres.create())

    def fill(connection: Any) -> int:
        values = {
            "id": "ds", "organization_id": "acme", "name": "n", "type": "", "description": "", "tags": {},
            "attributes": {}, "created": NOW, "updated": NOW,
        }  # fmt: skip
        seq = int(datasets.create(connection, values).seq)
        connection.execute(sa.text(FILL), {"seq": seq, "rows": ROWS})
        connection.execute(sa.text("ANALYZE asset"))
        return seq

    seq = await database.write(fill)

    def look(connection: Any, selection: Selection) -> tuple[int, str]:
        condition = selection.condition(IDENTITY, "ds")
        assert condition is not None
        statement = sa.select(sa.func.count()).select_from(assets.asset).where(assets.asset.c.dataset_seq == seq)
        plan: list[str] = []

        @sa.event.listens_for(connection, "before_cursor_execute", retval=True)
        def explain(_c: Any, _cursor: Any, text: str, values: Any, _context: Any, _many: bool) -> Any:
            return (f"EXPLAIN {text}" if plan == ["next"] else text), values

        found = assets.count(connection, seq, condition)
        plan.append("next")
        told = connection.execute(statement.where(condition)).scalars().all()
        return found, "\n".join(map(str, told))

    for query in ("place == 'place 7'", "Lot == 7", "Lot:7"):
        found, plan = await database.read(partial(look, selection=Selection(None, query)))
        assert found == 1
        assert "ix_asset_custom_metadata" in plan
    found, plan = await database.read(partial(look, selection=Selection('{"filename": "p7.jpg"}')))
    assert found == 1
    assert "name_folded" in plan
    assert "Seq Scan" not in plan
    await database.aclose()


async def test_while_postgresql_is_away_requests_wait_for_it_and_then_hear_503(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        await serve(tmp_path / "data", config=ServiceConfig(database=postgres.create())) as service,
        aiohttp.ClientSession() as session,
    ):
        session.headers["Authorization"] = f"Bearer {service.secret_key}"
        session.headers["Organization-Id"] = service.organization_id
        url = f"{service.url}/workspaces/{service.organization_id}/datasets"
        document = {"name": "x", "type": "phrase-grounding"}

        async def ask(method: str, **body: Any) -> tuple[int, str | None]:
            async with session.request(method, url, **body) as answer:
                return answer.status, answer.headers.get("Retry-After")

        monkeypatch.setattr("vi.server.store.postgres._PATIENCE", 100.0)
        monkeypatch.setattr("vi.server.health._SECONDS", 0.2)
        assert await ask("GET") == (200, None)  # its connection breaks
        await asyncio.to_thread(postgres.kill)
        try:
            waiting = [asyncio.create_task(ask("GET")), asyncio.create_task(ask("POST", json=document))]
            async with session.get(f"{service.url}/healthz/ready") as answer:
                assert answer.status == 503
        finally:
            await asyncio.to_thread(postgres.start)
        assert [status for status, _ in await asyncio.gather(*waiting)] == [200, 201]
        monkeypatch.setattr("vi.server.store.postgres._PATIENCE", 0.0)
        await asyncio.to_thread(postgres.kill)
        try:
            assert [await ask("GET"), await ask("POST", json=document)] == [(503, "5")] * 2
        finally:
            await asyncio.to_thread(postgres.start)
    assert not [record.getMessage() for record in caplog.records if record.exc_info], "a stack says no more"


async def test_of_files_that_take_long_fewer_are_claimed_at_once(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actual = Inspector.inspect

    async def slow(self: Any, jobs: Any, found: Any = None, **_options: Any) -> Any:
        verdicts = await actual(self, jobs, found)
        await asyncio.sleep(0.05 * len(jobs))
        return verdicts

    monkeypatch.setattr(Inspector, "inspect", slow)
    config = ServiceConfig(database=postgres.create(), inspection_workers=1)
    async with await serve(tmp_path / "data", config=config) as service:
        assert service._running is not None
        ingestion: Any = service._running._app[CONTEXT].ingestion
        before = ingestion._most
        key, organization = service.secret_key, service.organization_id
        async with vi.AsyncClient(secret_key=key, organization_id=organization, endpoint=service.url) as client:
            dataset = (await client.datasets.create(name="slow")).dataset_id
            pictures = make_samples(tmp_path / "pictures", count=8, size=(20, 16))
            assert (await client.assets.upload(dataset, pictures)).total_succeeded == 8
        async with asyncio.timeout(60):
            while ingestion._most == before:
                await asyncio.sleep(0.01)
        assert 1 <= ingestion._most <= 10 < before
