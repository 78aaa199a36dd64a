"""For FastAPI services: one client per application, bytes passed through in both directions, errors as problem answers.

Needs the extra ``fastapi``. Nothing here holds a whole file: an ``UploadFile`` is read where FastAPI has put it, a
request body is streamed as it arrives, and an asset at the pace of the client that reads it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import IO, Annotated, Any, Literal, TypedDict
from urllib.parse import quote

import anyio
import attrs

from ._events import TransferProgress
from ._media import may_be_inline
from ._optional import require
from ._ranges import select
from .api.resources.datasets.assets.events import TransferEvents
from .api.resources.datasets.assets.reading.stream import AssetStream
from .client import AsyncClient
from .codes import FileCode
from .errors import (
    ViConfigurationError,
    ViConflictError,
    ViDownloadError,
    ViError,
    ViFileTooLargeError,
    ViInvalidFileFormatError,
    ViInvalidParameterError,
    ViNetworkError,
    ViNotFoundError,
    ViPathError,
    ViRateLimitError,
    ViServerError,
    ViTimeoutError,
    ViUploadError,
    ViValidationError,
)

for _library in ("starlette", "fastapi"):
    require(_library, "vi.fastapi")
from fastapi import Depends, FastAPI, HTTPException, Request, Response, UploadFile  # noqa: E402
from fastapi.responses import JSONResponse, StreamingResponse  # noqa: E402
from starlette.requests import ClientDisconnect  # noqa: E402
from starlette.types import Message, Receive, Scope, Send  # noqa: E402

logger: logging.Logger = logging.getLogger("vi.fastapi")

KEEP_ALIVE_SECONDS = 15.0
FIRST_PIECE = 256 << 10
PROBLEM = "application/problem+json"
CLIENT_GONE = 499


class State(TypedDict):
    """What `lifespan` adds to the state of every request."""

    vi: AsyncClient


def lifespan(
    make: Callable[[], AbstractAsyncContextManager[AsyncClient]] = AsyncClient,
) -> Callable[[Any], AbstractAsyncContextManager[State]]:
    """Return the lifespan of an application that has one client: ``FastAPI(lifespan=lifespan())``.

    *make* makes the client; it is closed when the application ends. A lifespan of your own enters this one and adds
    what it yields to its own state.
    """

    @asynccontextmanager
    async def with_client(_app: Any) -> AsyncIterator[State]:
        async with make() as client:
            yield {"vi": client}

    return with_client


def get_client(request: Request) -> AsyncClient:
    """Return the client of the application that *request* came to."""
    client = getattr(request.state, "vi", None)
    if not isinstance(client, AsyncClient):
        raise ViConfigurationError("The application has no client: give it vi.fastapi.lifespan().")
    return client


ViClient = Annotated[AsyncClient, Depends(get_client)]
"""The application's client, as a parameter of an endpoint."""


# uploads


class LengthRequired(HTTPException):
    """A body whose size is not stated: 411."""


def upload_source(file: UploadFile, filename: str | None = None) -> tuple[str, IO[bytes]]:
    """Return an uploaded file as `AsyncAssets.upload` takes it, under its own base name or *filename*."""
    name = filename or (file.filename or "").replace("\\", "/").rpartition("/")[2]
    if not name:
        raise ViInvalidParameterError("An uploaded file has no name.", parameter="filename")
    return name, file.file


def body_source(request: Request, filename: str) -> tuple[str, AsyncIterator[bytes], int]:
    """Return the body of *request* as `AsyncAssets.upload` takes it: sent on while it arrives, never kept.

    The size has to be known beforehand: a request without ``Content-Length`` is answered with 411.
    """
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise LengthRequired(HTTPStatus.LENGTH_REQUIRED, "Send the size of the body as Content-Length.")
    return filename, _body(request), int(length)


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        if piece:
            yield piece


@asynccontextmanager
async def cancelled_on_disconnect(request: Request) -> AsyncIterator[None]:
    """Cancel the block with ``ClientDisconnect`` when the client goes away; `add_error_handlers` answers that.

    A disconnect is noticed once the body of the request has been read or has arrived whole.
    """
    messages = _Messages(request.receive)
    request._receive = messages.next
    with anyio.CancelScope() as scope:
        watcher = asyncio.create_task(messages.watch(scope.cancel))
        try:
            yield
        finally:
            watcher.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([watcher])
    if scope.cancelled_caught:
        raise ClientDisconnect


