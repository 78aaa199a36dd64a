"""Rows as JSON text, written by the database in the statement that finds them.

A page has a thousand assets of thirty values: none of them becomes an object of Python on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
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


def function(name: str, postgresql: str, sqlite: str) -> type[GenericFunction[str]]:
    """Make a function of SQL that each engine writes in its own way, around the text of its arguments."""
    made: type[GenericFunction[str]] = type(name, (GenericFunction,), {"type": sa.Text(), "inherit_cache": True})

    def write(form: str) -> Callable[..., str]:
        return lambda element, compiler, **options: form.format(compiler.process(element.clauses, **options))

    compiles(made)(write(postgresql))
    compiles(made, "sqlite")(write(sqlite))
    return made


_printed = function("_printed", "format({0})", "printf({0})")
_quoted = function("_quoted", "CAST(to_json({0}) AS TEXT)", "json_quote({0})")
# What earlier releases took for a number may be none in JSON, and must not be the end of a whole page.
_keys_of = function(
    "_keys_of", "jsonb_object_keys({0})", "json_each(CASE WHEN json_valid({0}) THEN {0} ELSE '{{}}' END)"
)
