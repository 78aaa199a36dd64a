"""``filter`` and ``metadataQuery`` (protocol section 8.2) as SQL in which every value and every key is bound.

Conditions on custom metadata are written for SQLite here, as a scan over a flat JSON object, and for PostgreSQL in
`query_postgres`. A key is compared with the scanned keys and never becomes part of a JSON path, where quotes would have
a meaning.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import attrs
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal

from . import query_postgres
from .json_text import function
from .query_grammar import (
    And,
    Comparison,
    Expression,
    MetadataQuery,
    Not,
    Operator,
    Or,
    QueryError,
    Scalar,
    check_text,
    is_finite,
    parse_metadata_query,
)
from .schema import IN_ONE_CASE

__all__ = ["Filter", "MetadataQuery", "QueryError", "parse_filter", "parse_metadata_query", "prepare", "to_sql"]

Condition = sa.ColumnElement[bool]

_MAX_LENGTH = 65_536
_MAX_CONDITIONS = 64
_INT64 = range(-(1 << 63), 1 << 63)
_CUSTOM = ("metadata.customMetadata.", "customMetadata.")
_NUMBERS = ("integer", "real")
_PART = InternalTraversal.dp_clauseelement
_OPERATORS = {
    Operator.LESS: "<",
    Operator.AT_MOST: "<=",
    Operator.MORE: ">",
    Operator.AT_LEAST: ">=",
}


@attrs.frozen
class Filter:
    """Paths and the scalars expected there, all of which must match; None expects no value."""

    conditions: tuple[tuple[str, Scalar | None], ...]


def parse_filter(text: str | Mapping[Any, Any]) -> Filter:
    """Read a filter: a JSON object of dotted wire names and scalars."""
    if isinstance(text, str):
        text = _read_json(text)
    if len(text) > _MAX_CONDITIONS:
        raise QueryError(f"The filter has {len(text)} conditions; at most {_MAX_CONDITIONS} are read.")
    conditions = []
    for path, value in text.items():
        if not isinstance(path, str) or not path:
            raise QueryError("Each key of the filter must be a path such as 'metadata.status'.")
        check_text(path, "The filter")
        if isinstance(value, str):
            check_text(value, "The filter")
        elif isinstance(value, int | float) and not is_finite(value):
            raise QueryError(f"The filter's value of {_shown(path)} is not a number of at most 308 digits.")
        elif value is not None and not isinstance(value, (bool, int, float)):
            raise QueryError(f"The filter's value of {_shown(path)} must be text, a number, true, false or null.")
        conditions.append((path, value))
    return Filter(tuple(conditions))


def _read_json(text: str) -> Mapping[Any, Any]:
    if len(text) > _MAX_LENGTH:
        raise QueryError(f"The filter has {len(text)} characters; at most {_MAX_LENGTH} are read.")
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except QueryError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise QueryError(f"The filter is not JSON: {reason}.") from None
    if not isinstance(document, dict):
        raise QueryError('The filter must be a JSON object such as {"status": "ready"}.')
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise QueryError("The filter names a path twice.")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise QueryError(f"The filter holds {name}, which is not JSON.")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def to_sql(
    expression: Filter | MetadataQuery,
    columns: Mapping[str, sa.ColumnElement[Any]],
    custom_metadata: sa.ColumnElement[Any],
    *,
    strict: bool,
) -> Condition:
    """Return *expression* as an SQL condition.

    *columns* maps full wire paths (``filename``, ``metadata.status``) to columns. Unless *strict*, text is
    compared without regard to case, for which the connection must be `prepare`d. Raises `QueryError` for an
    unknown path.
    """
    if isinstance(expression, MetadataQuery):
        return _expression(expression.expression, custom_metadata, strict)
    found = [_filter_condition(path, value, columns, custom_metadata, strict) for path, value in expression.conditions]
    return sa.and_(sa.true(), *found)


def prepare(connection: Any) -> None:
    """Add Unicode case folding to a SQLite connection; its own ``lower`` folds ASCII only."""
    connection.create_function("vi_fold", 1, _fold, deterministic=True)


def _fold(text: bytes | None) -> str | None:
    """Return *text* case-folded; as bytes, because a database may hold invalid UTF-8 (half a surrogate pair)."""
    return None if text is None else text.decode(errors="replace").casefold()


_folded = function("_folded", "vi_fold({0})", "vi_fold(CAST({0} AS BLOB))")


class _ByEngine(sa.ColumnElement[bool]):
    """A condition that is written differently for each engine."""

    __visit_name__ = "by_engine"
    _traverse_internals = [("sqlite", _PART), ("postgresql", _PART)]
    inherit_cache = True

    def __init__(self, sqlite: Condition, postgresql: Condition) -> None:
        self.sqlite = sqlite
        self.postgresql = postgresql
        self.type = sa.Boolean()


@compiles(_ByEngine)
def _on_postgresql(element: _ByEngine, compiler: Any, **options: Any) -> str:
    return f"({compiler.process(element.postgresql, **options)})"


@compiles(_ByEngine, "sqlite")
def _on_sqlite(element: _ByEngine, compiler: Any, **options: Any) -> str:
    return f"({compiler.process(element.sqlite, **options)})"


def _cased(element: sa.ColumnElement[Any], strict: bool) -> sa.ColumnElement[Any]:
    if strict:
        return element
    beside = getattr(element, "info", {}).get(IN_ONE_CASE)
    return _folded(element) if beside is None else element.table.c[beside]


def _text(value: str, strict: bool) -> sa.ColumnElement[Any]:
    return _bound(value if strict else value.casefold())


def _filter_condition(
    path: str,
    value: Scalar | None,
    columns: Mapping[str, sa.ColumnElement[Any]],
    custom_metadata: sa.ColumnElement[Any],
    strict: bool,
) -> Condition:
    for candidate in (path, f"metadata.{path}"):
        if candidate in columns:
            return _column_condition(columns[candidate], value, strict)
    for prefix in _CUSTOM:
        if path.startswith(prefix):
            key = path.removeprefix(prefix)
            if value is None:
                there = _ByEngine(_metadata(custom_metadata, key), query_postgres.has_key(custom_metadata, key))
                return sa.not_(there)
            return _comparison(Comparison(key, Operator.EQUAL, (value,)), custom_metadata, strict)
    known = [*columns, "metadata.customMetadata.<key>"]
    near = difflib.get_close_matches(path, known, 3, 0.5) or known[3:8]
    raise QueryError(
        f"The filter names an unknown path {_shown(path)}; known are {', '.join(near)} and {len(known) - len(near)} more."
    )


def _column_condition(column: sa.ColumnElement[Any], value: Scalar | None, strict: bool) -> Condition:
    if value is None:
        return column.is_(None)
    held: type = column.type.python_type
    if isinstance(value, str):
        return _cased(column, strict) == _text(value, strict) if held is str else sa.false()
    if isinstance(value, bool) or held is bool:
        return column == _bound(value) if held is bool and isinstance(value, bool) else sa.false()
    if held not in (int, float) or (isinstance(value, int) and value not in _INT64):
        return sa.false()
    return column == _bound(value)


def _bound(value: Scalar) -> sa.ColumnElement[Any]:
    return sa.bindparam(None, value, unique=True)


def _expression(expression: Expression, custom_metadata: sa.ColumnElement[Any], strict: bool) -> Condition:
    match expression:
        case Comparison():
            return _comparison(expression, custom_metadata, strict)
        case Not(part):
            return sa.not_(_expression(part, custom_metadata, strict))
        case And(parts):
            return sa.and_(*(_expression(part, custom_metadata, strict) for part in parts))
        case Or(parts):
            return sa.or_(*(_expression(part, custom_metadata, strict) for part in parts))


def _comparison(comparison: Comparison, custom_metadata: sa.ColumnElement[Any], strict: bool) -> Condition:
    def holds(kind: sa.ColumnElement[Any], value: sa.ColumnElement[Any]) -> Condition:
        equal = sa.or_(*(_holds(comparison.operator, wanted, kind, value, strict) for wanted in comparison.values))
        return sa.not_(equal) if comparison.operator is Operator.OTHER else equal

    found = _metadata(custom_metadata, comparison.key, holds)
    return _ByEngine(found, query_postgres.comparison(comparison, custom_metadata, strict))


def _holds(
    operator: Operator, wanted: Scalar, kind: sa.ColumnElement[Any], value: sa.ColumnElement[Any], strict: bool
) -> Condition:
    if isinstance(wanted, bool):
        return kind == _bound("true" if wanted else "false")
    if isinstance(wanted, str):
        of_kind, left, right = kind == _bound("text"), _cased(value, strict), _text(wanted, strict)
    else:
        # The engine parses the literal as it parses the document, so equal digits are equal numbers.
        of_kind, left, right = kind.in_(_NUMBERS), value, sa.func.json_extract(_bound(json.dumps(wanted)), _bound("$"))
    sign = _OPERATORS.get(operator)
    return sa.and_(of_kind, left == right if sign is None else left.bool_op(sign)(right))


def _metadata(custom_metadata: sa.ColumnElement[Any], key: str, holds: Any = None) -> Condition:
    """Return whether an entry with *key* exists for which *holds* (a function of its JSON type and value) is true."""
    entry = sa.func.json_each(custom_metadata).table_valued("key", "value", "type")
    condition = entry.c.key == _bound(key)
    if holds is not None:
        condition = sa.and_(condition, holds(entry.c.type, entry.c.value))
    return sa.exists(sa.select(sa.literal_column("1")).select_from(entry).where(condition))
