"""The service's database does as much for a file, a page and a poll in a large dataset or session as in a small one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from tests.growth.counting import Steps
from vi.server.http.signing import Signer
from vi.server.identity import Identity
from vi.server.inspection.inspector import Verdict
from vi.server.store import assets, datasets, query, schema, sessions, settling
from vi.server.store.paging import Listing, Position
from vi.server.store.schema import ItemState, SessionState
from vi.server.store.selection import Selection
from vi.server.store.settling import Finding

FEW, MANY = 500, 1000
PAGE = 100
BATCH = 64
NOW = 1_760_000_000_000
IDENTITY = Identity("acme", "Acme", "user-1", NOW, "dtvi_" + "a" * 98, "00" * 32)


@attrs.define
class Stage:
    """A database, and what is counted of it."""

    steps: Steps
    made: int = 0

    def dataset(self) -> int:
        """Make a dataset and return its number."""
        self.made += 1
        values = {
            "id": f"ds{self.made}", "organization_id": "acme", "name": "growth", "type": "", "description": "",
            "tags": {}, "attributes": {}, "created": NOW, "updated": NOW,
        }  # fmt: skip
        return int(self.steps.of(lambda connection: datasets.create(connection, values)).seq)

    def session(self, dataset: int, count: int) -> Any:
        """Open a session of *count* files."""
        self.made += 1
        values = {
            "id": f"s{self.made}", "ingestion_id": f"i{self.made}", "dataset_seq": dataset, "source_class": "managed",
            "source_provider": "datature", "source_id": "default", "failure_mode": "FailAfterAll",
            "retention": "RemoveLinkedResource", "total": count, "created": NOW, "updated": NOW, "expiry": NOW + 1,
            "state": SessionState.OPEN,
        }  # fmt: skip
        waiting = ItemState.WAITING
        items = [
            sessions.Item(n, f"{self.made}-{n:06}.jpg", "Image", "image/jpeg", 10, n, None, waiting, None, None)
            for n in range(count)
        ]
        return self.steps.of(lambda connection: sessions.create(connection, values, items))

    def ingest(self, session: Any, count: int) -> tuple[int, int]:
        """Let the session's files arrive and be settled, a batch at a time; returns statements and steps of all."""
        statements = steps = 0
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            arrivals = [sessions.Arrival(session.seq, n, f"ab-{session.seq}-{n}", 10, n) for n in numbers]
            verdict = Verdict(None, None, 10, 1, "00", "image/jpeg", 8, 8, 1)
            findings = [
                Finding(session.seq, n, f"ab-{session.seq}-{n}", verdict, f"a{session.seq:06}{n:06}") for n in numbers
            ]
            for work in (
                partial(sessions.record, arrivals=arrivals),
                partial(settling.settle, findings=findings, now=NOW, quota=None),
            ):
                self.steps.of(work)
                statements, steps = statements + self.steps.statements, steps + self.steps.steps
        return statements, steps

    def filled(self, count: int) -> int:
        """Make a dataset of *count* assets and return its number."""
        dataset = self.dataset()
        self.ingest(self.session(dataset, count), count)
        return dataset

    def pages(self, dataset: int, sort: str, *, descending: bool = False) -> list[int]:
        """Read a dataset page by page; returns the steps of each."""
        found: list[int] = []
        position: Position | None = None
        while True:
            listing = Listing("test", PAGE, position, Signer(b"key"))
            read = partial(listing.read, keys=assets.SORTS[sort], descending=descending)
            page = self.steps.of(partial(read, statement=assets.listed(dataset)))
            found.append(self.steps.steps)
            position = page.next
            if position is None:
                return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    engine = sa.create_engine(f"sqlite:///{tmp_path_factory.mktemp('growth') / 'vi.db'}")
    sa.event.listen(engine, "connect", lambda connection, _: query.prepare(connection))
    schema.metadata.create_all(engine)
    yield Stage(Steps(engine))
    engine.dispose()


@pytest.fixture(scope="module")
def large(stage: Stage) -> int:
    """The number of a dataset of many assets."""
    return stage.filled(MANY)


def test_a_session_takes_as_many_statements_for_twice_the_files_and_twice_the_steps(stage: Stage) -> None:
    dataset = stage.dataset()
    counts = []
    for count in (FEW, MANY):
        stage.session(dataset, count)
        counts.append((stage.steps.statements, stage.steps.steps))
    assert counts[0][0] == counts[1][0]
    assert counts[1][1] <= 2.1 * counts[0][1]


