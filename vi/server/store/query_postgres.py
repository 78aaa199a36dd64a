"""``metadataQuery`` on PostgreSQL, with the same answers as on SQLite; an index finds values.

Custom metadata is indexed case-folded. `functions` fold as `str.casefold` does, in every script; numbers
are stored and compared as the doubles and 64-bit integers that they are on SQLite, though PostgreSQL keeps digits.
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from .query_grammar import Comparison, Operator, Scalar
from .schema import Json

Condition = sa.ColumnElement[bool]

_INT64 = range(-(1 << 63), 1 << 63)
_EXACT = float(1 << 53)
_LARGEST = Decimal(sys.float_info.max)
_SIGNS = {Operator.LESS: "<", Operator.AT_MOST: "<=", Operator.MORE: ">", Operator.AT_LEAST: ">="}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _fold_function() -> str:
    letters = [
        character
        for character in map(chr, range(128, sys.maxunicode + 1))
        if not 0xD800 <= ord(character) <= 0xDFFF and character.casefold() != character
    ]
    single = [character for character in letters if len(character.casefold()) == 1]
    capitals = [chr(code) for code in range(ord("A"), ord("Z") + 1)]
    folded = "$1"
    for character in letters:
        if len(character.casefold()) > 1:
            folded = f"replace({folded}, {_quoted(character)}, {_quoted(character.casefold())})"
    single += capitals
    folded = f"translate({folded}, {_quoted(''.join(single))}, {_quoted(''.join(single).casefold())})"
    return (
        "CREATE FUNCTION vi_fold(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $fold$ SELECT "
        f'CASE WHEN octet_length($1) = char_length($1) THEN lower($1 COLLATE "C") ELSE {folded} END $fold$'
    )


def functions() -> tuple[str, str]:
    """Return the statements that make `vi_fold` and `vi_fold_json`."""
    return _fold_function(), FOLD_JSON


FOLD_JSON = (
    "CREATE OR REPLACE FUNCTION vi_fold_json(jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN "
    "(SELECT coalesce(jsonb_object_agg(key, CASE jsonb_typeof(value) WHEN 'string' THEN "
    "to_jsonb(vi_fold(value #>> '{}')) ELSE value END), '{}') FROM jsonb_each($1))"
)
"""The body is read once, when it is made: dumps are restored with an empty search path, which has no `vi_fold`."""
WAITING_INDEX = "CREATE INDEX ix_ingest_item_waiting ON ingest_item (session_seq, idx) WHERE state = 1"
"""Of the files that have arrived and wait to be looked at: there are few at any time."""
INDEXES = (
    "CREATE INDEX ix_asset_custom_metadata ON asset USING gin (vi_fold_json(custom_metadata) jsonb_path_ops)",
    "CREATE INDEX ix_ingest_item_error ON ingest_item (session_seq) WHERE error IS NOT NULL",
    WAITING_INDEX,
    "CREATE INDEX ix_asset_blob ON asset (blob)",  # what a store holds of a session is compared with the rows
)


def dump_json(value: Any) -> str:
    """Write JSON so that PostgreSQL, which keeps decimal digits, gives each float back as a float and as the same."""
    if isinstance(value, float):
        digits = format(_number(value), "f")
        return digits if "." in digits else f"{digits}.0"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(key))}:{dump_json(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dump_json, value)) + "]"
    return json.dumps(value)


def _number(value: float) -> Decimal:
    """Return a number as digits: fractions as they are written, whole numbers exactly."""
    if isinstance(value, int) and value in _INT64:
        return Decimal(value)
    real = float(value)
    return Decimal(int(real)) if _EXACT <= abs(real) < -float(_INT64.start) else Decimal(repr(real))


def has_key(custom_metadata: sa.ColumnElement[Any], key: str) -> Condition:
    """Return the condition that *key* exists."""
    return sa.func.jsonb_exists(custom_metadata, _bound(key), type_=sa.Boolean())


def comparison(asked: Comparison, custom_metadata: sa.ColumnElement[Any], strict: bool) -> Condition:
    """Return a comparison as a condition."""
    if asked.operator in _SIGNS:
        return sa.or_(*(_ordered(asked, value, custom_metadata, strict) for value in asked.values))
    equal = sa.or_(*(_equal(asked.key, value, custom_metadata, strict) for value in asked.values))
    if asked.operator is Operator.OTHER:
        return sa.and_(has_key(custom_metadata, asked.key), sa.not_(equal))
    return equal


def _equal(key: str, value: Scalar, custom_metadata: sa.ColumnElement[Any], strict: bool) -> Condition:
    folded: sa.ColumnElement[Any] = sa.func.vi_fold_json(custom_metadata, type_=Json())
    if isinstance(value, str):
        found = _contains(folded, key, value.casefold())
        return sa.and_(found, _contains(custom_metadata, key, value)) if strict else found
    if not isinstance(value, bool) and abs(_number(value)) >= -_INT64.start:
        return _ordered(Comparison(key, Operator.EQUAL, (value,)), value, custom_metadata, strict)
    return _contains(folded, key, value)


def _contains(document: sa.ColumnElement[Any], key: str, value: Scalar) -> Condition:
    return document.bool_op("@>")(sa.bindparam(None, {key: value}, type_=Json(), unique=True))


def _ordered(asked: Comparison, wanted: Scalar, custom_metadata: sa.ColumnElement[Any], strict: bool) -> Condition:
    sign = _SIGNS.get(asked.operator, "=")
    kind = sa.func.jsonb_typeof(sa.func.jsonb_extract_path(custom_metadata, _bound(asked.key)))
    text: sa.ColumnElement[Any] = sa.func.jsonb_extract_path_text(custom_metadata, _bound(asked.key), type_=sa.Text())
    if isinstance(wanted, str):
        left = text if strict else sa.func.vi_fold(text, type_=sa.Text())
        holds = left.collate("C").bool_op(sign)(_bound(wanted if strict else wanted.casefold()))
        return sa.case((kind == "string", holds), else_=sa.false())
    number = sa.cast(text, sa.Numeric())
    # Integers beyond 64 bits are doubles on SQLite; those beyond the largest double stay what they are.
    double = sa.cast(sa.cast(sa.cast(number, sa.Double()), sa.Text()), sa.Numeric())
    limit, largest = sa.literal(Decimal(-_INT64.start)), sa.literal(_LARGEST)
    size = sa.func.abs(number)
    value = sa.case((sa.and_(size >= limit, size <= largest), double), else_=number)
    holds = value.bool_op(sign)(sa.literal(_number(wanted)))
    return sa.case((kind == "number", holds), else_=sa.false())


def _bound(value: str) -> sa.ColumnElement[str]:
    return sa.bindparam(None, value, type_=sa.Text(), unique=True)
