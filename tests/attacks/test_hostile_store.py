"""Row A23: a store of bytes that answers as it likes, and what the service takes from it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from vi.errors import ViConfigurationError
from vi.server import ServiceConfig
from vi.server.objects import StoreUnavailableError

pytest.importorskip("aiobotocore")
from vi.server.s3 import answers, keys
from vi.server.s3 import bucket as bucket_module
from vi.server.s3.address import StoreAddress
from vi.server.s3.bucket import Bucket
from vi.server.s3.store import S3Store

pytestmark = pytest.mark.anyio
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
TOKEN = "token-of-the-session-1234567890"
SECRET = "secret-of-the-store-1234567890"
PLACE = "/bucket/ours/"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "AKIDHOSTILE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_SESSION_TOKEN", TOKEN),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bucket_module, "_PATIENCE", 0.0)


@contextlib.asynccontextmanager
async def hostile(answer: Answer) -> AsyncIterator[tuple[StoreAddress, list[web.BaseRequest]]]:
    """Run a store that has the bucket, and otherwise answers as *answer* says; yields what it is asked."""
    asked: list[web.BaseRequest] = []

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request)
        if request.method == "HEAD" and request.path == "/bucket":
            return web.Response()
        assert isinstance(request, web.Request)
        return await answer(request)

    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{path:.*}", serve)
    async with TestServer(app) as server:
        config = ServiceConfig(store="s3://bucket/ours", store_endpoint=str(server.make_url("")))
        yield StoreAddress.of(config), asked


@contextlib.asynccontextmanager
async def opened(answer: Answer) -> AsyncIterator[tuple[Bucket, list[web.BaseRequest]]]:
    async with hostile(answer) as (address, asked):
        bucket = await Bucket.open(address)
        try:
            yield bucket, asked
        finally:
            await bucket.aclose()


def listing(*found: str, more: str = "") -> web.Response:
    contents = "".join(
        f'<Contents><Key>{key}</Key><Size>1</Size><ETag>"e"</ETag>'
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for key in found
    )
    uploads = "".join(f"<Upload><Key>{key}</Key><UploadId>u</UploadId></Upload>" for key in found)
    rest = f"<IsTruncated>true</IsTruncated>{more}" if more else "<IsTruncated>false</IsTruncated>"
    text = f"<Result>{contents}{uploads}{rest}</Result>"
    return web.Response(text=text, content_type="application/xml")


async def test_A23_a_redirect_of_the_store_is_not_followed() -> None:
    reached: list[str] = []

    async def internal(request: web.BaseRequest) -> web.Response:
        reached.append(str(request.headers))
        return web.Response(body=b"internal")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", internal)
    async with TestServer(app) as elsewhere:
        to = str(elsewhere.make_url("/latest/meta-data"))

        async def answer(request: web.Request) -> web.Response:
            status = int(request.path.rpartition("-")[2])
            return web.Response(status=status, headers={"Location": to, "x-amz-bucket-region": "x@127.0.0.1:1/"})

        async with opened(answer) as (bucket, _):
            for status in (301, 302, 307, 308):
                for call in (bucket.read(f"a-{status}", 100), bucket.put(f"a-{status}", b"bytes", 0)):
                    with pytest.raises(StoreUnavailableError):
                        await call
    assert reached == []


async def test_A23_an_object_is_read_no_further_than_it_is_long(tmp_path: Path) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=206 if "Range" in request.headers else 200)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65536)
        return response

    blob = keys.fresh_blob("s")
    async with opened(endless) as (bucket, _):
        store = S3Store(bucket, tmp_path / "data", redirects=False)
        with pytest.raises(StoreUnavailableError, match="more bytes"):
            await store.read(blob, 3, 7)
        with pytest.raises(StoreUnavailableError, match="more bytes"):
            await store.thumbnail(blob)
        with pytest.raises(StoreUnavailableError, match="more bytes"):
            await store.swept()
        async with store.local([(blob, 1000)]) as (path,):
            assert path.stat().st_size == 1001  # which is not what was announced


async def test_A23_an_answer_that_does_not_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST", 1 << 18)
    status, sent = [0], 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=status[0])
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(2000):
                await response.write(b"<" * 65536)
                sent += 65536
        return response

    async with opened(endless) as (bucket, _):
        for status[0] in (200, 400, 403, 503):
            with pytest.raises(StoreUnavailableError):
                await bucket.listed("")
    assert sent < 64 << 20


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n"
DRIPS = {
    "the head": b"HTTP/1.1 200 OK\r\nX-Amz-Id: ",
    "interim answers": b"HTTP/1.1 102 Processing\r\n\r\n",
    "a listing": HEAD + b"Content-Type: application/xml\r\n\r\n<Result>",
    "an object": HEAD + b"\r\n",
    "an error": HEAD.replace(b"200 OK", b"503 No") + b"\r\n<Error>",
    "nothing, and takes no body": b"",
}


@pytest.mark.parametrize("what", DRIPS)
async def test_A23_a_store_that_drips_is_not_waited_for(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, and the answer never: all waiting for one answer has a limit."""
    monkeypatch.setattr(bucket_module, "_ATTEMPTS", 1)
    given_up = asyncio.Event()

    async def drip(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(DRIPS[what])
        while not given_up.is_set():
            request.transport.write(DRIPS[what] if what == "interim answers" else b"a" if DRIPS[what] else b"")
            await asyncio.sleep(0.02)
        return web.Response()

    async with opened(drip) as (bucket, _):
        monkeypatch.setattr(answers, "SECONDS", 0.3)
        monkeypatch.setattr(answers, "LEAST_RATE", 1 << 30)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "a listing": lambda: bucket.listed(""),
            "an object": lambda: bucket.read("a", 100_000),
            "nothing, and takes no body": lambda: bucket.put("a", bytes(16 << 20), 0),
        }
        with pytest.raises(StoreUnavailableError):
            await calls.get(what, lambda: bucket.size("a"))()
        given_up.set()


