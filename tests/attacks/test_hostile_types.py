"""Row A12: what a service says of an asset's type and digest, through an application under a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

import aiohttp
import uvicorn
from aiohttp import web
from fastapi import FastAPI, Request

from vi import _samples
from vi.fastapi import asset_response
from vi.testing import TestedService

pytestmark = pytest.mark.anyio

HOSTILE = [
    "text/html",
    "TEXT/HTML; charset=utf-8",
    "image/svg+xml",
    "application/xhtml+xml",
    "text/javascript",
    "multipart/x-mixed-replace",
    "image/png\r\nSet-Cookie: a=b",
    "image/png\nX-Evil: 1",
    "image/png; x=\x00",
    "image/pñg",
    "\u2028",
    "image/png, text/html",
    "",
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def hostile(tmp_path: Path) -> AsyncIterator[tuple[str, bytes, dict[str, str]]]:
    """The address of an asset in an application, its bytes, and what the service says of it."""
    said: dict[str, str] = {}

    @web.middleware
    async def lie(request: web.Request, handler: Any) -> web.StreamResponse:
        answer = await handler(request)
        if said and isinstance(answer, web.Response) and answer.content_type == "application/json":
            document = json.loads(answer.text or "{}")
            if "metadata" in document:
                document["metadata"]["mimeType"] = said["type"]
                document["metadata"]["hash"]["algorithm"] = said["algorithm"]
            return web.json_response(document, status=answer.status)
        return answer

    data = _samples.encode(1, ".png", (8, 8))
    service = TestedService(tmp_path / "data", middlewares=[lie])
    async with service.async_client(retries=0) as client:
        dataset = (await client.datasets.create(name="types")).dataset_id
        await client.assets.upload(dataset, [("a.png", data)], show_progress=False)
        [asset] = [one async for one in client.assets.list(dataset).all_items()]
        app = FastAPI()

        @app.get("/asset")
        async def read(request: Request) -> Any:
            return await asset_response(request, client, dataset, asset.asset_id)

        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/asset", data, said
        server.should_exit = True
        await serving
    service.stop()


@pytest.mark.parametrize("algorithm", ["SHA256", "x\r\nX-Evil: 1"], ids=["digest", "hostile digest"])
async def test_A12_no_type_of_a_service_is_a_page_or_a_header_of_the_application(
    hostile: tuple[str, bytes, dict[str, str]], algorithm: str
) -> None:
    url, data, said = hostile
    async with aiohttp.ClientSession() as http:
        for mime in HOSTILE:
            said.update(type=mime, algorithm=algorithm)
            async with http.get(url) as answer:
                body = await answer.read()
            assert answer.status == 200, mime
            assert body == data
            assert not {"Set-Cookie", "X-Evil"} & answer.headers.keys(), mime
            assert answer.headers["Content-Type"] == "application/octet-stream", mime
            assert answer.headers["Content-Disposition"].startswith("attachment;"), mime
            assert answer.headers["Content-Security-Policy"] == "sandbox"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
