"""Reading pages with msgspec, where the extra ``fast`` is installed: from bytes directly into our classes.

msgspec knows attrs classes, but not other names on the wire than the fields' own. So each class gets a twin: a subclass
without slots of its own, whose fields have the wire names and are the slots of the class. What was decoded is a twin,
and becomes the class by an assignment to ``__class__``, which the equal layout allows. Whatever msgspec refuses (a null
where there is a default, an item that is wrong, an answer that is not a page) is left to the readers of `_wire`, which
are tolerant and say what is wrong and where. Both give equal objects, which a test holds.
"""

from __future__ import annotations

import functools
import json
import operator
import types
from collections.abc import Callable
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import attrs

from ._optional import prefer, reject
from ._wire import IDENTIFIERS, identifier, short_identifier, wire_name

msgspec: Any = prefer("msgspec")

T = TypeVar("T")


@attrs.define
class DecodedPage(Generic[T]):
    """A page whose items are objects already."""

    items: list[T]
    next_page: str | None
    prev_page: str | None


def read_page(body: bytes, cls: type[T]) -> DecodedPage[T] | None:
    """Read a page of *cls*; None where msgspec is not installed, or will not take it."""
    known: Any = cls
    if msgspec is None or not _can_read(known):
        return None
    readers = _page_of(known)
    if readers is None:
        return None
    decode, settle = readers
    try:
        page = decode(body)
        for item in page.items:
            settle(item)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return DecodedPage(page.items, page.nextPage or None, page.prevPage or None)


def loads(body: bytes, parse_constant: Callable[[str], Any]) -> Any:
    """Read JSON of any shape; other text raises what the standard library raises."""
    if msgspec is not None:
        try:
            return msgspec.json.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
    return json.loads(body, parse_constant=parse_constant)


@functools.cache
def _can_read(cls: Any) -> bool:
    """Tell whether msgspec reads every field of *cls* as `_wire` does: not open enums or tagged unions."""
    attrs.resolve_types(cls)
    names = attrs.fields_dict(cls)
    return ("dataset_id" not in names or "organization_id" in names) and all(
        _can_read_type(field.type) if field.init else field.default is None for field in names.values()
    )


def _can_read_type(annotation: Any) -> bool:
    _, inner = _class_in(annotation)
    if inner is not None:
        return _can_read(inner)
    arguments = [argument for argument in get_args(annotation) if argument is not types.NoneType]
    if arguments and get_origin(annotation) in (Union, types.UnionType, list, dict):
        return all(_can_read_type(argument) and not attrs.has(argument) for argument in arguments)
    return annotation in (str, int, float, bool, Any, object)


@functools.cache
def _page_of(cls: Any) -> tuple[Callable[[bytes], Any], Callable[[Any], None]] | None:
    """Return what decodes a page and what settles an item of it; None where this msgspec makes none."""
    twin, settle = _twin(cls), _settler(cls)
    fields = [("items", list[twin]), ("nextPage", str | None, None), ("prevPage", str | None, None)]  # type: ignore[valid-type]
    try:
        return msgspec.json.Decoder(msgspec.defstruct("Page", fields)).decode, settle
    except Exception as error:  # noqa: BLE001 - a later release may take our classes no more
        reject("msgspec", f"cannot be used ({type(error).__name__})")
        return None


@functools.cache
def _twin(cls: Any) -> Any:
    attrs.resolve_types(cls)
    names = {wire_name(field): field for field in attrs.fields(cls) if field.init}
    slots = {wire: cls.__dict__[field.name] for wire, field in names.items()}
    fields = tuple(_renamed(field, wire) for wire, field in names.items())
    annotations = {field.name: field.type for field in fields}
    body = {"__slots__": (), **slots, "__annotations__": annotations, "__attrs_attrs__": fields}
    return type(cls.__name__, (cls,), body)


def _renamed(field: attrs.Attribute[Any], wire: str) -> attrs.Attribute[Any]:
    default = field.default
    if isinstance(default, attrs.Factory) and attrs.has(default.factory):  # type: ignore[arg-type, union-attr]
        default = attrs.Factory(_twin(default.factory))  # type: ignore[union-attr]
    return field.evolve(name=wire, alias=wire, type=_translated(field.type), default=default)


def _translated(annotation: Any) -> Any:
    """Replace each class of ours in an annotation by its twin."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and attrs.has(annotation):
        return _twin(annotation)
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, map(_translated, arguments))
    if origin in (list, dict):
        return types.GenericAlias(origin, tuple(_translated(argument) for argument in arguments))
    return annotation


_short = functools.lru_cache(maxsize=64)(short_identifier)
"""All assets of a page have one dataset."""


@functools.cache
def _settler(cls: Any) -> Callable[[Any], None]:
    """Return the generated function that makes a twin, and all within it, what it is a twin of."""
    scope: dict[str, Any] = {"cls0": cls, "short": _short, "identifier": identifier}
    lines = ["def settle(v0):", "    v0.__class__ = cls0"]
    _settle_fields(cls, "v0", "    ", scope, lines)
    exec(compile("\n".join(lines), f"<settler of {cls.__qualname__}>", "exec"), scope)  # noqa: S102 - from classes alone
    settle: Callable[[Any], None] = scope["settle"]
    return settle


def _settle_fields(cls: Any, value: str, indent: str, scope: dict[str, Any], lines: list[str]) -> None:
    attrs.resolve_types(cls)
    for field in attrs.fields(cls):
        if field.name == "dataset_id":
            lines.append(f"{indent}{value}.dataset_id = short({value}.organization_id, {value}.dataset_id)")
        elif field.name in IDENTIFIERS:
            lines.append(f"{indent}identifier({value}.{field.name})")
        if not field.init:
            lines.append(f"{indent}{value}.{field.name} = None")
        optional, inner = _class_in(field.type)
        if inner is None:
            continue
        number = len(scope)
        name = f"v{number}"
        scope[f"cls{number}"] = inner
        lines.append(f"{indent}{name} = {value}.{field.name}")
        below = indent
        if optional:
            lines.append(f"{indent}if {name} is not None:")
            below += "    "
        lines.append(f"{below}{name}.__class__ = cls{number}")
        _settle_fields(inner, name, below, scope, lines)


def _class_in(annotation: Any) -> tuple[bool, Any]:
    """Return whether a value may be None, and the class of ours that it is of, if it is."""
    members = [member for member in get_args(annotation) if member is not types.NoneType]
    optional = get_origin(annotation) in (Union, types.UnionType) and len(members) == 1
    inner = members[0] if optional else annotation
    return optional, inner if isinstance(inner, type) and attrs.has(inner) else None