def test_ingesting_twice_the_files_takes_twice_the_statements_and_steps(stage: Stage) -> None:
    found = []
    for count in (FEW, MANY):
        found.append(stage.ingest(stage.session(stage.dataset(), count), count))
    assert found[1][0] <= 2.1 * found[0][0]
    assert found[1][1] <= 2.1 * found[0][1]


def test_a_file_is_ingested_into_a_large_dataset_as_into_an_empty_one(stage: Stage) -> None:
    dataset = stage.dataset()
    _, empty = stage.ingest(stage.session(dataset, BATCH), BATCH)
    stage.ingest(stage.session(dataset, MANY), MANY)
    _, large = stage.ingest(stage.session(dataset, BATCH), BATCH)
    assert large <= 1.1 * empty


@pytest.mark.parametrize("sort", assets.SORTS)
@pytest.mark.parametrize("descending", [False, True], ids=["rising", "falling"])
def test_every_page_costs_what_the_first_one_does(stage: Stage, large: int, sort: str, descending: bool) -> None:
    pages = stage.pages(large, sort, descending=descending)
    assert len(pages) == MANY // PAGE
    assert max(pages) <= 1.5 * pages[0]
    assert max(pages[1:]) <= 1.01 * pages[1]


def test_a_poll_reads_as_much_of_a_large_session_as_of_a_small_one(stage: Stage) -> None:
    dataset = stage.dataset()
    found = []
    for count in (10, MANY):
        session = stage.session(dataset, count)
        stage.ingest(session, count // 2)
        stage.steps.of(partial(sessions.find, dataset_seq=dataset, identifier=session.id))
        found.append(stage.steps.steps)
    assert found[0] == found[1]


def test_an_asset_is_found_and_deleted_among_many_as_among_few(stage: Stage) -> None:
    found = []
    for count in (10, MANY):
        dataset = stage.filled(count)
        (row,) = stage.steps.of(lambda connection, dataset=dataset: connection.execute(
            assets.listed(dataset).limit(1)
        ).all())  # fmt: skip
        stage.steps.of(lambda connection, dataset=dataset, row=row: assets.find(connection, dataset, row.id))
        one = stage.steps.steps
        stage.steps.of(
            lambda connection, dataset=dataset, row=row: assets.find_named(connection, dataset, row.filename)
        )
        named = stage.steps.steps
        stage.steps.of(lambda connection, row=row: assets.delete(connection, [row]))
        found.append((one, named, stage.steps.steps))
    assert found[0] == found[1]


def test_deleting_twice_the_assets_takes_twice_the_steps(stage: Stage) -> None:
    found = []
    for count in (FEW, MANY):
        dataset = stage.filled(count)
        values = {"id": f"d{count}", "dataset_seq": dataset, "spec": {}, "created": NOW, "updated": NOW}
        row = stage.steps.of(partial(assets.start_bulk_deletion, values=values))
        total = 0
        while True:
            gone = stage.steps.of(partial(assets.bulk_delete, row=row, condition=None, now=NOW, limit=500))
            total += stage.steps.steps
            if gone is None:
                break
        found.append(total)
    assert found[1] <= 2.1 * found[0]


def test_an_asset_is_looked_up_by_its_exact_name_and_not_searched_for(stage: Stage) -> None:
    found = []
    for count in (10, MANY):
        dataset = stage.filled(count)
        condition = Selection('{"filename": "nothing.jpg"}', None, None, True).condition(IDENTITY, "ds1")
        assert condition is not None
        stage.steps.of(partial(assets.count, dataset_seq=dataset, condition=condition))
        found.append(stage.steps.steps)
    assert found[0] == found[1]


def test_a_name_in_any_case_costs_what_the_exact_one_does(stage: Stage) -> None:
    dataset, found = stage.filled(MANY), []
    for strict in (True, False):
        condition = Selection('{"filename": "nothing.jpg"}', None, None, strict).condition(IDENTITY, "ds1")
        assert condition is not None
        stage.steps.of(partial(assets.count, dataset_seq=dataset, condition=condition))
        found.append(stage.steps.steps)
    assert found[1] <= 2 * found[0]
