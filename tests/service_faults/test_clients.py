"""Clients that do not read, do not write, or come by the thousand (row S10)."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.service_faults.conftest import Served, Stage
from tests.service_faults.scenario import SOURCE, Client

pytestmark = pytest.mark.anyio


async def connect_to(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with a small buffer, so that little is taken without being read."""
    address = urlsplit(url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (address.hostname, address.port))
    return await asyncio.open_connection(sock=sock, limit=1)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not reached():
            await asyncio.sleep(0.01)


async def left_alone(service: Any, request: bytes) -> None:
    """Send a request, read no answer, and wait until the service has let go of the connection."""
    tasks = len(asyncio.all_tasks(service.loop))
    _, writer = await connect_to(service.url)
    writer.write(request)
    await until(lambda: len(asyncio.all_tasks(service.loop)) > tasks)
    await until(lambda: len(asyncio.all_tasks(service.loop)) <= tasks)
    writer.transport.abort()


async def test_a_download_that_is_not_read_is_given_up(start_service: Any, connect: Any, picture: Any) -> None:
    api = await connect(start_service(body_seconds=0.4))
    dataset = await api.create_dataset()
    data = picture(1, width=3000, height=2000, format="BMP")
    file = {"filename": "a.bmp", "kind": "Image", "mime": "image/bmp", "size": len(data)}
    session = await api.open_session(dataset, {}, assets=[file])
    await api.put_all(session, {"a.bmp": data})
    await api.ended(session)
    (asset,) = await api.assets(dataset, contents="y")
    url = urlsplit(asset["contents"]["asset"]["url"])
    await api.session.close()
    await until(lambda: not [t for t in asyncio.all_tasks(api.service.loop) if "RequestHandler" in repr(t)])
    await left_alone(api.service, f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


async def test_a_client_that_leaves_is_no_fault_to_tell_of(
    start_service: Any, connect: Any, picture: Any, caplog: pytest.LogCaptureFixture
) -> None:
    api = await connect(start_service())
    dataset = await api.create_dataset()
    data = picture(1, width=3000, height=2000, format="BMP")
    file = {"filename": "a.bmp", "kind": "Image", "mime": "image/bmp", "size": len(data)}
    session = await api.open_session(dataset, {}, assets=[file])
    await api.put_all(session, {"a.bmp": data})
    await api.ended(session)
    (asset,) = await api.assets(dataset, contents="y")
    url = urlsplit(asset["contents"]["asset"]["url"])
    await api.session.close()
    reader, writer = await connect_to(api.service.url)
    writer.write(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await reader.readexactly(100_000)
    writer.transport.abort()
    await until(lambda: not [t for t in asyncio.all_tasks(api.service.loop) if "RequestHandler" in repr(t)])
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_answers_that_are_not_read_are_given_up(start_service: Any) -> None:
    service = start_service(body_seconds=0.4)
    await left_alone(service, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 60_000)


async def test_a_slow_reader_gets_everything(start_service: Any, connect: Any, picture: Any) -> None:
    api = await connect(start_service(body_seconds=0.5))
    dataset = await api.create_dataset()
    data = picture(1, width=600, height=500, format="BMP")
    file = {"filename": "a.bmp", "kind": "Image", "mime": "image/bmp", "size": len(data)}
    session = await api.open_session(dataset, {}, assets=[file])
    await api.put_all(session, {"a.bmp": data})
    await api.ended(session)
    (asset,) = await api.assets(dataset, contents="y")
    url = urlsplit(asset["contents"]["asset"]["url"])
    reader, writer = await connect_to(api.service.url)
    writer.write(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    received = bytearray()
    while piece := await reader.read(64 << 10):
        received += piece
        await asyncio.sleep(0.005)  # the pace of the client is what is tested
    assert bytes(received).endswith(data)
    writer.close()
    await writer.wait_closed()


def memory(served: Served) -> int:
    """Bytes of memory that the service's process holds."""
    return int(psutil.Process(served.pid).memory_info().rss)


@pytest.fixture
def served(stage: Stage, tmp_path: Path) -> Any:
    served = Served(stage, tmp_path)
    served.revive()
    yield served
    served.stop()


async def test_a_thousand_connections_that_say_nothing_cost_little(served: Served) -> None:
    client = Client(served.revive)
    client.api("GET", client.organization)
    before = memory(served)
    url = served.revive()["url"]
    # One more than are taken, all in the middle of a head: whoever shows a key is let in all the same.
    held = [await connect_to(url) for _ in range(1001)]
    for _, writer in held:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    await asyncio.to_thread(client.api, "GET", client.organization)
    assert memory(served) - before < 40 << 20
    for _, writer in held:
        writer.transport.abort()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.faults)])
async def test_open_sessions_cost_little_memory(served: Served, connect: Any, count: int) -> None:
    api = await connect(Told(served.revive()))
    dataset = await api.create_dataset()

    async def open_sessions(names: range) -> None:
        for name in names:
            body = api.announce({f"{name}.png": b"x"})
            assert (await api("POST", dataset + SOURCE + "/assetIngestionSessions", body)).status == 201

    await open_sessions(range(100))
    before = memory(served)
    await asyncio.gather(*(open_sessions(range(100 + lane, count, 16)) for lane in range(16)))
    grown = memory(served) - before
    print(f"{count} open sessions: {grown / 1e6:.1f} MB more, {memory(served) / 1e6:.0f} MB in all")
    assert grown < (24 << 20) + count * 1500
    assert (await api("GET", dataset)).status == 200


class Told:
    """What a service told of itself, as `Api` wants it."""

    def __init__(self, told: dict[str, str]) -> None:
        self.url = told["url"]
        self.secret_key = told["secret_key"]
        self.organization_id = told["organization_id"]
