"""A million assets in PostgreSQL: a late page reads as little as the first, and what is looked for has an index."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import attrs
import pytest

sa = pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

from vi.server.http.signing import Signer  # noqa: E402
from vi.server.identity import Identity  # noqa: E402
from vi.server.store import assets, datasets  # noqa: E402
from vi.server.store.paging import Listing, after  # noqa: E402
from vi.server.store.postgres import PostgresDatabase  # noqa: E402
from vi.server.store.selection import Selection  # noqa: E402

pytestmark = [pytest.mark.anyio, pytest.mark.scale, pytest.mark.large, pytest.mark.timeout(1800)]

NOW = 1_760_000_000_000
IDENTITY = Identity("acme", "Acme", "user-1", NOW, "dtvi_" + "a" * 98, "00" * 32)
FILL = """
INSERT INTO asset (id, dataset_seq, filename, name_folded, kind, mime, status, source, size, crc32c, sha256, blob,
  has_thumbnail, width, height, frames, custom_metadata, annotation_tags, created, updated, contents_updated)
SELECT md5(n::text), :seq, md5('n' || n) || '.JPG', md5('n' || n) || '.jpg', 'Image', 'image/jpeg', 'ready', '',
  abs(hashint8(n)) % 5000, 1, '', n, false, 1, 1, 1, jsonb_build_object('Lot', n, 'place', 'Place ' || n), '{}', 0, 0,
  abs(hashint8(n + 1)) % 100000 FROM generate_series(1, CAST(:rows AS bigint)) n
"""


@attrs.define
class Filled:
    """A dataset of many assets."""

    database: PostgresDatabase
    seq: int
    rows: int

    async def explained(self, work: Any) -> tuple[Any, list[dict[str, Any]]]:
        """Run *work*; returns what it returns, and the plans of its statements with the blocks that each read."""
        plans: list[dict[str, Any]] = []

        def explaining(connection: Any) -> Any:
            mine = [True]

            def explain(_connection: Any, cursor: Any, text: str, values: Any, _context: Any, _many: bool) -> None:
                if mine[0]:
                    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", values)
                    plans.append(cursor.fetchone()[0][0]["Plan"])

            sa.event.listen(connection, "before_cursor_execute", explain)
            return work(connection)

        return await self.database.read(explaining), plans


def blocks(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def scans(plan: dict[str, Any]) -> list[str]:
    """Return how each table is read, and by which index."""
    found = [f"{plan['Node Type']} {plan.get('Index Name', '')}".strip()] if "Scan" in plan["Node Type"] else []
    return found + [scan for inner in plan.get("Plans", ()) for scan in scans(inner)]


async def fill(postgres: Any, rows: int) -> Filled:
    database = await PostgresDatabase.open(postgres.create())

    def put_in(connection: Any) -> int:
        values = {
            "id": "ds", "organization_id": "acme", "name": "n", "type": "", "description": "", "tags": {},
            "attributes": {}, "created": NOW, "updated": NOW,
        }  # fmt: skip
        seq = int(datasets.create(connection, values).seq)
        connection.execute(sa.text(FILL), {"seq": seq, "rows": rows})
        connection.execute(sa.text("ANALYZE asset"))
        return seq

    seq = await database.write(put_in)
    engine = database._writers.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:  # as autovacuum does in time
        connection.execute(sa.text("VACUUM asset"))
    return Filled(database, seq, rows)


async def test_a_late_page_reads_as_little_as_the_first_and_queries_use_their_index(postgres: Any) -> None:
    rows, size = 1_000_000, 100
    filled = await fill(postgres, rows)
    late = rows // size - 1  # 9,999 pages of a million are before it
    for name, keys in assets.SORTS.items():
        for descending in (False, True):
            statement = assets.listed(filled.seq)
            skip = partial(after, statement=statement, keys=keys, count=late * size, total=rows, descending=descending)
            there = await filled.database.read(skip)
            read = []
            for position in (None, there):
                listing = Listing("test", size, position, Signer(b"key"))
                page, plans = await filled.explained(
                    partial(listing.read, statement=statement, keys=keys, descending=descending)
                )
                assert len(page.rows) == size
                read.append(sum(map(blocks, plans)))
            assert read[1] <= 2 * read[0], (name, descending, read)
    seventh = await filled.database.read(
        lambda connection: connection.execute(sa.text("SELECT filename FROM asset WHERE blob = '7'")).scalar()
    )
    queries = [Selection(None, query) for query in ("place == 'place 7'", "Lot == 7", "Lot:7")]
    queries.append(Selection(json.dumps({"filename": seventh.lower()})))
    queries.append(Selection(json.dumps({"filename": seventh}), None, None, True))
    # The first question of a connection also reads what PostgreSQL knows of tables and functions.
    await filled.database.read(
        partial(assets.count, dataset_seq=filled.seq, condition=queries[0].condition(IDENTITY, "ds"))
    )
    for selection in queries:
        condition = selection.condition(IDENTITY, "ds")
        found, plans = await filled.explained(partial(assets.count, dataset_seq=filled.seq, condition=condition))
        used = [scan for plan in plans for scan in scans(plan)]
        assert found == 1, selection
        assert not any(scan.startswith("Seq Scan") for scan in used), (selection, used)
        assert sum(map(blocks, plans)) < 20, (selection, plans)
    await filled.database.aclose()
