"""What load balancers and operators see: health, the drain before the end, and the access log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.service.conftest import ClockedService, Connect, StartService
from vi._samples import encode
from vi.server import LocalService, ServiceConfig, command, health
from vi.server.context import CONTEXT
from vi.server.serving import SMALL
from vi.server.store.readers import READERS

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/healthz", "/healthz/ready"])
async def test_health_needs_no_key_and_takes_every_host(
    fresh_service: ClockedService, connect: Connect, path: str
) -> None:
    api = await connect(fresh_service)
    answer = await api.raw("GET", fresh_service.url + path, headers={"Host": "pod-7.example"})
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert set(answer.document) == {"status"}
    assert (await api.raw("HEAD", fresh_service.url + path)).status == 200
    assert (await api.raw("GET", f"{fresh_service.url}{path}/more", headers={"Host": "pod-7.example"})).status == 403


async def test_a_service_whose_database_does_not_answer_lives_and_is_not_ready(
    fresh_service: ClockedService, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await connect(fresh_service)
    monkeypatch.setattr(health, "_SECONDS", 0.2)
    running = fresh_service._local._running
    assert running is not None
    database = running._app[CONTEXT].database
    release = threading.Event()
    held = [
        asyncio.run_coroutine_threadsafe(database.read(lambda connection: release.wait(60)), fresh_service.loop)
        for _ in range(READERS)
    ]
    try:
        assert (await api.raw("GET", fresh_service.url + "/healthz/ready")).status == 503
        assert (await api.raw("GET", fresh_service.url + "/healthz")).status == 200
    finally:
        release.set()
    for one in held:
        assert await asyncio.wrap_future(one)
    monkeypatch.undo()
    assert (await api.raw("GET", fresh_service.url + "/healthz/ready")).status == 200


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself SIGTERM there")
async def test_after_a_signal_the_service_answers_and_is_not_ready(tmp_path: Path) -> None:
    started: asyncio.Future[LocalService] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        command._run(
            tmp_path / "data",
            "127.0.0.1",
            0,
            None,
            lambda service, warning: started.set_result(service),
            ServiceConfig(drain_seconds=600),
        )
    )
    service = await started
    async with aiohttp.ClientSession(service.url) as http, asyncio.timeout(60):

        async def status(path: str) -> tuple[int, str | None]:
            async with http.get(path) as answer:
                return answer.status, answer.headers.get("Connection")

        assert await status("/healthz/ready") == (200, None)
        os.kill(os.getpid(), signal.SIGTERM)
        while (await status("/healthz/ready"))[0] == 200:
            await asyncio.sleep(0)
        assert await status("/healthz/ready") == (503, "close")
        assert await status("/healthz") == (200, "close")
        assert await status("/openapi.json") == (200, "close")
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
        with pytest.raises(aiohttp.ClientConnectionError):
            await status("/healthz")


async def test_the_access_log_names_the_key_and_holds_no_secret(
    start_service: StartService, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vi.server.access")
    service = start_service(access_log=True)
    api = await connect(service)
    dataset = await api.create_dataset()
    large = encode(1, ".png", (800, 800))
    assert len(large) > SMALL
    await api.ingest(dataset, {"a.png": large})
    (asset,) = await api.assets(dataset, contents="y")
    url = str(asset["contents"]["asset"]["url"])
    assert (await api.raw("GET", url)).body == large
    assert (await api.raw("HEAD", url)).status == 200
    assert (await api("GET", dataset, headers={"Authorization": "Bearer dtvi_wrong"})).status == 401
    await api.raw("GET", f"{service.url}/{service.secret_key}")

    def lines() -> list[dict[str, Any]]:
        return [json.loads(one.getMessage()) for one in caplog.records if one.name == "vi.server.access"]

    async with asyncio.timeout(20):
        while lines()[-1]["status"] != 404:  # a line is written just after its answer
            await asyncio.sleep(0)
    shown = lines()
    assert set(shown[0]) == {"time", "method", "path", "status", "bytes", "seconds", "key"}
    assert (shown[0]["method"], shown[0]["status"], shown[0]["key"]) == ("POST", 201, "owner")
    got, head, refused, odd = shown[-4:]
    assert (got["path"], got["bytes"], got["key"]) == (
        url.partition("?")[0].removeprefix(service.url),
        len(large),
        None,
    )
    assert (head["method"], head["bytes"]) == ("HEAD", 0)
    assert (refused["path"], refused["status"], refused["key"]) == (dataset, 401, None)
    assert odd["path"] == "/dtvi_***"
    assert "ignature" not in caplog.text
    assert service.secret_key not in caplog.text
