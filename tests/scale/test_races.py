"""Two writers at once, on PostgreSQL and on SQLite: counters equal their rows, and each gets the protocol's answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import attrs
import pytest

sa = pytest.importorskip("sqlalchemy")

from vi.server.http.api_errors import ApiError  # noqa: E402
from vi.server.inspection.inspector import Verdict  # noqa: E402
from vi.server.store import (  # noqa: E402
    assets,
    datasets,
    garbage,
    idempotency,
    multipart,
    query,
    query_postgres,
    schema,
    sessions,
    settling,
)  # fmt: skip
from vi.server.store.schema import ItemState, SessionState, UploadState, asset, dataset  # noqa: E402
from vi.server.store.settling import Finding  # noqa: E402

NOW = 1_760_000_000_000
ROUNDS = 8

Work = Callable[[Any], Any]


@attrs.define
class Place:
    """A database with one dataset, and as many connections as writers."""

    engine: Any
    made: int = 0

    def write(self, work: Work) -> Any:
        with self.engine.begin() as connection:
            return work(connection)

    def both(self, *works: Work) -> list[Any]:
        """Run works at once, each in its own transaction; returns what each returned or raised."""
        gate = threading.Barrier(len(works))

        def run(work: Work) -> Any:
            with self.engine.connect() as connection:
                connection.execute(sa.text("select 1"))
                connection.rollback()
                gate.wait()
                try:
                    with connection.begin():
                        return work(connection)
                except ApiError as refusal:
                    return refusal.status

        with ThreadPoolExecutor(len(works)) as pool:
            return list(pool.map(run, works))

    def dataset(self) -> Any:
        self.made += 1
        values = {
            "id": f"ds{self.made}", "organization_id": "acme", "name": "race", "type": "", "description": "",
            "tags": {}, "attributes": {}, "created": NOW, "updated": NOW,
        }  # fmt: skip
        return self.write(partial(datasets.create, values=values))

    def session(self, of: Any, names: list[str]) -> Any:
        self.made += 1
        values = {
            "id": f"s{self.made}", "ingestion_id": f"i{self.made}", "dataset_seq": of.seq, "source_class": "managed",
            "source_provider": "datature", "source_id": "default", "failure_mode": "FailAfterAll",
            "retention": "RemoveLinkedResource", "total": len(names), "created": NOW, "updated": NOW,
            "expiry": NOW + 1, "state": SessionState.OPEN,
        }  # fmt: skip
        items = [
            sessions.Item(at, name, "Image", "image/jpeg", 10, at, None, ItemState.WAITING, None, None)
            for at, name in enumerate(names)
        ]
        return self.write(partial(sessions.create, session=values, items=items))

    def findings(self, session: Any, count: int) -> list[Finding]:
        verdict = Verdict(None, None, 10, 1, "00", "image/jpeg", 8, 8, 1)
        return [
            Finding(session.seq, at, f"b-{session.seq}-{at}", verdict, f"a{session.seq}-{at}") for at in range(count)
        ]

    def arrive(self, session: Any, count: int) -> Work:
        arrivals = [sessions.Arrival(session.seq, at, f"b-{session.seq}-{at}", 10, 1) for at in range(count)]
        return partial(sessions.record, arrivals=arrivals)

    def settle(self, session: Any, count: int) -> Work:
        return partial(settling.settle, findings=self.findings(session, count), now=NOW, quota=None)

    def filled(self, names: list[str]) -> Any:
        """Return a dataset that has assets of these names."""
        made = self.dataset()
        session = self.session(made, names)
        self.write(self.arrive(session, len(names)))
        self.write(self.settle(session, len(names)))
        return made

    def assets(self, of: Any) -> list[Any]:
        return list(self.write(lambda connection: connection.execute(assets.listed(of.seq)).all()))

    def check(self, of: Any) -> None:
        """Counters equal rows."""
        rows = self.assets(of)
        row = self.write(lambda connection: connection.execute(sa.select(dataset).where(dataset.c.seq == of.seq)).one())
        assert (row.asset_total, row.byte_total) == (len(rows), sum(one.size for one in rows))

    def read(self, session: Any) -> Any:
        table = schema.ingestion_session
        return self.write(
            lambda connection: connection.execute(sa.select(table).where(table.c.seq == session.seq)).one()
        )


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.scale)])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if request.param == "sqlite":
        # As the service has it: writers one after the other.
        engine = sa.create_engine(f"sqlite:///{tmp_path_factory.mktemp('races') / 'vi.db'}")

        @sa.event.listens_for(engine, "connect")
        def configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA busy_timeout=10000")
            query.prepare(connection)

        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    else:
        url = sa.make_url(request.getfixturevalue("postgres").create()).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, json_serializer=query_postgres.dump_json)
        with engine.begin() as connection:
            for statement in query_postgres.functions():
                connection.exec_driver_sql(statement)
    schema.metadata.create_all(engine)
    yield Place(engine)
    engine.dispose()


def test_the_same_object_is_discarded_by_two(place: Place) -> None:
    for number in range(ROUNDS):
        place.both(*2 * [partial(garbage.discard, blobs=[f"x{number}", f"a{number}"])])
        place.both(*(partial(garbage.discard, blobs=[f"{c}{number}-2" for c in names]) for names in ("ab", "ba")))
    left = place.write(garbage.left)
    assert len(left) == len(set(left))


@pytest.mark.parametrize("known", [False, True], ids=["new", "overwritten"])
def test_a_file_that_two_settle_counts_once(place: Place, known: bool) -> None:
    for _ in range(ROUNDS):
        names = [f"{at}.jpg" for at in range(4)]
        of = place.filled(names) if known else place.dataset()
        session = place.session(of, [*names, "never"])
        place.write(place.arrive(session, 4))
        place.both(*2 * [place.settle(session, 4)])
        assert place.read(session).succeeded == 4
        assert len(place.assets(of)) == 4
        place.check(of)


def test_two_sessions_that_settle_one_name_make_one_asset(place: Place) -> None:
    for _ in range(ROUNDS):
        of = place.dataset()
        both = [place.session(of, ["a.jpg"]) for _ in range(2)]
        for session in both:
            place.write(place.arrive(session, 1))
        place.both(*(place.settle(session, 1) for session in both))
        assert [place.read(session).state for session in both] == [SessionState.FINISHED] * 2
        assert len(place.assets(of)) == 1
        place.check(of)


def test_a_quota_that_two_sessions_of_two_datasets_use_up_is_not_exceeded(place: Place) -> None:
    for _ in range(ROUNDS):
        both = [place.dataset() for _ in range(2)]
        held = place.write(lambda connection: connection.execute(sa.select(sa.func.sum(dataset.c.byte_total))).scalar())
        works = []
        for of in both:
            session = place.session(of, ["a.jpg"])
            place.write(place.arrive(session, 1))
            works.append(partial(settling.settle, findings=place.findings(session, 1), now=NOW, quota=int(held) + 15))
        place.both(*works)
        assert sorted(len(place.assets(of)) for of in both) == [0, 1]


def test_an_asset_that_two_delete_is_counted_once(place: Place) -> None:
    for _ in range(ROUNDS):
        of = place.filled(["a.jpg", "b.jpg"])
        rows = place.assets(of)
        dropped = place.both(*2 * [partial(assets.delete, rows=rows[:1])])
        assert sorted(map(len, dropped)) == [0, 1]
        place.check(of)


def test_a_bulk_deletion_that_two_carry_out_counts_once(place: Place) -> None:
    for _ in range(ROUNDS):
        of = place.filled([f"{at}.jpg" for at in range(10)])
        place.made += 1
        values = {"id": f"bd{place.made}", "dataset_seq": of.seq, "spec": {}, "created": NOW, "updated": NOW}
        row = place.write(partial(assets.start_bulk_deletion, values=values))
        place.both(*2 * [partial(assets.bulk_delete, row=row, condition=None, now=NOW, limit=6)])
        place.write(partial(assets.bulk_delete, row=row, condition=None, now=NOW, limit=6))
        assert place.assets(of) == []
        place.check(of)


def test_a_bulk_deletion_takes_only_what_was_there(place: Place) -> None:
    for _ in range(ROUNDS):
        of = place.filled(["a.jpg"])
        session = place.session(of, ["b.jpg", "c.jpg"])
        place.write(place.arrive(session, 2))
        place.made += 1
        values = {"id": f"bd{place.made}", "dataset_seq": of.seq, "spec": {}, "created": NOW, "updated": NOW}
        row, _ = place.both(partial(assets.start_bulk_deletion, values=values), place.settle(session, 2))
        seqs = [one.seq for one in place.assets(of)]
        there = [seq for seq in seqs if seq <= row.through_seq]
        assert len(seqs) == 3
        assert len(there) in (1, 3)  # before both or after both
        place.check(of)


def test_a_key_that_two_requests_carry_makes_one(place: Place) -> None:
    def make(connection: Any, number: int, claim: idempotency.Claim) -> str:
        before = idempotency.find(connection, claim, NOW)
        if before is None:
            idempotency.keep(connection, claim, before := idempotency.Made(str(number)), NOW)
        return before.reference

    for number in range(ROUNDS):
        claim = idempotency.Claim(f"scope {number}", "digest")
        first, second = place.both(*(partial(make, number=one, claim=claim) for one in (1, 2)))
        assert first == second


def test_a_name_that_two_want_goes_to_one_and_the_other_hears_409(place: Place) -> None:
    for _ in range(ROUNDS):
        of = place.filled(["a.jpg", "b.jpg"])
        works = [partial(assets.rename, row=row, filename="c.jpg", now=NOW) for row in place.assets(of)]
        answers = place.both(*works)
        assert sum(answer == 409 for answer in answers) == 1
        assert [one.name_folded for one in place.assets(of) if one.filename == "c.jpg"] == ["c.jpg"]


def test_metadata_that_two_set_is_all_there(place: Place) -> None:
    for _ in range(ROUNDS):
        of = place.filled(["a.jpg"])
        place.both(
            *(
                partial(assets.set_metadata, dataset_seq=of.seq, updates={"a.jpg": {key: 1}}, remove=[], now=NOW)
                for key in "xy"
            )
        )
        (row,) = place.assets(of)
        assert row.custom_metadata == {"x": 1, "y": 1}


def _upload(place: Place, session: Any) -> Any:
    place.made += 1
    values = {
        "id": f"mu{place.made}", "session_seq": session.seq, "idx": 0, "filename": "a.jpg", "content_type": None,
        "size": 10, "part_count": 1, "state": UploadState.OPEN, "expiry": NOW + 1, "created": NOW, "updated": NOW,
    }  # fmt: skip
    return place.write(partial(multipart.create, values=values))


def test_a_part_that_comes_twice_and_two_that_complete(place: Place) -> None:
    for _ in range(ROUNDS):
        session = place.session(place.dataset(), ["a.jpg"])
        upload = _upload(place, session)
        part = partial(multipart.store_part, identifier=upload.id)
        parts = [multipart.Part(1, f"1.{at:016x}", '"e"', 1, 10) for at in range(2)]
        replaced = place.both(*(partial(part, part=one) for one in parts))
        assert sum(file is not None for file in replaced) == 1
        place.write(partial(multipart.complete_part, row=upload, number=1, etag='"e"'))

        def complete(connection: Any, upload: Any = upload, of: Any = session.dataset_seq) -> bool:
            return multipart.complete(connection, multipart.find(connection, of, upload.id), NOW)

        assert sorted(place.both(complete, complete)) == [False, True]


def test_an_object_that_arrives_as_its_session_ends_is_noted_or_dropped(place: Place) -> None:
    for _ in range(ROUNDS):
        session = place.session(place.dataset(), ["a.jpg"])
        recorded, ended = place.both(place.arrive(session, 1), partial(sessions.cancel, row=session, now=NOW))
        assert recorded.discarded + ended == [f"b-{session.seq}-0"]


def test_a_session_that_two_end_expires_its_files_once(place: Place) -> None:
    for _ in range(ROUNDS):
        session = place.session(place.dataset(), ["a.jpg", "b.jpg"])

        def expire(connection: Any, session: Any = session) -> None:
            settling.expire(connection, session, [], NOW + 2, settling.Settled())

        place.both(expire, expire)
        assert place.read(session).errored == 2


def test_numbers_of_assets_are_in_the_order_of_commits(place: Place) -> None:
    """Whoever reads up to a number has read everything below it."""
    of = place.dataset()
    works = []
    for _ in range(4):
        session = place.session(of, [f"{place.made}-{at}" for at in range(20)])
        place.write(place.arrive(session, 20))
        works.append(place.settle(session, 20))
    seen: list[list[int]] = []

    def watch(connection: Any) -> None:
        for _ in range(20):
            statement = sa.select(asset.c.seq).where(asset.c.dataset_seq == of.seq).order_by(asset.c.seq)
            seen.append(list(connection.execute(statement).scalars()))

    place.both(*works, watch)
    last = sorted(row.seq for row in place.assets(of))
    for some in seen:
        assert last[: len(some)] == some
    place.check(of)
