"""The one converter between the protocol's JSON and our attrs classes.

Names on the wire are camelCase (protocol section 3.1). Reading is tolerant: unknown fields are dropped, unknown enum
values stay text, a missing or null optional field takes its default. A required field that is missing, or a value of
the wrong type, is a `WireError` that names its path. The hot path is one generated function per class, registered as
a cattrs hook; it carries no path. Only when it fails is the document walked again to find where.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import gc
import json
import linecache
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, Union, cast, get_args, get_origin

import attrs

from . import _routes

if TYPE_CHECKING:
    import cattrs

T = TypeVar("T")
Read = Callable[[Any], Any]

_SECONDS_BELOW = 100_000_000_000
_FARTHEST = 1 << 62


class WireError(ValueError):
    """A document that does not have the promised shape; *path* says where."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.problem = problem
        self.path = path


def field(*, wire: str | None = None, **options: Any) -> Any:
    """Declare an attrs field whose wire name is not the camelCase of its own."""
    return attrs.field(metadata={"wire": wire} if wire else {}, **options)


def wire_name(attribute: attrs.Attribute[Any]) -> str:
    """Return the name of a field on the wire."""
    given = attribute.metadata.get("wire")
    if given:
        return str(given)
    head, *rest = attribute.name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def to_datetime(value: int | None) -> dt.datetime | None:
    """Turn wire milliseconds (or seconds, section 1.5) into an aware UTC time."""
    if value is None:
        return None
    try:
        return dt.datetime.fromtimestamp(to_seconds(value), dt.UTC)
    except (OverflowError, ValueError, OSError):
        return None


def to_seconds(value: int) -> float:
    """Turn a wire time into seconds since 1970."""
    value = max(-_FARTHEST, min(value, _FARTHEST))  # an integer of any length may come, a float holds no such
    return float(value) if value < _SECONDS_BELOW else value / 1000


# Reading one value. Each reader returns the value or raises WireError without a path.


def _text(value: Any) -> str:
    if type(value) is not str:
        raise WireError(f"expected text, got {_show(value)}")
    return value


IDENTIFIERS = frozenset({"asset_id", "dataset_id", "asset_ingestion_session_id", "delete_many_assets_session_id"})
"""The fields that hold an id of the service (protocol section 2): an id is put into paths, arguments and terminals."""


def identifier(value: str) -> str:
    """Return an id that is one, or the empty text of a document without it; any other makes its document a bad one."""
    if (value.isalnum() and value.isascii() and len(value) <= 255) or not value or _routes.is_identifier(value):
        return value
    raise WireError(f"not an id: {_show(value)}")


def short_identifier(organization_id: str | None, dataset_id: str) -> str:
    """Return the id of a dataset without the prefix of its organization."""
    return identifier(_routes.short(organization_id, dataset_id))


def _integer(value: Any) -> int:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise WireError(f"expected an integer, got {_show(value)}")
    return value