async def test_A23_an_object_may_take_as_long_as_its_reader() -> None:
    """Only what the store lets the service wait for counts."""

    async def slow_reader(pieces: list[bytes]) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "SECONDS", 0.2)
        async for piece in answers.in_time(slow_reader([b"a", b"b", b"c"]), 3):
            await asyncio.sleep(0.1)
            found.append(piece)
    assert found == [b"a", b"b", b"c"]


async def test_A23_a_listing_of_ever_new_pages_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "_MOST_PAGES", 5)
    monkeypatch.setattr(bucket_module, "_MOST_FOLDERS", 5)
    page = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal page
        page += 1
        markers = f"<NextKeyMarker>{page}</NextKeyMarker><NextUploadIdMarker>{page}</NextUploadIdMarker>"
        return listing(more=f"<NextContinuationToken>{page}</NextContinuationToken>{markers}")

    async def folders(bucket: Bucket) -> list[list[str]]:
        return [found async for found in bucket.folders("sessions/")]

    async with opened(answer) as (bucket, _):
        for call in (bucket.listed("sessions/"), bucket.abort_all("sessions/"), folders(bucket)):
            with pytest.raises(StoreUnavailableError, match="without an end"):
                await call
    assert page == 15


async def test_A23_a_page_of_more_keys_than_it_may_have_is_refused() -> None:
    async def answer(request: web.Request) -> web.Response:
        return listing(*(f"ours/{number}" for number in range(1001)))

    async with opened(answer) as (bucket, _):
        with pytest.raises(StoreUnavailableError, match="too long"):
            await bucket.listed("")


NO_LISTINGS = [
    b"",
    b"<",
    b"<Result><Contents><Key>ours/a</Key><Size>many</Size></Contents></Result>",
    b"<Result><Contents><Size>1</Size></Contents></Result>",
    b"<Result><Contents><Key>ours/a</Key><Size>1</Size><ETag>e</ETag></Contents></Result>",
    b"<Result><IsTruncated>true</IsTruncated></Result>",
    b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Result><Contents><Key>&b;</Key></Contents></Result>',
    b"\xff\xfe{}",
]


async def test_A23_a_listing_that_is_none_is_refused_by_name() -> None:
    body = [b""]

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body[0], content_type="application/xml")

    async with opened(answer) as (bucket, _):
        for body[0] in NO_LISTINGS:
            with contextlib.suppress(StoreUnavailableError):
                assert await bucket.listed("") == []


