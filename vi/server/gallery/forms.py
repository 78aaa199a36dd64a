"""What forms send: fields in a small body, or files of any size after the one field that lets them in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from ..config import ServiceConfig
from ..context import CONTEXT
from ..http.api_errors import ApiError
from ..http.reading import PIECE, read_bytes, too_long

FIELDS = "application/x-www-form-urlencoded"
FILES = "multipart/form-data"
_MAX_FIELDS = 64 << 10
_MAX_FIELD = 256
_MAX_FIELDS_OF_FILES = 100
_CLOSE = {"Connection": "close"}
_MALFORMED = (ValueError, RuntimeError, AssertionError, LookupError, HttpProcessingError)


@asynccontextmanager
async def _reading(config: ServiceConfig) -> AsyncIterator[None]:
    """Refuse what comes too slowly or cannot be read; the library has many names for the latter."""
    try:
        async with asyncio.timeout(config.body_seconds):
            yield
    except TimeoutError:
        raise ApiError(408, "The form came too slowly", headers=_CLOSE) from None
    except (web.RequestPayloadError, ConnectionError):
        raise ApiError(400, "The form was cut short", headers=_CLOSE) from None
    except _MALFORMED:
        raise ApiError(400, "The form cannot be read", headers=_CLOSE) from None


async def read_fields(request: web.Request) -> dict[str, str]:
    """Return the fields of a form without files."""
    body = await read_bytes(request, _MAX_FIELDS, request.app[CONTEXT].config)
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


async def open_files(request: web.Request, name: str) -> tuple[MultipartReader, str | None]:
    """Begin to read a form with files; returns the rest of it, and its first field if that has *name*."""
    async with _reading(request.app[CONTEXT].config):
        reader = await request.multipart()
        field = await reader.next()
        if not isinstance(field, BodyPartReader) or field.name != name:
            return reader, None
        return reader, (await field.read_chunk(_MAX_FIELD)).decode("ascii", "replace")


async def next_file(reader: MultipartReader, config: ServiceConfig) -> BodyPartReader | None:
    """Return the next file of a form, None after the last; fields that are not files are skipped."""
    async with _reading(config):
        for _ in range(_MAX_FIELDS_OF_FILES):
            if (field := await reader.next()) is None:
                return None
            if not isinstance(field, BodyPartReader):
                raise ValueError("a form within the form, whose parts would not be counted")
            if field.filename:
                return field
            await asyncio.sleep(0)  # many small parts are in one piece of the body: others get their turn
    raise ApiError(400, f"The form has more than {_MAX_FIELDS_OF_FILES} parts without a file", headers=_CLOSE)


async def pieces_of(field: BodyPartReader, limit: int, config: ServiceConfig) -> AsyncIterator[bytes]:
    """Yield a file as it comes; refuses one that is longer than *limit*, stalls or trickles."""
    loop = asyncio.get_running_loop()
    begun, size = loop.time(), 0
    while True:
        async with _reading(config):
            piece = await field.read_chunk(PIECE)
        if not piece:
            return
        size += len(piece)
        if size > limit:
            raise too_long(limit)
        elapsed = loop.time() - begun
        if elapsed > config.body_seconds and size < elapsed * config.body_floor:
            raise ApiError(408, "The form came too slowly", headers=_CLOSE)
        yield piece
