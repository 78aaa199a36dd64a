"""How answers of a store are taken: no redirect is followed, and what is read whole has a limit of bytes and of time.

A store may be anybody's, and what it says is a document like any other foreign one. A redirect would send the request
of the service, session token included, to wherever the store names, and take what is there for an object. A store that
answers byte by byte would hold a connection for ever: each answer has a time, and each byte that travels adds to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from aiobotocore.httpsession import AIOHTTPSession

from ..objects import StoreUnavailableError

T = TypeVar("T")

MOST = 4 << 20
"""Bytes of an answer that is no object: a listing of a thousand of the longest keys has less."""
SECONDS = 60.0
"""For a request to be answered, and again for its answer to be read, beyond the time for the bytes of both."""
LEAST_RATE = 64 << 10
"""Bytes that a store takes or gives in a second, on average, or it counts as one that does not answer."""


class AnswerError(Exception):
    """An answer of the store that is longer than one can be."""


class BoundedSession(AIOHTTPSession):  # type: ignore[misc] # aiobotocore has no types
    """The HTTP of aiobotocore, within limits."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        return _Straight(await super()._get_session(proxy_url))

    async def send(self, request: Any) -> Any:
        """Send a request; an answer that is no object comes with its body. Raises TimeoutError."""
        streams, request.stream_output = request.stream_output, True
        try:
            async with asyncio.timeout(seconds_for(_length(request.body))):
                response = await super().send(request)
        finally:
            request.stream_output = streams
        if not streams or response.status_code >= 300:
            response._content = await _read(response.raw)
        return response


def field(document: Any, name: str, kind: type[T]) -> T:
    """Return a field of an answer; raises `StoreUnavailableError` for one that is missing, empty or negative."""
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, kind) or value == "" or (isinstance(value, int) and value < 0):
        raise StoreUnavailableError(f"an answer without {name}")
    return value


def seconds_for(size: int) -> float:
    """Return how long *size* bytes may be on their way."""
    return SECONDS + size / LEAST_RATE


async def in_time(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Yield *pieces* of an object of *size* bytes; raises TimeoutError once all waiting for them took too long."""
    loop = asyncio.get_running_loop()
    left = seconds_for(size)
    while True:
        begun = loop.time()
        async with asyncio.timeout(left):
            piece = await anext(pieces, None)
        left -= loop.time() - begun
        if piece is None:
            return
        yield piece


def _length(body: object) -> int:
    return len(body) if isinstance(body, bytes | bytearray | str) else 0


class _Straight:
    """A session of aiohttp that follows no redirect."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def request(self, method: str, **settings: Any) -> Any:
        return await self._session.request(method, **{**settings, "allow_redirects": False})


async def _read(response: Any) -> bytes:
    found: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(SECONDS):
            while piece := await response.content.readany():
                found.append(piece)
                size += len(piece)
                if size > MOST:
                    raise AnswerError
    except BaseException:
        response.close()
        raise
    return b"".join(found)