ANSWERS = {
    "nothing": b"",
    "another document": b"<Result/>",
    "a text": b"hello",
    "an upload, and no parts": b"<R><UploadId>u</UploadId></R>",
    "empty fields": b"<R><UploadId/><ETag/><CopyPartResult/><Part/><Upload/><CommonPrefixes/><Contents/></R>",
    "negative sizes": b"<R><Part><PartNumber>1</PartNumber><Size>-5</Size><ETag>e</ETag></Part>"
    b"<Contents><Key>ours/a</Key><Size>-1</Size><ETag>e</ETag></Contents></R>",
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_A23_an_answer_without_what_it_must_have_is_no_answer(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call ends with a result of the right kind or says that the store is not available."""
    monkeypatch.setattr(bucket_module, "_ATTEMPTS", 1)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=ANSWERS[what], content_type="application/xml")

    async def folders(bucket: Bucket) -> list[list[str]]:
        return [found async for found in bucket.folders("sessions/")]

    async def pieces() -> AsyncIterator[bytes]:
        yield b"piece"

    refused = 0
    async with opened(answer) as (bucket, _):
        for call in (
            bucket.size("a"), bucket.begin("a", "image/png"), bucket.part("a", "u", 1), bucket.abort_all(""),
            bucket.listed(""), folders(bucket), bucket.put_pieces("a", pieces()), bucket.join("a", ["b", "c"]),
        ):  # fmt: skip
            try:
                found: Any = await call
            except StoreUnavailableError:
                refused += 1
            else:
                assert found is None or isinstance(found, int | str) or found in ([], [[]])
    assert refused >= 2


async def test_A23_a_listing_that_repeats_itself_ends() -> None:
    async def answer(request: web.Request) -> web.Response:
        token = "<NextContinuationToken>t</NextContinuationToken>"
        return listing(more=f"{token}<NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>")

    async with opened(answer) as (bucket, _):
        with pytest.raises(StoreUnavailableError, match="without an end"):
            await bucket.listed("sessions/")
        with pytest.raises(StoreUnavailableError, match="without an end"):
            await bucket.abort_all("sessions/")


FOREIGN = [
    "others/a",
    "ours/sessions/s2/00000000000000000000",
    "ours/../others/b",
    "oursx/sessions/s/in/0",
    "/",
    "\u202e",
]


async def test_A23_keys_that_were_not_asked_for_are_left_alone(tmp_path: Path) -> None:
    doomed: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.method == "DELETE" or (request.method == "POST" and "delete" in request.query):
            doomed.append(request.path + await request.text())
            return web.Response(text="<DeleteResult/>" if request.method == "POST" else "", status=200)
        return listing(*FOREIGN, "ours/sessions/s/in/7")

    async with opened(answer) as (bucket, _):
        store = S3Store(bucket, tmp_path / "data", redirects=False)
        assert [one.index for one in await store.direct.received("s", 100)] == [7]
        assert await store.left("s") == []
        await store.remove_unfinished("s")
        # As rows of a database that somebody else has written to.
        await store.remove(["parts/s", "parts/s/u/x", "parts/../s", "parts//", "../service.json", ""])
    assert doomed
    assert all("ours/sessions/s/in/7" in one for one in doomed)
    assert not any(key in one for one in doomed for key in FOREIGN[:4])


async def test_A23_a_marker_that_is_none_is_refused_in_short_words(tmp_path: Path) -> None:
    body = [b""]

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body[0])

    async with hostile(answer) as (address, _):
        for body[0] in (b"[]", b"\xff", b"[" * 60_000, b'{"organization_id": "\\u001b[2J' + b"x" * 50_000 + b'"}'):
            with pytest.raises(ViConfigurationError) as refused:
                await S3Store.open(address, "acme", tmp_path / "data", redirects=False)
            text = str(refused.value)
            assert len(text) < 400
            assert text.replace("\n", "").isprintable()


async def test_A23_a_time_that_is_none_sweeps_from_the_beginning(tmp_path: Path) -> None:
    swept = ["7"]

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f'{{"organization_id": "acme", "swept": {swept[0]}}}')

    async with opened(answer) as (bucket, _):
        store = S3Store(bucket, tmp_path / "data", redirects=False)
        assert await store.swept() == 7
        for swept[0] in ("1e999", str(10**400), "-5", '"7"', "null", "[]", "true"):
            assert await store.swept() == 0


async def test_A23_no_secret_of_the_store_is_in_an_error_or_in_our_log(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(request: web.Request) -> web.Response:
        echoed = f"<Error><Code>{TOKEN} {request.headers.get('Authorization')}</Code></Error>"
        return web.Response(status=403, text=echoed)

    with pytest.raises(ViConfigurationError, match="must be s3://BUCKET") as misused:
        StoreAddress.of(ServiceConfig(store=f"s3://AKID:{SECRET}@bucket/ours"))
    caplog.set_level(1)
    async with opened(answer) as (bucket, _):
        with pytest.raises(StoreUnavailableError) as refused:
            await bucket.read("a", 10)
        url = await bucket.link("a", "image/png", "GET")
    shown = [str(misused.value), str(refused.value), repr(bucket), repr(refused.value)]
    shown += [record.getMessage() for record in caplog.records if record.name.startswith("vi")]
    signature = url.rpartition("Signature=")[2]
    for secret in (TOKEN, SECRET, "Signature=", signature):
        assert not [text for text in shown if secret in text]
    assert logging.getLogger("vi.server").isEnabledFor(1)