def _number(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise WireError(f"expected a number, got {_show(value)}")
    try:
        return float(value)
    except OverflowError:
        raise WireError("expected a number of at most 308 digits") from None


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise WireError(f"expected true or false, got {_show(value)}")
    return value


def _same(value: Any) -> Any:
    return value


_SCALARS: dict[Any, tuple[Read, str | None]] = {
    str: (_text, "str"),
    int: (_integer, "int"),
    float: (_number, "float"),
    bool: (_boolean, "bool"),
    Any: (_same, None),
    object: (_same, None),
}


def _show(value: Any) -> str:
    try:
        text = json.dumps(value, default=repr)
    except RecursionError:
        return "something nested too deeply"
    return text if len(text) <= 60 else text[:57] + "..."


def _reader(annotation: Any) -> Read:
    """Return the function that reads a value annotated so."""
    if annotation in _SCALARS:
        return _SCALARS[annotation][0]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _union_reader(arguments)
    if origin is list:
        return _list_reader(_reader(arguments[0]))
    if origin is dict:
        return _dict_reader(_reader(arguments[1]))
    if origin is typing.Literal:
        return _text
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _enum_reader(annotation)
    if attrs.has(annotation):
        return structure_class(annotation)
    raise TypeError(f"no wire form for {annotation!r}")


def _list_reader(read: Read) -> Read:
    def read_list(value: Any) -> list[Any]:
        if type(value) is not list:
            raise WireError(f"expected a list, got {_show(value)}")
        return [read(item) for item in value] if value else value

    return read_list


def _dict_reader(read: Read) -> Read:
    def read_dict(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise WireError(f"expected an object, got {_show(value)}")
        if not value or read is _same:
            return value
        return {key: read(item) for key, item in value.items()}

    return read_dict


def _enum_reader(cls: type[enum.Enum]) -> Read:
    members = {member.value: member for member in cls}

    def read_enum(value: Any) -> Any:
        known = members.get(value) if type(value) is str else None
        if known is not None:
            return known
        try:
            return cls(_text(value))
        except ValueError:
            return _text(value)

    return read_enum


_PRIMITIVES = {str, int, float, bool}


def _union_reader(arguments: tuple[Any, ...]) -> Read:
    members = [a for a in arguments if a is not types.NoneType]
    enums = [a for a in members if isinstance(a, type) and issubclass(a, enum.Enum)]
    if enums:  # `SomeEnum | str`: known values are members, others stay text
        return _enum_reader(enums[0])
    if len(members) == 1:
        return _reader(members[0])
    if set(members) <= _PRIMITIVES:
        allowed = frozenset(members)

        def read_primitive(value: Any) -> Any:
            if type(value) not in allowed:
                raise WireError(f"expected text, number or boolean, got {_show(value)}")
            return value

        return read_primitive
    return _tagged_reader(members)


def _tagged_reader(members: list[Any]) -> Read:
    """Read a union of classes that carry their wire tag in a ``kind`` default; the class without one takes the rest."""
    by_kind: dict[str, Read] = {}
    other: Read | None = None
    for cls in members:
        if not attrs.has(cls):
            raise TypeError(f"no wire form for a union with {cls!r}")
        kind = attrs.fields_dict(cls)["kind"].default
        if kind is attrs.NOTHING:
            other = structure_class(cls)
        else:
            by_kind[str(kind)] = structure_class(cls)

    def read_tagged(value: Any) -> Any:
        if type(value) is not dict:
            raise WireError(f"expected an object, got {_show(value)}")
        read = by_kind.get(value.get("kind"), other)  # type: ignore[arg-type]
        if read is None:
            raise WireError(f"unknown kind {_show(value.get('kind'))}")
        return read(value)

    return read_tagged


_readers: dict[Any, Read] = {}


def structure_class(cls: Any) -> Read:
    """Return the generated reader of an attrs class."""
    found = _readers.get(cls)
    if found is None:
        found = _readers[cls] = _generate(cls)
    return found


def _generate(cls: Any) -> Read:
    """Write two functions: one for a document that is as promised in every field, and one for all other documents."""
    attrs.resolve_types(cls)
    scope: dict[str, Any] = {"WireError": WireError, "show": _show, "short": short_identifier, "identifier": identifier}
    promise = _Promise(scope)
    whole = promise.build(cls, "d", "v")
    lines, arguments = [], []
    for index, attribute in enumerate(attrs.fields(cls)):
        if attribute.init:
            lines += _read_field(attribute, f"v{index}", f"read_v{index}", scope)
            arguments.append(f"{attribute.alias}=v{index}" if attribute.kw_only else f"v{index}")
    source = "\n".join(
        [
            "def read(d):",
            "    try:",
            *(f"        {line}" for line in promise.taken),
            "    except (KeyError, TypeError, AttributeError):",
            "        return read_tolerantly(d)",
            f"    if {' and '.join(promise.tests) or 'True'}:",
            f"        return {whole}",
            "    return read_tolerantly(d)",
            "def read_tolerantly(d):",
            "    if type(d) is not dict: raise WireError(f'expected an object, got {show(d)}')",
            "    get = d.get",
            *lines,
            f"    return make_v({', '.join(arguments)})",
        ]
    )
    filename = f"<wire reader of {cls.__qualname__}>"
    exec(compile(source, filename, "exec"), scope)  # noqa: S102 - our own text, from class definitions alone
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    read: Read = scope["read"]
    return read


class _Promise:
    """The text that reads a document which is as promised: what is taken out, what is tested, and what that makes.

    An object within is read in the same breath, unless it may be missing.
    """

    def __init__(self, scope: dict[str, Any]) -> None:
        self._scope = scope
        self.taken: list[str] = []
        self.tests: list[str] = []

    def build(self, cls: Any, document: str, prefix: str) -> str:
        """Return the expression that makes *cls* of the variable *document*; other variables begin with *prefix*."""
        attrs.resolve_types(cls)
        self._scope[f"make_{prefix}"] = cls
        arguments = []
        for index, attribute in enumerate(attrs.fields(cls)):
            if attribute.init:
                keyword = f"{attribute.alias}=" if attribute.kw_only else ""
                arguments.append(keyword + self._value(attribute, document, f"{prefix}{index}"))
        return f"make_{prefix}({', '.join(arguments)})"

    def _value(self, attribute: attrs.Attribute[Any], document: str, name: str) -> str:
        wire, optional = wire_name(attribute), attribute.default is None
        # Only what is None by default may well be missing.
        self.taken.append(f"{name} = {document}.get({wire!r})" if optional else f"{name} = {document}[{wire!r}]")
        exact = _SCALARS.get(attribute.type, (None, None))[1]
        if exact:
            self.tests.append(f"type({name}) is {exact}")
        elif not optional:
            self.tests.append(f"{name} is not None")
        if attribute.name == "dataset_id":
            return f"short({document}.get('workspaceId'), {name})"
        if attribute.name in IDENTIFIERS:
            return f"identifier({name})"
        if exact:
            return name
        if not optional and isinstance(attribute.type, type) and attrs.has(attribute.type):
            return self.build(attribute.type, name, f"{name}_")
        self._scope[f"read_{name}"] = _reader(attribute.type)
        read = f"read_{name}({name})"
        container = get_origin(attribute.type)
        if container in (list, dict):  # most are empty
            read = f"{name} if not {name} and type({name}) is {container.__name__} else {read}"
        return f"None if {name} is None else {read}" if optional else read


def _read_field(attribute: attrs.Attribute[Any], name: str, reader: str, scope: dict[str, Any]) -> list[str]:
    wire = wire_name(attribute)
    scope[reader] = _reader(attribute.type)
    exact = _SCALARS.get(attribute.type, (None, None))[1]
    lines = [f"    {name} = get({wire!r})"]
    call = f"{reader}({name})"
    if attribute.name == "dataset_id":
        call = f"short(get('workspaceId'), {call})"
        exact = None
    elif attribute.name in IDENTIFIERS:
        call = f"identifier({call})"
        exact = None
    if attribute.default is attrs.NOTHING:
        condition = f"if type({name}) is not {exact}: " if exact else ""
        lines.append(f"    {condition}{name} = {call}")
        return lines
    default = attribute.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        scope[f"default_{name}"] = default.factory  # type: ignore[union-attr]
        fallback = f"default_{name}()"
    else:
        scope[f"default_{name}"] = default
        fallback = f"default_{name}"
    if exact:
        lines.append(f"    if type({name}) is not {exact}: {name} = {fallback} if {name} is None else {call}")
    else:
        lines.append(f"    {name} = {fallback} if {name} is None else {call}")
    return lines


# The converter: cattrs owns the registry, so that users may structure and unstructure our classes with it.


@cache
def converter() -> cattrs.Converter:
    """Return the converter; cattrs is imported when an object is written first: reading needs none of it."""
    import cattrs

    made = cattrs.Converter()
    made.register_structure_hook_factory(_is_ours, _structure_factory)
    made.register_unstructure_hook_factory(_is_ours, _unstructure_factory)
    return made


def _is_ours(cls: Any) -> bool:
    return isinstance(cls, type) and attrs.has(cls) and cls.__module__.startswith("vi.")


def _structure_factory(cls: Any) -> Callable[[Any, Any], Any]:
    return lambda value, _: structure_class(cls)(value)


def _unstructure_factory(cls: Any, conv: cattrs.Converter) -> Callable[[Any], dict[str, Any]]:
    from cattrs.gen import make_dict_unstructure_fn, override

    attrs.resolve_types(cls)
    renames = {a.name: override(rename=wire_name(a)) for a in attrs.fields(cls)}
    return make_dict_unstructure_fn(cls, conv, **renames)  # type: ignore[arg-type]


def structure(document: Any, cls: type[T]) -> T:
    """Read a *document* into *cls*; raises `WireError` naming the path of the field that is wrong."""
    try:
        return cast("T", structure_class(cls)(document))
    except (WireError, TypeError, AttributeError, ValueError) as error:
        raise _locate(document, cls, error) from None


def unstructure(value: Any) -> Any:
    """Write an object of ours as JSON-ready data under wire names."""
    return converter().unstructure(value)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Make many objects that all stay alive, without repeated scans by the garbage collector."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def structure_items(documents: Iterable[Any], cls: type[T]) -> tuple[list[T], list[tuple[int, WireError]]]:
    """Read each document; those that cannot be read come back with their position and the reason."""
    read = structure_class(cls)
    items: list[T] = []
    bad: list[tuple[int, WireError]] = []
    for position, document in enumerate(documents):
        try:
            items.append(read(document))
        except (WireError, TypeError, AttributeError, ValueError) as error:
            bad.append((position, _locate(document, cls, error, f"items[{position}]")))
    return items, bad


def _locate(document: Any, annotation: Any, error: Exception, path: str = "") -> WireError:
    """Walk a document that could not be read and return the first error with its path."""
    problem = error.problem if isinstance(error, WireError) else str(error)
    return _find(document, annotation, path) or WireError(problem, path)


def _find(value: Any, annotation: Any, path: str) -> WireError | None:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        members = [a for a in arguments if a is not types.NoneType]
        if len(members) == 1:
            return _find(value, members[0], path)
        tagged = [m for m in members if attrs.has(m) and isinstance(value, dict)]
        for member in tagged:
            if attrs.fields_dict(member)["kind"].default == value.get("kind"):
                return _find(value, member, path)
    elif origin is list and isinstance(value, list):
        found = (_find(item, arguments[0], f"{path}[{i}]") for i, item in enumerate(value))
        return next((error for error in found if error), None)
    elif origin is dict and isinstance(value, dict):
        found = (_find(item, arguments[1], f"{path}.{key}") for key, item in value.items())
        return next((error for error in found if error), None)
    elif attrs.has(annotation) and isinstance(value, Mapping):
        return _find_in_class(value, annotation, path)
    try:
        _reader(annotation)(value)
    except WireError as error:
        return WireError(error.problem, path)
    return None


def _find_in_class(value: Mapping[str, Any], cls: Any, path: str) -> WireError | None:
    for attribute in attrs.fields(cls):
        if not attribute.init:
            continue
        wire = wire_name(attribute)
        below = f"{path}.{wire}" if path else wire
        item = value.get(wire)
        if item is None:
            if attribute.default is attrs.NOTHING:
                return WireError("required field is missing or null", below)
            continue
        if error := _find(item, attribute.type, below):
            return error
        if attribute.name in IDENTIFIERS:
            try:
                short_identifier(value.get("workspaceId") if attribute.name == "dataset_id" else None, item)
            except WireError as bad:
                return WireError(bad.problem, below)
    return None