class _Messages:
    """The one reader of a request's messages: the body goes to the endpoint, the disconnect to the watcher."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._waiting: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._watched = False

    async def watch(self, gone: Callable[[], None]) -> None:
        """Read until the client goes away; a piece of the body that is not the last waits until it was taken."""
        self._watched = True
        try:
            while True:
                message = await self._receive()
                self._waiting.append(message)
                self._changed.set()
                if message["type"] == "http.disconnect":
                    return gone()
                while message.get("more_body") and self._waiting:
                    self._changed.clear()
                    await self._changed.wait()
        finally:
            self._watched = False
            self._changed.set()

    async def next(self) -> Message:
        """Return the next message, as ``receive`` does."""
        while not self._waiting and self._watched:
            self._changed.clear()
            await self._changed.wait()
        if not self._waiting:
            return await self._receive()
        message = self._waiting.popleft()
        self._changed.set()
        return message


# answers


class _Streamed(StreamingResponse):
    """A streamed answer that releases its source however it ends, also if it never began."""

    def __init__(self, content: Any, close: Callable[[], Awaitable[None]], **settings: Any) -> None:
        super().__init__(content, **settings)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._close()


_ETAG = re.compile(r'"[A-Za-z0-9.+/_=-]{1,200}"')


async def asset_response(
    request: Request,
    client: AsyncClient,
    dataset_id: str,
    asset_id: str,
    *,
    disposition: Literal["inline", "attachment"] = "inline",
    cache_control: str = "private, no-cache",
) -> Response:
    """Answer *request* with the bytes of an asset, as they come from the storage (RFC 9110).

    Pictures and films that browsers show are sent inline, unless *disposition* says otherwise; everything else is an
    attachment of ``application/octet-stream``, since whoever chose its type could run a page of theirs in your origin.

    ``HEAD``, ``Range`` of one range with ``If-Range``, ``If-Match`` and ``If-None-Match`` are honoured. The digest is
    checked on the way: if the asset is damaged, the connection is closed before the answer is complete.
    """
    stream = await client.assets.open(dataset_id, asset_id)
    shown = may_be_inline(stream.content_type)
    content_type = stream.content_type if shown else "application/octet-stream"
    # Every character of the name that could end the value is escaped.
    name = quote(stream.asset.filename.encode("utf-8", "replace"), safe="")
    etag = stream.etag if stream.etag is not None and _ETAG.fullmatch(stream.etag) else None
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": cache_control,
        "Content-Disposition": f"{disposition if shown else 'attachment'}; filename*=UTF-8''{name}",
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    if etag is not None:
        headers["ETag"] = etag
    chosen = select(request.headers, stream.size, etag)
    headers |= chosen.content_range
    if chosen.status not in (200, 206):
        return Response(status_code=chosen.status, headers=headers)
    await stream.select(chosen.start, chosen.stop)
    headers["Content-Length"] = str(stream.end - stream.start)
    if request.method == "HEAD":
        return Response(status_code=chosen.status, headers=headers, media_type=content_type)
    # Asked for here, so that a refusal of the storage becomes a status, not a truncated answer.
    first = await stream.read_some(FIRST_PIECE)
    return _Streamed(
        _pieces(first, stream),
        stream.aclose,
        status_code=chosen.status,
        headers=headers,
        media_type=content_type,
    )


async def _pieces(first: bytes, stream: AssetStream) -> AsyncIterator[bytes]:
    yield first
    async for piece in stream:
        yield piece


def progress_response(events: TransferEvents[Any]) -> Response:
    """Run a transfer and answer with its progress as server-sent events.

    ``progress`` comes up to ten times a second, then ``result`` with the result, or ``problem`` with the problem
    document. A client that goes away cancels the transfer.
    """
    answer = _events(events)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return _Streamed(answer, answer.aclose, headers=headers, media_type="text/event-stream")


async def _events(events: TransferEvents[Any]) -> AsyncGenerator[str]:
    try:
        async with events:
            while True:
                event: TransferProgress | None = None
                with anyio.move_on_after(KEEP_ALIVE_SECONDS) as waiting:
                    event = await events.next()
                if waiting.cancelled_caught:
                    yield ": still there\n\n"
                elif event is None:
                    break
                else:
                    yield _sse("progress", attrs.asdict(event))
            result = await events.result()
            yield _sse("result", result.to_dict())
    except ViError as error:
        yield _sse("problem", problem(error))


def _sse(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


# errors

_STATUSES: tuple[tuple[type[ViError], HTTPStatus], ...] = (
    (ViFileTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (ViInvalidFileFormatError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (ViPathError, HTTPStatus.INTERNAL_SERVER_ERROR),
    (ViValidationError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (ViNotFoundError, HTTPStatus.NOT_FOUND),
    (ViConflictError, HTTPStatus.CONFLICT),
    (ViRateLimitError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ViTimeoutError, HTTPStatus.GATEWAY_TIMEOUT),
    (ViNetworkError, HTTPStatus.BAD_GATEWAY),
    (ViServerError, HTTPStatus.BAD_GATEWAY),
    (ViDownloadError, HTTPStatus.BAD_GATEWAY),
)

_UPLOAD_CODES: dict[str, HTTPStatus] = {
    FileCode.EBADMIME: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    FileCode.EBADSIZE: HTTPStatus.UNPROCESSABLE_ENTITY,
    FileCode.EBADNAME: HTTPStatus.UNPROCESSABLE_ENTITY,
    FileCode.ECORRUPT: HTTPStatus.UNPROCESSABLE_ENTITY,
    FileCode.EALREADY: HTTPStatus.CONFLICT,
    FileCode.ESOURCE: HTTPStatus.BAD_REQUEST,
    FileCode.ENOQUOTA: HTTPStatus.INSUFFICIENT_STORAGE,
}

_DETAILS = {
    HTTPStatus.INTERNAL_SERVER_ERROR: "This service is misconfigured or failed.",
    HTTPStatus.BAD_GATEWAY: "The dataset service did not give a usable answer.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The dataset service does not accept more requests at the moment.",
    HTTPStatus.GATEWAY_TIMEOUT: "The dataset service did not answer in time.",
}
"""What callers see of failures that are not theirs: where, and nothing else."""


def status_of(error: ViError) -> HTTPStatus:
    """Return the status that tells the caller of this service what *error* means for them.

    A key or permission that the dataset service refuses is this service's own, so it is a 500 and never a 401.
    """
    if isinstance(error, ViUploadError) and not isinstance(error, ViFileTooLargeError):
        return _UPLOAD_CODES.get(str(error.error_code), HTTPStatus.BAD_GATEWAY)
    return next((status for cls, status in _STATUSES if isinstance(error, cls)), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(error: ViError) -> dict[str, Any]:
    """Return *error* as a problem document (RFC 9457), with ``code`` and the dataset service's ``request_id``."""
    status = status_of(error)
    document = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": _DETAILS.get(status, error.message),
        "code": str(error.error_code),
        "request_id": error.request_id,
        "retry_after": error.retry_after,
    }
    return {name: value for name, value in document.items() if value is not None}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    int(status): {
        "description": status.phrase,
        "content": {
            PROBLEM: {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "code": {"type": "string"},
                        "request_id": {"type": "string"},
                        "retry_after": {"type": "number"},
                    },
                }
            }
        },
    }
    for status in sorted({HTTPStatus.LENGTH_REQUIRED, *_UPLOAD_CODES.values(), *(status for _, status in _STATUSES)})
}
"""The problem answers of `add_error_handlers`, for an application's OpenAPI: ``FastAPI(responses=PROBLEMS)``."""


def add_error_handlers(app: FastAPI) -> None:
    """Make *app* answer with problem documents where an endpoint lets a `ViError` through."""
    app.add_exception_handler(ViError, _answer_problem)
    app.add_exception_handler(LengthRequired, _answer_unsized)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)


async def _answer_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ViError)
    document = problem(error)
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if document["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("Answered with status %d: %s", document["status"], error)
    return JSONResponse(document, document["status"], headers, media_type=PROBLEM)


async def _answer_unsized(_request: Request, error: Exception) -> Response:
    assert isinstance(error, LengthRequired)
    status = HTTPStatus(error.status_code)
    document = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": error.detail}
    return JSONResponse(document, status, media_type=PROBLEM)


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)
