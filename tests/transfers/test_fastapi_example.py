"""A web service that shares one client among all of its requests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx2
import pytest
import uvicorn
from fastapi import Depends, FastAPI, File, Request, Response, UploadFile

import vi

REQUESTS = 40


async def client_of(request: Request) -> vi.AsyncClient:
    client: vi.AsyncClient = request.state.client
    return client


Client = Annotated[vi.AsyncClient, Depends(client_of)]


def make_app(service: Any, dataset: str) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with service.async_client() as client:
            yield {"client": client}

    app = FastAPI(lifespan=lifespan)

    @app.post("/images")
    async def put(client: Client, image: Annotated[UploadFile, File()]) -> dict[str, str]:
        name = image.filename or "unnamed"
        await client.assets.upload(dataset, (name, await image.read()), show_progress=False)
        found = await client.assets.list(dataset, filter_criteria={"filename": name})
        return {"id": found.items[0].asset_id, "sha256": found.items[0].metadata.hash.contents}

    @app.post("/spooled")
    async def put_file(client: Client, image: Annotated[UploadFile, File()]) -> dict[str, int]:
        result = await client.assets.upload(dataset, (image.filename or "unnamed", image.file), show_progress=False)
        return {"stored": result.total_succeeded}

    @app.get("/images/{asset_id}")
    async def get(client: Client, asset_id: str) -> Response:
        async with client.assets.open(dataset, asset_id) as stream:
            return Response(await stream.read(), media_type="image/png")

    @app.get("/missing")
    async def missing(client: Client) -> dict[str, str]:
        try:
            await client.assets.get(dataset, "nowhere")
        except vi.ViNotFoundError as error:
            return {"error": error.error_code}
        return {}

    return app


@pytest.fixture
def address(service: Any, dataset: str) -> Iterator[str]:
    """The application under uvicorn, in a loop of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(make_app(service, dataset), log_level="warning", lifespan="on"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), name="uvicorn")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.mark.anyio
async def test_forty_requests_at_once_each_get_their_own_image_back(address: str, service: Any, png: Any) -> None:
    async with httpx2.AsyncClient(base_url=address, timeout=60) as http:

        async def round_trip(number: int) -> bool:
            data = png(number, side=20)
            posted = await http.post("/images", files={"image": (f"{number}.png", data, "image/png")})
            assert posted.status_code == 200, posted.text
            return bool((await http.get(f"/images/{posted.json()['id']}")).content == data)

        assert await asyncio.gather(*map(round_trip, range(REQUESTS))) == [True] * REQUESTS
        spooled = await http.post("/spooled", files={"image": ("spooled.png", png(99), "image/png")})
        assert spooled.json() == {"stored": 1}
        assert (await http.get("/missing")).json() == {"error": "ResourceNotFound"}
    assert len(service.requests("PUT")) == REQUESTS + 1
