"""The example application under uvicorn, with real clients: bytes through in both directions, errors, disconnects."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import openapi_spec_validator
import psutil
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

import vi
from vi import _samples
from vi.fastapi import ViClient, add_error_handlers, cancelled_on_disconnect, lifespan, problem, status_of
from vi.testing import TestedService

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


@attrs.frozen
class Web:
    """The application in a process of its own."""

    url: str
    process: psutil.Process
    temporary: Path


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedService]:
    service = TestedService.start(tmp_path_factory.mktemp("backend") / "data")
    yield service
    service.stop()


@pytest.fixture(autouse=True)
def no_fault_stays(backend: TestedService) -> Iterator[None]:
    yield
    backend.faults.clear()


@pytest.fixture(scope="module")
def web(backend: TestedService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    temporary = tmp_path_factory.mktemp("temporary")
    environment = {**os.environ, **backend.environment, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "fastapi_app:app",
        "--app-dir",
        "docs/examples",
        "--port",
        "0",
        "--no-access-log",
        "--loop",
        "asyncio",  # another is so quick that the picture may be through before it hears of the reader
    ]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"running on (http://\S+)", line):
            break
    else:
        pytest.fail("the application did not start")
    draining = Drain(process.stderr)
    yield Web(found[1], psutil.Process(process.pid), temporary)
    process.terminate()
    process.wait(20)
    draining.check()


class Drain:
    """Reads what the application says, so that it never waits, and looks for tracebacks in it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._text: list[str] = []
        self._thread = threading.Thread(target=lambda: self._text.extend(stream), daemon=True)
        self._thread.start()

    def check(self) -> None:
        self._thread.join(10)
        self._stream.close()
        text = "".join(self._text)
        assert "dtvi_" not in text
        assert "Signature" not in text
        # The one exception that is meant to get through is that of a damaged asset.
        assert [line for line in text.splitlines() if re.match(r"\w*Error", line)] == []


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


@pytest.fixture
def dataset(backend: TestedService) -> str:
    with backend.client() as client:
        return client.datasets.create(name="web").dataset_id


Stored = Callable[[], Awaitable[dict[str, str]]]


@pytest.fixture
def stored(backend: TestedService, dataset: str) -> Stored:
    """Reads what the dataset holds, as name and digest."""

    async def read() -> dict[str, str]:
        async with backend.async_client() as client:
            return {a.filename: a.metadata.hash.contents async for a in client.assets.list(dataset).all_items()}

    return read


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def bitmap(side: int) -> tuple[bytes, int]:
    """The head of a black BMP of *side* pixels and the number of zero bytes that follow it."""
    size = side * side * 3
    head = b"BM" + struct.pack("<IHHI", 54 + size, 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, size, 0, 0, 0, 0), size


async def zeros(head: bytes, count: int) -> AsyncIterator[bytes]:
    yield head
    piece = bytes(256 << 10)
    while count:
        yield piece[:count]
        count -= min(count, len(piece))


def form(files: dict[str, bytes]) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, content in files.items():
        data.add_field("files", content, filename=name)
    return data


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not true():
            await asyncio.sleep(0.01)


async def asset_id(web: Web, http: aiohttp.ClientSession, dataset: str, name: str) -> str:
    async with http.get(f"{web.url}/datasets/{dataset}/images") as answer:
        return str(next(image["id"] for image in await answer.json() if image["name"] == name))


async def test_fifty_clients_at_once(
    web: Web, backend: TestedService, http: aiohttp.ClientSession, dataset: str, stored: Stored
) -> None:
    """Each stores an image, half by form and half as a body, and gets it back unchanged."""
    pictures = {f"image-{n:02d}.png": _samples.encode(n, ".png", (60 + n, 40)) for n in range(50)}

    async def send(number: int, name: str, data: bytes) -> None:
        base = f"{web.url}/datasets/{dataset}/images"
        if number % 2:
            async with http.post(base, data=form({name: data})) as answer:
                assert (answer.status, (await answer.json())["total_succeeded"]) == (200, 1)
        else:
            async with http.put(f"{base}/{name}", data=data) as answer:
                assert (answer.status, await answer.json()) == (201, {"stored": 1})

    await asyncio.gather(*(send(n, name, data) for n, (name, data) in enumerate(pictures.items())))
    assert await stored() == {name: sha(data) for name, data in pictures.items()}

    async with backend.async_client() as client:
        ids = {asset.filename: asset.asset_id async for asset in client.assets.list(dataset).all_items()}

    async def fetch(name: str) -> bytes:
        async with http.get(f"{web.url}/datasets/{dataset}/images/{ids[name]}") as answer:
            assert answer.status == 200
            return await answer.read()

    assert await asyncio.gather(*(fetch(name) for name in pictures)) == list(pictures.values())


