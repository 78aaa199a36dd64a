"""Both engines find the same: every query of the grammar, over every document that may be stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

sa = pytest.importorskip("sqlalchemy")

from hypothesis import HealthCheck, example, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from vi.server.store import query, query_postgres  # noqa: E402
from vi.server.store.query_grammar import And, Comparison, MetadataQuery, Not, Operator, Or  # noqa: E402
from vi.server.store.schema import TEXT, Json  # noqa: E402

pytestmark = pytest.mark.scale

tables = sa.MetaData()
table = sa.Table(
    "held", tables, sa.Column("id", sa.Integer, primary_key=True), sa.Column("custom", Json), sa.Column("name", TEXT)
)
characters = st.characters(exclude_characters="\0", codec="utf-8")
words = st.one_of(
    st.sampled_from(["a", "A", "Straße", "STRASSE", "İ", "ﬀ", "ΌΣΟΣ", "όσος", "'", '"', "\\", ""]),
    st.text(characters, max_size=4),
)
numbers = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(2**63, 2**64),
    st.sampled_from([0.1, 0.3, 0.1 + 0.2, 1e22, 1e-7, 5.0, -0.0, 2.0**53, 2.0**53 + 2, 2**53 + 1, 1.2345678901234567e18]),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
scalars = st.one_of(words, numbers, st.booleans())
keys = st.sampled_from(["k", "K", "a b", "é", "$", "a.b"])
documents = st.dictionaries(keys, st.one_of(scalars, st.none(), st.lists(words, max_size=2)), max_size=3)
ordered = st.sampled_from([Operator.LESS, Operator.AT_MOST, Operator.MORE, Operator.AT_LEAST])
comparisons = st.one_of(
    st.builds(Comparison, keys, st.sampled_from([Operator.EQUAL, Operator.OTHER]), st.tuples(scalars)),
    st.builds(Comparison, keys, ordered, st.tuples(st.one_of(words, numbers))),
    st.builds(lambda key, number: Comparison(key, Operator.EQUAL, (str(number), number)), keys, st.integers(-3, 3)),
)
expressions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.tuples(inner, inner)),
        st.builds(Or, st.tuples(inner, inner)),
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def engines(postgres: Any) -> Iterator[list[Any]]:
    sqlite = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    sa.event.listen(sqlite, "connect", lambda connection, _: query.prepare(connection))
    url = sa.make_url(postgres.create()).set(drivername="postgresql+psycopg")
    other = sa.create_engine(url, json_serializer=query_postgres.dump_json)
    with other.begin() as connection:
        for statement in query_postgres.functions():
            connection.exec_driver_sql(statement)
    for engine in (sqlite, other):
        tables.create_all(engine)
    yield [sqlite, other]
    for engine in (sqlite, other):
        engine.dispose()


@given(st.lists(documents, min_size=1, max_size=4), expressions, st.booleans())
@example([{"k": 2.0**63}, {"k": 2**63}], Comparison("k", Operator.EQUAL, (2.0**63,)), True)
@example([{"k": 10**400}, {"k": 1}], Comparison("k", Operator.MORE, (5,)), True)
@example([{"k": ["a"]}, {"k": "a"}], Comparison("k", Operator.EQUAL, ("a",)), False)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_both_find_the_same(engines: list[Any], stored: list[dict[str, Any]], expression: Any, strict: bool) -> None:
    where = query.to_sql(MetadataQuery(expression), {}, table.c.custom, strict=strict)
    found = []
    for engine in engines:
        with engine.begin() as connection:
            connection.execute(table.delete())
            rows = [{"id": at, "custom": document, "name": ""} for at, document in enumerate(stored)]
            connection.execute(table.insert(), rows)
            found.append(list(connection.execute(sa.select(table.c.id).where(where).order_by(table.c.id)).scalars()))
            kept = list(connection.execute(sa.select(table.c.custom).order_by(table.c.id)).scalars())
            assert json.dumps(kept, sort_keys=True).replace("-0.0", "0.0") == json.dumps(
                stored, sort_keys=True
            ).replace("-0.0", "0.0")
    assert found[0] == found[1]


def test_texts_fold_and_sort_as_in_python(engines: list[Any]) -> None:
    letters = [chr(code) for code in range(1, 0x11000) if not 0xD800 <= code <= 0xDFFF]
    with engines[1].connect() as connection:
        folded = connection.execute(sa.select(sa.func.vi_fold("".join(letters)))).scalar_one()
    assert folded == "".join(letters).casefold()
    names = ["b", "B", "é", "z", "Z", "\U0001f600", "\uffee", "a b", "ab", "a-b"]
    for engine in engines:
        with engine.begin() as connection:
            connection.execute(table.delete())
            connection.execute(table.insert(), [{"id": i, "custom": {}, "name": n} for i, n in enumerate(names)])
            order = list(connection.execute(sa.select(table.c.name).order_by(table.c.name)).scalars())
        assert order == sorted(names, key=str.encode)
