"""The two filter languages: what they find, against a plain evaluation in Python, and what they refuse."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest

sa = pytest.importorskip("sqlalchemy")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from vi.server.store.query import QueryError, parse_filter, parse_metadata_query, prepare, to_sql  # noqa: E402
from vi.server.store.query_grammar import And, Comparison, MetadataQuery, Not, Operator, Or  # noqa: E402

tables = sa.MetaData()
asset = sa.Table(
    "asset",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("filename", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("size", sa.BigInteger),
    sa.Column("thumbnail", sa.Boolean),
    sa.Column("depth", sa.Integer),
    sa.Column("custom", sa.JSON),
)
COLUMNS = {
    "filename": asset.c.filename,
    "metadata.filename": asset.c.status,  # a name that is there twice: the top wins
    "metadata.status": asset.c.status,
    "metadata.fileSize": asset.c.size,
    "metadata.hasThumbnail": asset.c.thumbnail,
    "metadata.dimensions.depth": asset.c.depth,
}


class Store:
    def __init__(self) -> None:
        self.engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
        sa.event.listen(self.engine, "connect", lambda connection, _: prepare(connection))
        tables.create_all(self.engine)

    def fill(self, rows: list[dict[str, Any]]) -> None:
        empty = {"filename": "", "status": "", "size": 0, "thumbnail": False, "depth": None, "custom": {}}
        with self.engine.begin() as connection:
            connection.execute(asset.delete())
            connection.execute(asset.insert(), [{**empty, **row, "id": at} for at, row in enumerate(rows)])

    def find(self, expression: Any, *, strict: bool = True) -> list[int]:
        where = to_sql(expression, COLUMNS, asset.c.custom, strict=strict)
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(asset.c.id).where(where).order_by(asset.c.id)).scalars())

    def query(self, text: str, documents: list[dict[str, Any]], *, strict: bool = True) -> list[int]:
        self.fill([{"custom": document} for document in documents])
        return self.find(parse_metadata_query(text), strict=strict)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.engine.dispose()


# metadataQuery: what it finds.

DOCUMENTS = [
    {"camera": "aerial", "height": 12.5, "night": False, "lot": "42"},
    {"camera": "Aerial", "height": 12, "night": True, "lot": 42},
    {"camera": "street", "height": "12", "night": 1, "lot": "42b"},
    {"height": -3, "night": "true", "a key": "x", "and": 1, "é": "ÉCRAN"},
]
FOUND = {
    'camera == "aerial"': ([0], [0, 1]),
    "camera == 'aerial'": ([0], [0, 1]),
    "camera:aerial": ([0], [0, 1]),
    "camera: aerial": ([0], [0, 1]),
    'camera != "aerial"': ([1, 2], [2]),
    'not camera == "aerial"': ([1, 2, 3], [2, 3]),
    "height == 12": ([1], [1]),
    "height == 12.0": ([1], [1]),
    'height == "12"': ([2], [2]),
    "height > 12": ([0], [0]),
    "height >= 12": ([0, 1], [0, 1]),
    "height < 1.2e1": ([3], [3]),
    "height <= -3": ([3], [3]),
    "height != 12": ([0, 2, 3], [0, 2, 3]),
    'camera < "b"': ([0, 1], [0, 1]),
    'camera >= "B"': ([0, 2], [2]),
    "night == true": ([1], [1]),
    "night == FALSE": ([0], [0]),
    "night != true": ([0, 2, 3], [0, 2, 3]),
    "night == 1": ([2], [2]),
    'night == "true"': ([3], [3]),
    "night:true": ([1, 3], [1, 3]),
    "lot:42": ([0, 1], [0, 1]),
    'lot:"42"': ([0], [0]),
    '"a key" == "x"': ([3], [3]),
    '"and" == 1 and height:-3': ([3], [3]),
    'é == "écran"': ([], [3]),
    'camera:aerial or camera:street and height == "12"': ([0, 2], [0, 1, 2]),
    '(camera:aerial or camera:street) and height == "12"': ([2], [2]),
    "NOT (camera:aerial OR camera:street)": ([1, 3], [3]),
    "not not camera:street": ([2], [2]),
    "missing == 1": ([], []),
    "missing != 1": ([], []),
}


@pytest.mark.parametrize("text", FOUND)
def test_found(text: str, store: Store) -> None:
    """Strict comparison is exact; otherwise case does not matter, in any script."""
    strict, tolerant = FOUND[text]
    assert store.query(text, DOCUMENTS, strict=True) == strict
    assert store.query(text, DOCUMENTS, strict=False) == tolerant


def test_a_colon_word_may_hold_colons_and_dots(store: Store) -> None:
    assert store.query("at:12:30.5/x", [{"at": "12:30.5/x"}, {"at": "12"}]) == [0]


def test_escapes_in_quoted_text(store: Store) -> None:
    odd = "a\"b\\c\n'é\U0001f6a6"
    assert store.query(f"{json.dumps(odd)} == {json.dumps(odd)}", [{odd: odd}, {odd: "x"}]) == [0]
    assert store.query(r"""k == 'it\'s' """, [{"k": "it's"}]) == [0]


# metadataQuery against plain Python, over whatever hypothesis thinks of.

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
keys = st.sampled_from(["a", "b", "a b", "and", 'q"', "é", "$.a", "", "x'; DROP TABLE asset; --"]) | texts
numbers = (
    st.integers(-5, 5)
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2**53, 2**53 + 1, 2**63, -(2**63), 0.1, 1e300])
)
scalars = st.sampled_from(["", "x", "X", "ß", "SS", "1", "true", "x' OR 1=1"]) | texts | numbers | st.booleans()
documents = st.lists(st.dictionaries(keys, scalars, max_size=4), min_size=1, max_size=6)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    value = draw(scalars)
    operators = [Operator.EQUAL, Operator.OTHER] if isinstance(value, bool) else list(Operator)
    return Comparison(draw(keys), draw(st.sampled_from(operators)), (value,))


def branches(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return parts.map(Not) | several.map(And) | several.map(Or)


expressions = st.recursive(comparisons(), branches, max_leaves=6)


def written(expression: Any) -> str:
    match expression:
        case Comparison(key, operator, (value,)):
            return f"{json.dumps(key)} {operator} {json.dumps(value)}"
        case Not(part):
            return f"not ({written(part)})"
        case And(parts):
            return " and ".join(f"({written(part)})" for part in parts)
        case Or(parts):
            return " or ".join(f"({written(part)})" for part in parts)
    raise AssertionError(expression)


def holds(expression: Any, document: dict[str, Any], strict: bool) -> bool:
    match expression:
        case Not(part):
            return not holds(part, document, strict)
        case And(parts):
            return all(holds(part, document, strict) for part in parts)
        case Or(parts):
            return any(holds(part, document, strict) for part in parts)
    [wanted] = expression.values
    if expression.key not in document:
        return False
    held = document[expression.key]
    if kind(held) != kind(wanted):
        return expression.operator is Operator.OTHER
    if isinstance(held, str) and not strict:
        held, wanted = held.casefold(), wanted.casefold()
    held, wanted = as_stored(held), as_stored(wanted)
    return {
        Operator.EQUAL: held == wanted,
        Operator.OTHER: held != wanted,
        Operator.LESS: held < wanted,
        Operator.AT_MOST: held <= wanted,
        Operator.MORE: held > wanted,
        Operator.AT_LEAST: held >= wanted,
    }[expression.operator]


def kind(value: Any) -> str:
    return "truth" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


def as_stored(value: Any) -> Any:
    """JSON1 holds integers beyond 64 bits as floating point."""
    return float(value) if type(value) is int and not -(2**63) <= value < 2**63 else value


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(expression=expressions, documents=documents, strict=st.booleans())
def test_a_query_finds_what_plain_python_finds(
    store: Store, expression: Any, documents: list[dict[str, Any]], strict: bool
) -> None:
    """Any expression, written as text and parsed again, selects the same documents in SQLite as in Python."""
    parsed = parse_metadata_query(written(expression))
    assert parsed == MetadataQuery(expression)
    store.fill([{"custom": document} for document in documents])
    expected = [at for at, document in enumerate(documents) if holds(expression, document, strict)]
    assert store.find(parsed, strict=strict) == expected


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=keys.filter(bool), value=scalars, documents=documents, strict=st.booleans())
def test_a_filter_on_custom_metadata_finds_what_plain_python_finds(
    store: Store, key: str, value: Any, documents: list[dict[str, Any]], strict: bool
) -> None:
    store.fill([{"custom": document} for document in documents])
    wanted = parse_filter({f"metadata.customMetadata.{key}": value})
    assert parse_filter(json.dumps(dict(wanted.conditions))) == wanted
    expected = Comparison(key, Operator.EQUAL, (value,))
    assert store.find(wanted, strict=strict) == [at for at, d in enumerate(documents) if holds(expected, d, strict)]


# filter: what it finds.

ROWS = [
    {"filename": "Cat.png", "status": "ready", "size": 10, "thumbnail": True, "custom": {"a.b": "x", "n": 1}},
    {"filename": "cat.png", "status": "error", "size": 20, "thumbnail": False, "custom": {"a.b": "X"}},
    {"filename": "10", "status": "Error", "size": 10, "thumbnail": True, "depth": 3, "custom": {"n": "1"}},
]
FILTERED = {
    "{}": ([0, 1, 2], [0, 1, 2]),
    '{"status": "error"}': ([1], [1, 2]),
    '{"metadata.status": "error"}': ([1], [1, 2]),
    '{"filename": "cat.png"}': ([1], [0, 1]),
    '{"metadata.filename": "error"}': ([1], [1, 2]),
    '{"fileSize": 10}': ([0, 2], [0, 2]),
    '{"fileSize": 10.0, "status": "ready"}': ([0], [0]),
    '{"fileSize": 10.5}': ([], []),
    '{"fileSize": "10"}': ([], []),
    '{"filename": 10}': ([], []),
    '{"fileSize": true}': ([], []),
    '{"fileSize": 1180591620717411303424}': ([], []),
    '{"hasThumbnail": true}': ([0, 2], [0, 2]),
    '{"hasThumbnail": 1}': ([], []),
    '{"dimensions.depth": null}': ([0, 1], [0, 1]),
    '{"customMetadata.a.b": "x"}': ([0], [0, 1]),
    '{"metadata.customMetadata.n": 1}': ([0], [0]),
    '{"metadata.customMetadata.n": null}': ([1], [1]),
}


@pytest.mark.parametrize("text", FILTERED)
def test_filtered(text: str, store: Store) -> None:
    """A path is looked up from the top, then inside metadata; values match in type and in content."""
    strict, tolerant = FILTERED[text]
    store.fill(ROWS)
    assert store.find(parse_filter(text), strict=True) == strict
    assert store.find(parse_filter(json.loads(text)), strict=False) == tolerant


# What is refused.


def test_an_unknown_path_names_the_known_ones(store: Store) -> None:
    with pytest.raises(QueryError, match=r"'metadata\.colour'.*known are metadata\.status, .* and \d+ more"):
        store.find(parse_filter('{"metadata.colour": 1}'))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "not JSON"),
        ("{'status': 'error'}", "not JSON"),
        ("[]", "JSON object"),
        ('"status"', "JSON object"),
        ('{"status": ["error"]}', "'status'"),
        ('{"status": {"$ne": "error"}}', "'status'"),
        ('{"status": NaN}', "NaN"),
        ('{"status": 1e999}', "308 digits"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"": 1}', "path"),
        ('{"a\\u0000": 1}', "NUL"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"a": "\\ud800"}', "surrogate"),
        ("[" * 50_000, "nested|is not JSON"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "nested|must be text"),  # Python 3.14 reads all of it,
        ('{"a": ' + "9" * 10_000 + "}", "not JSON"),
        (json.dumps({"a": "x" * 1_000_000}), "characters"),
        (json.dumps({str(n): n for n in range(100)}), "conditions"),
    ],
    ids=lambda value: value[:20],
)
def test_a_filter_that_is_refused(text: str, part: str) -> None:
    with pytest.raises(QueryError, match=part) as caught:
        parse_filter(text)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("mapping", [{1: "x"}, {"a": object()}, {"a": math.inf}, {"a": b"x"}])
def test_a_mapping_that_is_refused(mapping: dict[Any, Any]) -> None:
    with pytest.raises(QueryError):
        parse_filter(mapping)


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("a = 1", 3, "=="),
        ("a == x", 6, 'write "x"'),
        ("a", 2, "comparison"),
        ("a == 1 b == 2", 8, "'and', 'or'"),
        ('a == "x', 6, "closing quote"),
        ("(a == 1", 8, r"'\)'"),
        ("a == 1)", 7, "the end"),
        ("not", 4, "a key"),
        ("and == 1", 1, "a key"),
        ("a && b", 3, "write and"),
        ('a == "\\q"', 7, "escape"),
        ("a < true", 5, "no order"),
        ("a:", 3, "value"),
        ("a == 1; DROP TABLE asset", 6, "value"),
        ("a == 1 --", 8, "'and', 'or'"),
        ("(" * 100 + "a == 1" + ")" * 100, 33, "deeper"),
        ("not " * 1000 + "a == 1", 129, "deeper"),
        (" or ".join(["a == 1"] * 300), 2561, "comparisons"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_query_that_is_refused_says_where(text: str, column: int, part: str) -> None:
    with pytest.raises(QueryError, match=part) as caught:
        parse_metadata_query(text)
    assert str(caught.value).startswith(f"Column {column}: ")


@pytest.mark.parametrize(
    "text", ["", "   ", 'a == "\0"', "a\0b == 1", 'a == "\\ud800"', "a == 1e999", "a:x\0", "a == 1" * 10**6]
)
def test_a_query_that_is_refused(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(QueryError) as caught:
        parse_metadata_query(text)
    assert time.monotonic() - started < 1
    assert len(str(caught.value)) < 300


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | st.text("ab\"'\\()=!<>:& andornot1.", max_size=60), filters=st.booleans())
def test_any_text_is_a_query_or_a_query_error(store: Store, text: str, filters: bool) -> None:
    """Nothing that can be typed reaches the database as anything but values."""
    store.fill(ROWS)
    with contextlib.suppress(QueryError):
        store.find(parse_filter(text) if filters else parse_metadata_query(text), strict=False)
    store.fill(ROWS)


def test_nothing_of_the_caller_is_in_the_statement() -> None:
    """Keys and values travel as parameters."""
    query = parse_metadata_query('"k3y" == "v4lue" and n0 > 98765 and b00l:w0rd')
    where = to_sql(query, COLUMNS, asset.c.custom, strict=False)
    sql = str(where.compile(dialect=sa.dialects.sqlite.dialect()))
    assert not [word for word in ("k3y", "v4lue", "n0", "98765", "b00l", "w0rd") if word in sql]
    path = to_sql(
        parse_filter({"metadata.customMetadata.k3y": "v4lue", "filename": "n4me"}), COLUMNS, asset.c.custom, strict=True
    )
    sql = str(path.compile(dialect=sa.dialects.sqlite.dialect()))
    assert not [word for word in ("k3y", "v4lue", "n4me") if word in sql]


def test_the_longest_query_runs(store: Store) -> None:
    """What the limits let through, the engine can take."""
    text = "(" * 15 + " or ".join(["a == 1", "b == 2", 'c != "x"'] * 80) + ")" * 15
    assert store.query(text, [{"a": 1}, {"a": 2}, {"c": "y"}]) == [0, 2]