def temporary_files(web: Web) -> list[str]:
    """The temporary files that the application has open now."""
    if sys.platform == "win32":  # they have a name while they are open, and to ask for open files takes seconds
        return [path.name for path in web.temporary.iterdir()]
    return [file.path for file in web.process.open_files() if file.path.startswith(str(web.temporary))]


async def test_large_bodies_pass_through_in_bounded_memory(web: Web, http: aiohttp.ClientSession, dataset: str) -> None:
    """100 MB in and 100 MB out, with no file of the application's own."""
    head, count = bitmap(5800)
    size = len(head) + count
    before, highest = web.process.memory_info().rss, 0
    ended = asyncio.Event()

    async def watch() -> set[str]:
        nonlocal highest
        files: set[str] = set()
        while not ended.is_set():
            highest = max(highest, web.process.memory_info().rss)
            files.update(temporary_files(web))
            await asyncio.sleep(0.02)
        return files

    watching = asyncio.create_task(watch())
    headers = {"Content-Length": str(size)}
    url = f"{web.url}/datasets/{dataset}/images/large.bmp"
    async with http.put(url, data=zeros(head, count), headers=headers) as answer:
        assert (answer.status, await answer.json()) == (201, {"stored": 1})
    large = await asset_id(web, http, dataset, "large.bmp")
    received = 0
    async with http.get(f"{web.url}/datasets/{dataset}/images/{large}") as answer:
        async for piece in answer.content.iter_any():
            received += len(piece)
    ended.set()
    assert await watching == set()
    assert received == size
    assert highest - before < 40 * MIB


class TestSending:
    @pytest.fixture
    async def image(self, web: Web, http: aiohttp.ClientSession, dataset: str) -> tuple[str, bytes]:
        data = _samples.encode(3, ".png", (200, 150))
        async with http.put(f"{web.url}/datasets/{dataset}/images/schön%20%22x%22.png", data=data) as answer:
            assert answer.status == 201
        found = await asset_id(web, http, dataset, 'schön "x".png')
        return f"{web.url}/datasets/{dataset}/images/{found}", data

    async def test_the_whole(self, http: aiohttp.ClientSession, image: tuple[str, bytes]) -> None:
        url, data = image
        async with http.get(url) as answer:
            assert (answer.status, await answer.read()) == (200, data)
            assert answer.headers["Content-Type"] == "image/png"
            assert answer.headers["ETag"] == f'"sha256-{sha(data)}"'
            assert answer.headers["Accept-Ranges"] == "bytes"
            assert answer.headers["Content-Disposition"] == "inline; filename*=UTF-8''sch%C3%B6n%20%22x%22.png"
        async with http.head(url) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(data)))
            assert await answer.read() == b""

    @pytest.mark.parametrize(
        ("asked", "start", "end"),
        [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-5", -5, None), ("bytes=10-99999999", 10, None)],
    )
    async def test_a_range(
        self, http: aiohttp.ClientSession, image: tuple[str, bytes], asked: str, start: int, end: int | None
    ) -> None:
        url, data = image
        async with http.get(url, headers={"Range": asked}) as answer:
            assert (answer.status, await answer.read()) == (206, data[start:end])
            first = start if start >= 0 else len(data) + start
            last = first + len(data[start:end]) - 1
            assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}"

    @pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5", "bytes=-"])
    async def test_what_is_no_range_gives_the_whole(
        self, http: aiohttp.ClientSession, image: tuple[str, bytes], asked: str
    ) -> None:
        url, data = image
        async with http.get(url, headers={"Range": asked}) as answer:
            assert (answer.status, await answer.read()) == (200, data)

    async def test_a_range_beyond_the_end(self, http: aiohttp.ClientSession, image: tuple[str, bytes]) -> None:
        url, data = image
        for asked in ("bytes=99999999-", "bytes=-0"):
            async with http.get(url, headers={"Range": asked}) as answer:
                assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(data)}")

    async def test_conditions(self, http: aiohttp.ClientSession, image: tuple[str, bytes]) -> None:
        url, data = image
        tag = f'"sha256-{sha(data)}"'
        for headers, expected in (
            ({"If-None-Match": tag}, 304),
            ({"If-None-Match": f'"a", W/{tag}'}, 304),
            ({"If-None-Match": "*"}, 304),
            ({"If-None-Match": '"other"'}, 200),
            ({"If-Match": tag}, 200),
            ({"If-Match": '"other"'}, 412),
            ({"If-Match": f"W/{tag}"}, 412),
            ({"Range": "bytes=0-0", "If-Range": tag}, 206),
            ({"Range": "bytes=0-0", "If-Range": '"other"'}, 200),
        ):
            async with http.get(url, headers=headers) as answer:
                assert answer.status == expected, headers
                assert answer.headers["ETag"] == tag
                if expected == 304:
                    assert await answer.read() == b""

    async def test_a_known_image_costs_no_transfer(
        self, backend: TestedService, http: aiohttp.ClientSession, image: tuple[str, bytes]
    ) -> None:
        url, data = image
        transfers = backend.faults.delay(0, to="storage", times=None)
        async with http.get(url, headers={"If-None-Match": f'"sha256-{sha(data)}"'}) as answer:
            assert answer.status == 304
        assert transfers.hits == 0

    async def test_a_storage_that_refuses_is_told_by_the_status(
        self, backend: TestedService, http: aiohttp.ClientSession, image: tuple[str, bytes]
    ) -> None:
        backend.faults.status(418, to="storage", times=None)
        async with http.get(image[0]) as answer:
            assert answer.status == 502
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert (await answer.json())["code"] == "EREFUSED"


