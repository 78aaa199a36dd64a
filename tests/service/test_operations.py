"""What load balancers and operators see: health, the drain before the end, and the access log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.service.conftest import ClockedService, Connect, StartService
from vi._samples import encode
from vi.server import LocalService, ServiceConfig, command, health, serve
from vi.server.context import CONTEXT
from vi.server.failures import log_failure
from vi.server.log import report_unheard
from vi.server.objects import StoreUnavailableError
from vi.server.serving import SMALL
from vi.server.store.metadata import CommitLostError, DatabaseUnavailableError
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


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_who_has_a_connection_when_the_service_ends_is_answered(tmp_path: Path, turns: int) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    service = await serve(tmp_path / "data")
    address = urlsplit(service.url)
    assert address.hostname is not None
    place = (address.hostname, address.port)
    loop = asyncio.get_running_loop()
    late, late_writer = await asyncio.open_connection(*place)
    reader, writer = await asyncio.open_connection(*place)
    writer.write(request)
    await reader.readuntil(b"\r\n\r\n")  # so the first has been accepted too, and has asked nothing
    # The system has made these, and the service has not accepted them: *turns* of the loop run until the end has begun.
    early = [socket.create_connection(place) for _ in range(5)]
    for one in early:
        one.sendall(request)
        one.setblocking(False)
    for _ in range(turns):
        await asyncio.sleep(0)
    ending = asyncio.create_task(service.aclose())
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(OSError):
        socket.create_connection(place)
    late_writer.write(request)
    async with asyncio.timeout(20):
        assert (await late.readline()).startswith(b"HTTP/1.1 200")
        for one in early:
            assert (await loop.sock_recv(one, 100)).startswith(b"HTTP/1.1 200")
            one.close()
        await ending
    writer.close()
    late_writer.close()


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


async def test_metrics_count_requests_by_route_and_need_a_key(
    start_service: StartService, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("prometheus_client")
    caplog.set_level(logging.INFO, "vi.server.access")
    service = start_service(metrics=True, access_log=True)
    api = await connect(service)
    dataset = await api.create_dataset()
    picture = encode(1, ".png", (20, 20))
    await api.ingest(dataset, {"very private name.png": picture})
    assert (await api("GET", f"{dataset}/assets/none")).status == 404
    await api.raw("GET", f"{service.url}/nothing/here")
    refused = await api.raw("GET", f"{service.url}/metrics")
    assert refused.status == 401
    assert b"vi_" not in refused.body
    key = {"Authorization": f"Bearer {service.secret_key}"}
    answer = await api.raw("GET", f"{service.url}/metrics", headers=key)
    assert answer.status == 200
    told = dict(line.rsplit(" ", 1) for line in answer.body.decode().splitlines() if not line.startswith("#"))
    assert {name: float(told[f"vi_{name}"]) for name in ("datasets", "assets", "asset_bytes", "sessions_open")} == {
        "datasets": 1, "assets": 1, "asset_bytes": len(picture), "sessions_open": 0,
    }  # fmt: skip
    assert float(told["vi_disk_free_bytes"]) > 0
    asset = "/workspaces/{org}/datasets/{dataset}/assets/{asset}"
    assert told[f'vi_requests_total{{method="GET",route="{asset}",status="404"}}'] == "1.0"
    assert told['vi_requests_total{method="none",route="none",status="404"}'] == "1.0"
    assert told['vi_requests_total{method="GET",route="/metrics",status="401"}'] == "1.0"
    async with asyncio.timeout(20):
        while '"path": "/metrics", "status": 200' not in caplog.text:
            await asyncio.sleep(0)
    logged = [json.loads(one.getMessage()) for one in caplog.records if one.name == "vi.server.access"]
    assert [one["key"] for one in logged if one["path"] == "/metrics"] == [None, "owner"]
    text = answer.body.decode()
    assert not [one for one in (service.secret_key, service.organization_id, "private") if one in text]


async def test_without_the_setting_there_are_no_metrics(start_service: StartService, connect: Connect) -> None:
    service = start_service()
    api = await connect(service)
    assert (await api.raw("GET", f"{service.url}/metrics")).status == 404


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DatabaseUnavailableError(), "Work failed: the database cannot be reached"),
        (CommitLostError(), "Work failed: the database went away during a commit"),
        (StoreUnavailableError("SlowDown"), "Work failed: the store of bytes is not available (SlowDown)"),
        (ValueError("of ours"), "Work failed"),
    ],
)
def test_an_outage_is_one_line_of_the_log(error: Exception, said: str, caplog: pytest.LogCaptureFixture) -> None:
    log_failure(error, "Work failed")
    (record,) = caplog.records
    assert (record.getMessage(), bool(record.exc_info)) == (said, isinstance(error, ValueError))


async def test_a_connection_that_breaks_beside_a_request_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    for error in (ConnectionResetError("Cannot write to closing transport"), ValueError("of ours")):
        report_unheard(loop, {"message": "Task exception was never retrieved", "exception": error})
    assert [(one.name, one.exc_info is not None) for one in caplog.records] == [("vi.server", False), ("asyncio", True)]
