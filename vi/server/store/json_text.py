"""Rows as JSON text, written by the database in the statement that finds them.

A page has a thousand assets of thirty values: none of them becomes an object of Python on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

Element = sa.ColumnElement[Any]

_FIELD = re.compile(r'"\{=(\w+)\}"|\{(\w+)\}')


def filled(shape: Mapping[str, Any], values: Mapping[str, Element]) -> sa.ColumnElement[str]:
    """Return the expression that writes *shape* with the *values* of a row.

    ``{name}`` within a text of *shape* takes letters and digits; a text of ``{=name}`` alone becomes the value, which
    must be a number or JSON text, such as that of `quoted`.
    """
    text = json.dumps(shape, separators=(",", ":")).replace("%", "%%")
    chosen = [values[alone or within] for alone, within in _FIELD.findall(text)]
    return _printed(sa.literal(_FIELD.sub("%s", text), sa.Text()), *chosen)


def quoted(text: Element) -> Element:
    """Return a text as JSON."""
    return _quoted(text)


def keys_of(json_object: Element) -> Element:
    """Return how many keys an object has."""
    keys = _keys_of(json_object).table_valued("key")
    return sa.select(sa.func.count()).select_from(keys).scalar_subquery()


class _printed(GenericFunction[str]):  # noqa: N801 - SQLAlchemy names the function after the class
    type = sa.Text()
    inherit_cache = True


class _quoted(GenericFunction[str]):  # noqa: N801
    type = sa.Text()
    inherit_cache = True


class _keys_of(GenericFunction[str]):  # noqa: N801
    type = sa.Text()
    inherit_cache = True


@compiles(_printed)
def _print(element: _printed, compiler: Any, **options: Any) -> str:
    return f"format({compiler.process(element.clauses, **options)})"


@compiles(_printed, "sqlite")
def _print_on_sqlite(element: _printed, compiler: Any, **options: Any) -> str:
    return f"printf({compiler.process(element.clauses, **options)})"


@compiles(_quoted)
def _quote(element: _quoted, compiler: Any, **options: Any) -> str:
    return f"CAST(to_json({compiler.process(element.clauses, **options)}) AS TEXT)"


@compiles(_quoted, "sqlite")
def _quote_on_sqlite(element: _quoted, compiler: Any, **options: Any) -> str:
    return f"json_quote({compiler.process(element.clauses, **options)})"


@compiles(_keys_of)
def _count(element: _keys_of, compiler: Any, **options: Any) -> str:
    return f"jsonb_object_keys({compiler.process(element.clauses, **options)})"


@compiles(_keys_of, "sqlite")
def _count_on_sqlite(element: _keys_of, compiler: Any, **options: Any) -> str:
    held = compiler.process(element.clauses, **options)
    # What earlier releases took for a number may be none in JSON, and must not be the end of a whole page.
    return f"json_each(CASE WHEN json_valid({held}) THEN {held} ELSE '{{}}' END)"
