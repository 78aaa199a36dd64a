"""How many files a process claims at once follows their decoding, and not the time that the store takes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.pictures import tiny
from tests.support.ports import free_ports
from tests.support.postgres import Postgres
from tests.support.seaweed import Seaweed
from tests.support.store_front import StoreFront
from vi.server import ServiceConfig
from vi.server.store import claims
from vi.testing import TestedService

pytest.importorskip("aiobotocore")

pytestmark = [pytest.mark.anyio, pytest.mark.scale, pytest.mark.large]


async def test_a_store_that_answers_late_does_not_make_claims_small(
    postgres: Postgres, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @web.middleware
    async def late(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "GET" and request.path.startswith("/vi-tests/") and "sessions/" in request.path:
            await asyncio.sleep(0.6)
        answer: web.StreamResponse = await handler(request)
        return answer

    settings = seaweed.create()
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    front = StoreFront(settings["store_endpoint"], url, [late], renames=False)
    await front.start()
    asked: list[int] = []
    take = claims.take

    def taking(connection: Any, most: int) -> Any:
        found = take(connection, most=most)
        if found:
            asked.append(most)
        return found

    monkeypatch.setattr(claims, "take", taking)
    config = ServiceConfig(**{**settings, "store_endpoint": url}, database=postgres.create())
    service = await asyncio.to_thread(TestedService.start, tmp_path / "data", config)
    try:
        async with service.async_client() as client:
            dataset = (await client.datasets.create(name="late")).dataset_id
            files = [(f"{number}.png", tiny(number)) for number in range(150)]
            result = await client.assets.upload(dataset, files, show_progress=False)
    finally:
        await asyncio.to_thread(service.stop)
        await front.aclose()
    assert result.total_succeeded == 150
    assert len(asked) < len(files) // 2, asked