async def test_readers_who_leave_leave_nothing_open(web: Web, http: aiohttp.ClientSession, dataset: str) -> None:
    head, count = bitmap(3500)  # more than the buffers of all sockets on the way hold
    headers = {"Content-Length": str(len(head) + count)}
    async with http.put(
        f"{web.url}/datasets/{dataset}/images/large.bmp", data=zeros(head, count), headers=headers
    ) as answer:
        assert answer.status == 201
    large = await asset_id(web, http, dataset, "large.bmp")
    readers = [await http.get(f"{web.url}/datasets/{dataset}/images/{large}") for _ in range(20)]
    for reader in readers:
        assert await reader.content.readexactly(1000) == head.ljust(1000, b"\0")
    busy = len(web.process.net_connections())
    for reader in readers:
        reader.close()
    # Each reader had one connection to the application, and the application one to the storage for it.
    await until(lambda: len(web.process.net_connections()) <= busy - 39)


class TestClientsThatGoAway:
    async def held(self, backend: TestedService, request: Any) -> None:
        """Send *request*, and hang up once the transfer to the storage is under way."""
        slow = backend.faults.delay(30, to="storage", method="PUT", times=None)
        cancelled = backend.faults.delay(0, to="api", path="*:cancel", times=None)
        sending = asyncio.create_task(request)
        await until(lambda: slow.hits > 0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await until(lambda: cancelled.hits > 0)

    async def test_a_form(self, web: Web, backend: TestedService, dataset: str, stored: Stored) -> None:
        async def send() -> None:
            async with aiohttp.ClientSession() as session:
                data = form({"one.png": _samples.encode(1, ".png", (20, 10))})
                await session.post(f"{web.url}/datasets/{dataset}/images", data=data)

        await self.held(backend, send())
        assert await stored() == {}

    async def test_a_body_that_had_arrived(
        self, web: Web, backend: TestedService, dataset: str, stored: Stored
    ) -> None:
        async def send() -> None:
            async with aiohttp.ClientSession() as session:
                data = _samples.encode(1, ".png", (20, 10))
                await session.put(f"{web.url}/datasets/{dataset}/images/one.png", data=data)

        await self.held(backend, send())
        assert await stored() == {}

    async def test_a_body_that_breaks_off(self, web: Web, backend: TestedService, dataset: str, stored: Stored) -> None:
        head, count = bitmap(1000)
        begun = asyncio.Event()

        async def half() -> AsyncIterator[bytes]:
            yield head + bytes(count // 2)
            begun.set()
            await asyncio.Event().wait()

        async def send() -> None:
            headers = {"Content-Length": str(len(head) + count)}
            async with aiohttp.ClientSession() as session:
                await session.put(f"{web.url}/datasets/{dataset}/images/one.bmp", data=half(), headers=headers)

        cancelled = backend.faults.delay(0, to="api", path="*:cancel", times=None)
        sending = asyncio.create_task(send())
        await begun.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await until(lambda: cancelled.hits > 0)
        assert await stored() == {}

    async def test_a_watched_upload(self, web: Web, backend: TestedService, dataset: str, stored: Stored) -> None:
        async def send() -> None:
            async with aiohttp.ClientSession() as session:
                data = form({"one.png": _samples.encode(1, ".png", (20, 10))})
                async with session.post(f"{web.url}/datasets/{dataset}/uploads", data=data) as answer:
                    await answer.read()

        await self.held(backend, send())
        assert await stored() == {}


class TestProgress:
    async def events(self, answer: aiohttp.ClientResponse) -> list[tuple[str, dict[str, Any]]]:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        text = (await answer.read()).decode()
        found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)
        assert len(found) == text.count("\n\n")
        return [(name, json.loads(data)) for name, data in found]

    async def test_it_ends_with_the_result(self, web: Web, http: aiohttp.ClientSession, dataset: str) -> None:
        files = {f"{n}.png": _samples.encode(n, ".png", (20, 10)) for n in range(5)} | {"bad.png": b"no picture"}
        async with http.post(f"{web.url}/datasets/{dataset}/uploads", data=form(files)) as answer:
            events = await self.events(answer)
        assert {name for name, _ in events[:-1]} == {"progress"}
        assert (events[-2][1]["finished"], events[-2][1]["files_done"]) == (True, 6)
        name, result = events[-1]
        assert (name, result["total_succeeded"], result["total_failed"]) == ("result", 5, 1)
        assert result["failures"][0]["path"] == "bad.png"

    async def test_or_with_a_problem(self, web: Web, http: aiohttp.ClientSession) -> None:
        files = form({"one.png": _samples.encode(1, ".png", (20, 10))})
        async with http.post(f"{web.url}/datasets/missing/uploads", data=files) as answer:
            events = await self.events(answer)
        name, document = events[-1]
        assert (name, document["status"], document.get("code")) == ("problem", 404, "ResourceNotFound")


class TestProblems:
    async def check(self, answer: aiohttp.ClientResponse, status: int, code: str | None) -> dict[str, Any]:
        document = await answer.json(content_type="application/problem+json")
        assert (answer.status, document["status"], document.get("code")) == (status, status, code)
        assert document["type"] == "about:blank"
        return dict(document)

    async def test_a_missing_dataset(self, web: Web, http: aiohttp.ClientSession) -> None:
        async with http.get(f"{web.url}/datasets/missing/images") as answer:
            document = await self.check(answer, 404, "ResourceNotFound")
        assert document["title"] == "Not Found"
        assert document["request_id"]

    async def test_an_id_that_cannot_be(self, web: Web, http: aiohttp.ClientSession) -> None:
        async with http.get(f"{web.url}/datasets/a.b/images") as answer:
            await self.check(answer, 422, "InvalidParameter")

    async def test_a_body_that_is_no_image(self, web: Web, http: aiohttp.ClientSession, dataset: str) -> None:
        async with http.put(f"{web.url}/datasets/{dataset}/images/bad.png", data=b"no picture") as answer:
            await self.check(answer, 415, "EBADMIME")

    async def test_a_body_that_cannot_be_decoded(self, web: Web, http: aiohttp.ClientSession, dataset: str) -> None:
        broken = _samples.encode(1, ".png", (200, 100))[:-500]
        async with http.put(f"{web.url}/datasets/{dataset}/images/bad.png", data=broken) as answer:
            await self.check(answer, 422, "ECORRUPT")

    async def test_a_body_of_unknown_length(self, web: Web, http: aiohttp.ClientSession, dataset: str) -> None:
        async with http.put(f"{web.url}/datasets/{dataset}/images/one.png", data=zeros(b"", 10)) as answer:
            document = await self.check(answer, 411, None)
        assert document["detail"] == "Send the size of the body as Content-Length."

    @pytest.mark.timeout(30)
    async def test_an_empty_body_is_answered(self, web: Web, http: aiohttp.ClientSession, dataset: str) -> None:
        async with http.put(f"{web.url}/datasets/{dataset}/images/one.png", data=b"") as answer:
            document = await self.check(answer, 422, "EBADSIZE")
        assert "one.png" in document["detail"]

    async def test_a_service_that_is_busy(self, web: Web, backend: TestedService, http: aiohttp.ClientSession) -> None:
        backend.faults.status(429, retry_after=100, times=None)
        async with http.get(f"{web.url}/datasets/missing/images") as answer:
            document = await self.check(answer, 503, "RateLimitExceeded")
            assert answer.headers["Retry-After"] == "100"
        assert document["retry_after"] == 100


async def test_the_description_of_the_application_is_valid(web: Web, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{web.url}/openapi.json") as answer:
        description = await answer.json()
    openapi_spec_validator.validate(description)
    operations = [one for path in description["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for operation in operations:
        for status in ("404", "411", "415", "503"):
            assert list(operation["responses"][status]["content"]) == ["application/problem+json"]


@pytest.mark.parametrize("size", [0, 3, 300_000])
async def test_a_client_that_goes_away_cancels_the_block(size: int) -> None:
    """Whether the body was read, was read in part, or is empty and nobody asks for it."""
    pieces = [b"x" * min(100_000, size - at) for at in range(0, size, 100_000)]
    messages = [
        {"type": "http.request", "body": piece, "more_body": number + 1 < len(pieces)}
        for number, piece in enumerate(pieces)
    ] or [{"type": "http.request", "body": b"", "more_body": False}]
    read = bytearray()

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    request = Request({"type": "http", "method": "PUT", "headers": []}, receive)

    async def endpoint() -> None:
        async with cancelled_on_disconnect(request):
            async for piece in request.stream() if size else no_pieces():
                read.extend(piece)
            await asyncio.Event().wait()

    with pytest.raises(ClientDisconnect):
        await endpoint()
    assert len(read) == size


async def no_pieces() -> AsyncIterator[bytes]:
    """A body that nobody reads."""
    return
    yield b""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (vi.ViAuthenticationError("no"), 500),
        (vi.ViPermissionError("no"), 500),
        (vi.ViConfigurationError("no"), 500),
        (vi.ViPathError("no"), 500),
        (vi.ViFileTooLargeError("big"), 413),
        (vi.ViInvalidFileFormatError("odd"), 415),
        (vi.ViConflictError("two"), 409),
        (vi.ViServerError("bad"), 502),
        (vi.ViNetworkError("bad"), 502),
        (vi.ViTimeoutError("late"), 504),
        (vi.ViUploadError("x", error_code="ENOQUOTA"), 507),
        (vi.ViUploadError("x"), 502),
        (vi.ViOperationError("x"), 500),
    ],
    ids=lambda value: getattr(value, "error_code", value),
)
def test_the_status_of_an_error(error: vi.ViError, status: int) -> None:
    assert status_of(error) == status
    assert (problem(error)["detail"] == error.message) is (status not in (500, 502, 503, 504))


async def test_a_lifespan_of_ones_own_takes_the_client_in(backend: TestedService) -> None:
    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with lifespan(backend.async_client)(app) as state:
            yield {**state, "other": 7}

    app = FastAPI(lifespan=own)

    @app.get("/")
    async def both(request: Request, client: ViClient) -> dict[str, Any]:
        page = await client.organizations.list()
        return {"other": request.state.other, "organization": page.items[0].organization_id}

    with TestClient(app) as web:
        assert web.get("/").json() == {"other": 7, "organization": backend.organization_id}


def test_an_application_without_a_client_says_so() -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/")
    async def index(client: ViClient) -> None: ...

    with TestClient(app) as web:
        answer = web.get("/")
    assert (answer.status_code, answer.json()["code"]) == (500, "ConfigurationError")


@pytest.mark.parametrize(("module", "library"), [("vi.fastapi", "fastapi"), ("vi.otel", "opentelemetry")])
def test_a_missing_extra_is_named(module: str, library: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; import {module}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert f'[{module.removeprefix("vi.")}]"' in done.stderr
