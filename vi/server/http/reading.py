"""Reading what a request says: JSON bodies within limits, and query parameters."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, NoReturn, TypeVar

import attrs
from aiohttp import web

from ... import _wire
from ..config import ServiceConfig
from .api_errors import ApiError, invalid

T = TypeVar("T")

PIECE = 1 << 20
MAX_VALUES = 500_000
"""JSON is read on the event loop: more values would hold it for longer than half a second."""


async def body_chunks(request: web.Request, limit: int, config: ServiceConfig) -> AsyncIterator[bytes]:
    """Yield a body's bytes as they come; refuses one that is longer than *limit*, stalls, or trickles.

    A truncated body raises instead of ending, so a reader that reaches the end has the whole body.
    """
    announced = request.content_length
    if announced is not None and announced > limit:
        raise too_long(limit)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    received = 0
    content = request.content
    try:
        while True:
            async with asyncio.timeout(config.body_seconds):
                chunk = await content.readany()
            if not chunk:
                break
            received += len(chunk)
            if received > limit:
                raise too_long(limit)
            yield chunk
            elapsed = loop.time() - begun
            if elapsed > config.body_seconds and received < elapsed * config.body_floor:
                raise TimeoutError
    except TimeoutError:
        raise ApiError(408, "The request body came too slowly", headers={"Connection": "close"}) from None
    except (web.RequestPayloadError, ConnectionError):
        raise ApiError(400, "The request body was cut short", headers={"Connection": "close"}) from None
    if announced is not None and received != announced:
        raise ApiError(400, "The request body was cut short", headers={"Connection": "close"})


def too_long(limit: int) -> ApiError:
    """A body with more bytes than were announced or are allowed."""
    return ApiError(413, f"The request body is longer than {limit} bytes")


async def read_bytes(request: web.Request, limit: int, config: ServiceConfig) -> bytes:
    """Return a whole body of at most *limit* bytes."""
    chunks = [chunk async for chunk in body_chunks(request, limit, config)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def pieces(request: web.Request, limit: int, config: ServiceConfig) -> AsyncIterator[bytes]:
    """Yield a body in pieces of about `PIECE` bytes."""
    gathered: list[bytes] = []
    size = 0
    async for chunk in body_chunks(request, limit, config):
        gathered.append(chunk)
        size += len(chunk)
        if size >= PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


async def read_json(request: web.Request, config: ServiceConfig) -> tuple[bytes, dict[str, Any]]:
    """Return the body as it came and as a JSON object; an empty body is an empty object."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise ApiError(415, "A request body must not be encoded")
    raw = await read_bytes(request, config.max_json_bytes, config)
    if not raw:
        return raw, {}
    if len(raw) > MAX_VALUES and sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ApiError(413, f"The request body holds more than {MAX_VALUES} values")
    try:
        document = json.loads(raw, parse_constant=_refuse_constant)
        nul = _nul(document) if b"\\u0000" in raw else None
    except RecursionError:
        raise invalid("The request body is nested too deeply", "body") from None
    except ValueError as error:
        raise invalid(f"The request body is not JSON: {str(error)[:200]}", "body") from None
    if nul is not None:
        raise invalid(f"{nul[:200]} holds a NUL character", nul)
    if not isinstance(document, dict):
        raise invalid("The request body must be a JSON object", "body")
    return raw, document


def _nul(value: Any, path: str = "") -> str | None:
    """Return the path of a text with a NUL character, which PostgreSQL does not store; None when there is none."""
    if isinstance(value, str):
        return (path or "body") if "\0" in value else None
    found: Iterator[str | None] = iter(())
    if isinstance(value, dict):
        if any("\0" in key for key in value):
            return path or "body"
        found = (_nul(part, f"{path}.{key}" if path else key) for key, part in value.items())
    elif isinstance(value, list):
        found = (_nul(part, f"{path}[{position}]") for position, part in enumerate(value))
    return next((place for place in found if place), None)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def structure(document: dict[str, Any], cls: type[T]) -> T:
    """Read *document* into *cls*; a field that is missing or of another type is a 400 that names its path."""
    try:
        return _wire.structure(document, cls)
    except _wire.WireError as error:
        raise invalid(str(error), error.path) from None


@functools.cache
def _request(spec: type) -> Any:
    return attrs.make_class("Request", {"spec": attrs.field(type=spec)})


def spec_of(document: dict[str, Any], cls: type[T]) -> T:
    """Read the ``spec`` of *document* into *cls*; see `structure`."""
    kind: Any = cls
    spec: T = structure(document, _request(kind)).spec
    return spec


def flag(request: web.Request, name: str) -> bool:
    """Read a parameter that is ``y`` or ``n``."""
    value = request.query.get(name, "").lower()
    if value in ("y", "true", "1"):
        return True
    if value in ("", "n", "false", "0"):
        return False
    raise invalid(f"{name} must be y or n", name)


def seconds(request: web.Request, name: str, most: float) -> float:
    """Read a parameter that is a number of seconds from 0 to *most*; 0 where it is missing."""
    value = request.query.get(name, "0")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise invalid(f"{name} must be seconds from 0 to {most:g}", name)
    return number
