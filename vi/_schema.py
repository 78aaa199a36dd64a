"""JSON Schema of our attrs classes, by their own names or by those of the wire."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs

from ._wire import wire_name

Schema = dict[str, Any]

_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}


def schema_of(
    annotation: Any, refer: Callable[[type], Schema] | None = None, *, wire: bool = False, without: str | None = None
) -> Schema:
    """Return the schema of a type.

    *refer* may turn a class into a reference; without it, classes stand where they are used. With *wire*, fields have
    the names of the protocol.
    """
    if annotation in _SCALARS:
        return dict(_SCALARS[annotation])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union([schema_of(one, refer, wire=wire, without=without) for one in arguments if one is not types.NoneType],
                      nullable=types.NoneType in arguments)  # fmt: skip
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], refer, wire=wire, without=without)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1], refer, wire=wire, without=without)}
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return {"type": "string"}  # the service may add values, which are kept as text
    cls = origin or annotation
    if isinstance(cls, type) and attrs.has(cls):
        return refer(cls) if refer is not None else class_schema(annotation, wire=wire, without=without)
    return {}


def class_schema(
    annotation: Any, refer: Callable[[type], Schema] | None = None, *, wire: bool = False, without: str | None = None
) -> Schema:
    """Return the schema of a class itself, for `Page[Asset]` with its items, *without* the fields marked so."""
    cls = get_origin(annotation) or annotation
    hints = typing.get_type_hints(cls)
    given: dict[TypeVar, Any] = dict(zip(getattr(cls, "__parameters__", ()), get_args(annotation), strict=False))
    properties, required = {}, []
    for attribute in shown_fields(cls, without):
        name = wire_name(attribute) if wire else attribute.name
        properties[name] = schema_of(_filled(hints[attribute.name], given), refer, wire=wire, without=without)
        if attribute.default is attrs.NOTHING:
            required.append(name)
    schema: Schema = {"type": "object", "title": cls.__name__, "properties": properties}
    if cls.__doc__:
        schema["description"] = cls.__doc__.split("\n\n")[0].replace("\n", " ").strip()
    if required:
        schema["required"] = required
    return schema


def shown_fields(cls: type, without: str | None = None) -> list[attrs.Attribute[Any]]:
    """Return the fields that a document of a class has: those that its maker gave it, *without* those marked so."""
    return [
        one for one in attrs.fields(cls) if one.init and not one.name.startswith("_") and without not in one.metadata
    ]


def _filled(annotation: Any, given: dict[TypeVar, Any]) -> Any:
    if isinstance(annotation, TypeVar):
        return given.get(annotation, Any)
    parameters = getattr(annotation, "__parameters__", ())
    return annotation[tuple(given.get(one, Any) for one in parameters)] if parameters else annotation


def _union(options: list[Schema], *, nullable: bool) -> Schema:
    distinct: list[Schema] = []
    for one in options:
        if one == {}:
            return {}
        if one not in distinct:
            distinct.append(one)
    if nullable:
        distinct.append({"type": "null"})
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
