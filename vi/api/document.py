"""What every document and result of the API has in common: a plain form, for JSON, web frameworks and logs."""

from __future__ import annotations

import enum
from functools import partial
from typing import Any

import attrs

from .._schema import Schema, class_schema, shown_fields


class Serialized:
    """Base of what pydantic and FastAPI can return: it is written as its `to_dict`.

    As the type of a field or of an endpoint's answer it takes instances only, and appears in OpenAPI with its fields.
    """

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the object as JSON-ready values."""
        raise NotImplementedError

    @classmethod
    def _schema(cls, _source: Any) -> Schema:
        return {"type": "object", "title": cls.__name__}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.json_or_python_schema(
            core_schema.no_info_plain_validator_function(partial(_refuse_json, cls)),
            core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(_plain),
            metadata={"pydantic_js_functions": [partial(_json_schema, cls, source)]},
        )


class Document(Serialized):
    """Base of the documents that a service answers with."""

    __slots__ = ()

    def to_dict(self, *, urls: bool = False) -> dict[str, Any]:
        """Return the document as JSON-ready values, by the names of its attributes.

        Args:
            urls: Also give signed URLs. Whoever holds one may use it until it expires, so they are left out unless
                asked for.
        """
        return _fields(self, urls)

    @classmethod
    def _schema(cls, source: Any) -> Schema:
        return class_schema(source, without=_SIGNED)


_SIGNED = "signed"
SIGNED = {_SIGNED: True}
"""The metadata of a field that holds signed URLs."""


def _refuse_json(cls: type[Serialized], _value: Any) -> Any:
    raise ValueError(f"{cls.__name__} is not read from JSON: give its id, and get it from the service")


def _plain(document: Serialized) -> dict[str, Any]:
    return document.to_dict()


def _json_schema(cls: type[Serialized], source: Any, _schema: Any, _handler: Any) -> Schema:
    return cls._schema(source)


def plain_value(value: Any, *, urls: bool = False) -> Any:
    """Return what an attribute holds as JSON-ready values."""
    if isinstance(value, Document):
        return value.to_dict(urls=urls)
    if isinstance(value, Serialized):
        return value.to_dict()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {key: plain_value(one, urls=urls) for key, one in value.items()}
    if isinstance(value, list):
        return [plain_value(one, urls=urls) for one in value]
    return _fields(value, urls) if attrs.has(type(value)) else value


def _fields(value: Any, urls: bool) -> dict[str, Any]:
    return {
        one.name: plain_value(getattr(value, one.name), urls=urls)
        for one in shown_fields(type(value), without=None if urls else _SIGNED)
    }
