"""What clients reach in place of an S3 store: tests see, hold and spoil here what passes the service otherwise.

The middlewares of a test's service meet each transfer once, under the path that the service has for it, wherever the
bytes go. A request that the service answers by a redirect is met where it leads to.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from vi.server import LocalService, ServiceConfig
from vi.server.http.storage_paths import DOWNLOAD, PART, THUMBNAIL, UPLOAD, storage_path

_OF_A_CONNECTION = ("Connection", "Content-Length", "Date", "Expect", "Keep-Alive", "Server", "Transfer-Encoding")


class StoreFront:
    """Listens at *url*, lets *middlewares* meet what comes, and passes it to the *store*.

    With *renames* they meet it under the paths of the service.
    """

    def __init__(self, store: str, url: str, middlewares: Sequence[Middleware], *, renames: bool = True) -> None:
        self._store = store
        self._renames = renames
        self._port = int(url.rpartition(":")[2])
        self._middlewares = middlewares
        self._paths: dict[str, str] = {}
        self._real: dict[tuple[str, str], str] = {}
        self._session: aiohttp.ClientSession | None = None
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{rest:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=3)

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def aclose(self) -> None:
        await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    @property
    def middleware(self) -> Middleware:
        """What the service has in place of the middlewares of its test."""

        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith("/dl/"):
                return await self._met(request, partial(self._learn, handler))
            answer = await handler(request)
            if answer.status == 307:
                self._paths[_place(answer.headers["Location"])] = request.rel_url.raw_path
                return answer

            async def again(request: web.Request) -> web.StreamResponse:
                return answer

            return await self._met(request, again)

        return middleware

    async def _met(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        for one in reversed(self._middlewares):
            handler = partial(one, handler=handler)
        return await handler(request)

    async def _learn(self, handler: Handler, request: web.Request) -> web.StreamResponse:
        """Note what the addresses in an answer stand for."""
        answer = await handler(request)
        if request.method == "POST" and answer.status < 300 and answer.content_type == "application/json":
            assert isinstance(answer, web.Response)
            assert isinstance(answer.body, bytes)
            document = json.loads(answer.body)
            if request.path.endswith("/assetIngestionSessions"):
                session = document["assetIngestionSessionId"]
                for one in document["status"].get("assets", ()):
                    place, name = _place(one["upload"]["url"]), one["metadata"]["filename"]
                    self._paths[place] = storage_path(
                        UPLOAD, session=session, index=place.rpartition("/")[2], filename=name
                    )
            elif "part" in request.match_info and "url" in document:
                names = request.match_info
                self._paths[_place(document["url"])] = storage_path(PART, upload=names["upload"], number=names["part"])
        return answer

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        if (request.method, request.rel_url.raw_path) not in self._real:  # if not asked again by a fault on demand
            path = self._path_of(request.raw_path) if self._renames else request.raw_path
            self._real[request.method, path] = request.raw_path
            request = request.clone(rel_url=URL(path, encoded=True))
        return await self._met(request, self._pass_on)

    def _path_of(self, real: str) -> str:
        """Return the path that the service has for an address in the store."""
        known = self._paths.get(_place(real))
        if known is not None:
            return known
        parts = urlsplit(real)
        *_, session, blob = parts.path.split("/")
        name = parse_qs(parts.query).get("x-vi-name", ["/"])[0][1:]
        if name:
            return storage_path(DOWNLOAD, dataset=session, asset=blob, filename=name)
        return storage_path(THUMBNAIL, dataset=session, asset=blob.partition(".")[0], blob=blob)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        headers = _end_to_end(request.headers)
        if request.content_length is not None and request.body_exists:
            headers["Content-Length"] = str(request.content_length)
        async with self._session.request(
            request.method,
            URL(self._store + self._real[request.method, request.rel_url.raw_path], encoded=True),
            data=request.content if request.body_exists else None,
            headers=headers,
            allow_redirects=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        ) as answer:
            given = _end_to_end(answer.headers)
            if request.method != "HEAD":
                return web.Response(status=answer.status, headers=given, body=await answer.read())
            head = web.StreamResponse(status=answer.status, headers=given)
            head.content_length = answer.content_length
            return head


class FrontedService(LocalService):
    """A service with a front before its store, which ends with it."""

    def __init__(self, service: LocalService, front: StoreFront) -> None:
        super().__init__(service.url, service._identity, service.data, service._running)
        self._front = front

    async def aclose(self) -> None:
        await asyncio.gather(super().aclose(), self._front.aclose())


async def serve_fronted(
    serve: Any, data: Path, *, config: ServiceConfig, middlewares: Sequence[Middleware] = (), **more: Any
) -> LocalService:
    """Serve a folder whose clients reach the store at the ``store_public_url`` of *config*, where a front listens."""
    assert config.store_endpoint is not None
    assert config.store_public_url is not None
    front = StoreFront(config.store_endpoint, config.store_public_url, middlewares)
    service = await serve(data, config=config, middlewares=[front.middleware], **more)
    try:
        await front.start()
    except BaseException:
        await service.aclose()
        raise
    return FrontedService(service, front)


def _place(url: str) -> str:
    """Return the part of an address in the store that names the object, or the part of one."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    number = query.get("partNumber")
    return parts.path if number is None else f"{parts.path}?{query['uploadId'][0]}&{number[0]}"


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    gone = {name.lower() for name in (*_OF_A_CONNECTION, "X-Vi-Without-Fault")}
    return {name: value for name, value in headers.items() if name.lower() not in gone}
