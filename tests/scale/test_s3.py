"""Bytes in an S3 store: what clients are promised, what a store that is away leaves, whose a bucket is."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from PIL import Image

import vi
from tests.support.seaweed import Seaweed
from vi import _checksums, _samples
from vi.errors import ViConfigurationError
from vi.server import ServiceConfig, serve

pytest.importorskip("aiobotocore")

from vi.server.objects import StoreUnavailableError
from vi.server.s3.address import StoreAddress
from vi.server.s3.bucket import Bucket
from vi.server.s3.store import S3Store, _Room
from vi.server.sweeping import GRACE_MS, SessionSweep

pytestmark = [pytest.mark.anyio, pytest.mark.scale]

MIB = 1 << 20


@pytest.fixture
def settings(seaweed: Seaweed) -> dict[str, str]:
    return seaweed.create()


def client_of(service: Any) -> vi.AsyncClient:
    # Patient: how long a store needs to start again is up to the machine.
    return vi.AsyncClient(
        secret_key=service.secret_key, organization_id=service.organization_id, endpoint=service.url, retries=30
    )


def large_bmp(side: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((side, side), 90).convert("RGB").save(file, "BMP")
    return file.getvalue()


async def test_everything_passes_the_client_and_nothing_stays(
    seaweed: Seaweed, settings: dict[str, str], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    _samples.make_samples(images, count=12, size=(60, 40))
    large = large_bmp(2400)  # 17 MB: four parts, which the store joins
    assert len(large) > 16 * MIB
    (images / "large.bmp").write_bytes(large)
    config = ServiceConfig(**settings, part_bytes=5 * MIB)
    async with await serve(tmp_path / "data", config=config) as service, client_of(service) as client:
        dataset = (await client.datasets.create(name="x")).dataset_id
        result = await client.assets.upload(dataset, images)
        assert result.total_succeeded == 13
        assert (await client.assets.verify(dataset, images)).ok
        down = await client.assets.download(dataset, tmp_path / "down")
        assert down.total_failed == 0
        assert (await client.assets.read(dataset, filename="large.bmp")) == large
        async with client.assets.open(dataset, filename="large.bmp") as stream:
            assert b"".join([piece async for piece in stream]) == large
        keys = seaweed.keys(settings)
        assert len([key for key in keys if key.startswith("sessions/") and not key.endswith(".thumbnail")]) == 13
        assert list((tmp_path / "data" / "bytes" / "staging").iterdir()) == []
        await client.datasets.delete(dataset)
        assert seaweed.keys(settings) == ["service.json"]


async def test_a_download_is_answered_by_the_store_as_the_protocol_says(
    settings: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "vi")
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            await serve(tmp_path / "data", config=ServiceConfig(**settings, access_log=True))
        )
        client = await stack.enter_async_context(client_of(service))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        dataset = (await client.datasets.create(name="x")).dataset_id
        _samples.make_samples(tmp_path / "images", count=1)
        (path,) = (tmp_path / "images").iterdir()
        data = path.read_bytes()
        await client.assets.upload(dataset, path)
        (asset,) = [one async for one in client.assets.list(dataset, contents=True, thumbnails=True).all_items()]
        url = asset.contents.asset.url
        async with session.get(url, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Cache-Control"]) == (307, "no-store")
            signed = answer.headers["Location"]
        async with session.get(url) as answer:
            assert await answer.read() == data
            assert answer.headers["Content-Type"].startswith("image/")
            etag = answer.headers["ETag"]
        cases: list[tuple[str, dict[str, str], int, bytes]] = [
            ("GET", {"Range": "bytes=10-19"}, 206, data[10:20]),
            ("GET", {"Range": "bytes=10-19", "If-Match": etag}, 206, data[10:20]),
            ("GET", {"If-Match": '"another"'}, 412, b""),
            ("GET", {"If-None-Match": etag}, 304, b""),
            ("GET", {"Range": f"bytes={len(data)}-"}, 416, b""),
            ("HEAD", {}, 200, b""),
        ]
        for method, headers, status, body in cases:
            async with session.request(method, url, headers=headers) as answer:
                assert answer.status == status, (method, headers)
                if status in (200, 206):
                    assert await answer.read() == body
                    assert answer.headers["ETag"] == etag
        await client.assets.delete(dataset, asset.asset_id)
        for place in (url, signed):
            async with session.get(place) as answer:
                assert answer.status == 404
    assert "X-Amz-" not in caplog.text
    assert "tests-secret" not in caplog.text


def _ignore_resets() -> None:
    """Nobody takes the error of a task of aiohttp whose connection is closed before it writes: the request has it."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    assert before is not None

    def handle(loop: Any, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), aiohttp.ClientConnectionResetError):
            before(loop, context)

    loop.set_exception_handler(handle)


@pytest.mark.timeout(300)
async def test_a_store_that_is_killed_for_a_while_loses_nothing(
    seaweed: Seaweed, settings: dict[str, str], tmp_path: Path
) -> None:
    images = tmp_path / "images"
    _samples.make_samples(images, count=120, size=(40, 30))
    async with (
        await serve(tmp_path / "data", config=ServiceConfig(**settings)) as service,
        client_of(service) as client,
    ):
        _ignore_resets()
        dataset = (await client.datasets.create(name="x")).dataset_id
        stored = asyncio.Event()

        def seen(event: Any) -> None:
            if event.files_sent >= 10:
                stored.set()

        upload = asyncio.create_task(client.assets.upload(dataset, images, on_progress=seen))
        await stored.wait()
        await asyncio.to_thread(seaweed.stop)
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{service.url}/healthz/ready") as answer:
                assert answer.status == 200
        finally:
            await asyncio.to_thread(seaweed.start)
        result = await upload
        assert (result.total_succeeded, result.total_failed) == (120, 0)
        assert (await client.assets.verify(dataset, images)).ok
        assert (await client.datasets.get(dataset)).statistic.asset_total == 120


@pytest.mark.parametrize("downloads", ["redirect", "through"])
async def test_while_the_store_is_away_a_request_is_503_with_a_time(
    seaweed: Seaweed, settings: dict[str, str], tmp_path: Path, downloads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vi.server.s3.bucket._PATIENCE", 0.0)
    config = ServiceConfig(**settings, downloads=downloads)
    _samples.make_samples(tmp_path / "images", count=1)
    async with await serve(tmp_path / "data", config=config) as service, client_of(service) as client:
        dataset = (await client.datasets.create(name="x")).dataset_id
        await client.assets.upload(dataset, tmp_path / "images")
        (asset,) = [one async for one in client.assets.list(dataset, contents=True, thumbnails=True).all_items()]
        seaweed.stop()
        try:
            async with aiohttp.ClientSession() as session:
                urls = [asset.contents.thumbnail.url]
                urls += [asset.contents.asset.url] * (downloads == "through")
                for url in urls:
                    async with session.get(url) as answer:
                        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert len([one async for one in client.assets.list(dataset).all_items()]) == 1, "rows need no store"
            await client.assets.delete(dataset, asset.asset_id)
        finally:
            seaweed.start()
        async with asyncio.timeout(30):
            while seaweed.keys(settings) != ["service.json"]:  # tried again in the background
                await asyncio.sleep(0.05)


async def test_bytes_that_change_on_the_way_to_the_store_are_refused(settings: dict[str, str]) -> None:
    bucket = await Bucket.open(StoreAddress.of(ServiceConfig(**settings)))
    async with contextlib.aclosing(bucket):
        with pytest.raises(StoreUnavailableError, match="BadDigest"):
            await bucket.put("a", b"others", _checksums.crc32c(b"bytes"))
        with pytest.raises(FileNotFoundError):
            await bucket.read("a", 10)


@pytest.mark.parametrize("deleted", [False, True], ids=["kept", "dataset deleted"])
async def test_an_object_that_a_crash_left_goes_with_its_session(
    seaweed: Seaweed, settings: dict[str, str], tmp_path: Path, deleted: bool
) -> None:
    _samples.make_samples(tmp_path / "images", count=2)
    ahead = 0
    from vi.server.lifecycle import wall_clock

    async with await serve(
        tmp_path / "data", config=ServiceConfig(**settings), clock=lambda: wall_clock() + ahead
    ) as service:
        async with client_of(service) as client:
            dataset = (await client.datasets.create(name="x")).dataset_id
            await client.assets.upload(dataset, tmp_path / "images")
        before = seaweed.keys(settings)
        assert service._running is not None
        context = service._running._app[vi.server.context.CONTEXT]
        store = context.blobs
        assert isinstance(store, S3Store)
        session = next(key for key in before if key.startswith("sessions/")).split("/")[1]
        left = await store.put(b"left by a crash", session)
        staged = store.stage()
        await staged.write(b"a part")
        await staged.finish()
        await store.adopt_part(staged, session, "u", "1.0123456789abcdef")
        # Another process may have replaced an object while its thumbnail was made.
        await store.put_thumbnails([(f"{session}.{'0' * 20}", b"of an object that is gone")])
        key = settings["store"].split("/", 3)[3]
        seaweed.client.put_object(Bucket="vi-tests", Key=f"{key}/sessions/{session}/in/0", Body=b"sent too late")
        late = "sessions/of-another-service/0123456789abcdef0123"
        seaweed.client.put_object(Bucket="vi-tests", Key=f"{key}x/{late}", Body=b"not below the prefix")
        if deleted:
            async with client_of(service) as client:
                await client.datasets.delete(dataset)
            before = ["service.json"]
        sweep = SessionSweep(
            context.database, store, service.organization_id, lambda: wall_clock() + ahead, context.removal.remove
        )
        assert len(seaweed.keys(settings)) == len(before) + 4
        await sweep.sweep()
        assert await store.read(left, 0, 4) == b"left", "not before the time of grace"
        ahead = 2 * GRACE_MS
        await sweep.sweep()
        assert seaweed.keys(settings) == before
        assert seaweed.keys({"store": settings["store"] + "x"}) == [late]


async def test_copies_are_bounded_and_gone_after_the_block(settings: dict[str, str], tmp_path: Path) -> None:
    address = StoreAddress.of(ServiceConfig(**settings))
    async with contextlib.aclosing(await S3Store.open(address, "acme", tmp_path / "bytes", redirects=True)) as store:
        blob = await store.put(b"here", "s1")
        gone = f"s1.{'0' * 20}"
        async with store.local([(blob, 4), (gone, 4)]) as (kept, missing):
            assert kept.read_bytes() == b"here"
            assert not missing.exists()
        assert list((tmp_path / "bytes" / "staging").iterdir()) == []
        with pytest.raises(FileNotFoundError):
            await store.read("../service.json", 0, 4)
    room, order = _Room(10), []

    async def take(name: str, size: int, hold: asyncio.Event) -> None:
        async with room.taking(size):
            order.append(name)
            await hold.wait()

    first, rest = asyncio.Event(), asyncio.Event()
    rest.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(take("first", 6, first))
        group.create_task(take("more than there is", 99, rest))
        group.create_task(take("small, but later", 1, rest))
        for _ in range(10):
            await asyncio.sleep(0)
        assert order == ["first"]
        first.set()
    assert order == ["first", "more than there is", "small, but later"]


async def test_services_with_a_folder_each_are_one_service(
    postgres: Any, seaweed: Seaweed, settings: dict[str, str], tmp_path: Path
) -> None:
    _samples.make_samples(tmp_path / "images", count=8)
    config = ServiceConfig(**settings, database=postgres.create())
    for mistaken in ({"store": "s3://vi-tests-none"}, {"store": None, "uploads": "direct"}):
        with pytest.raises(ViConfigurationError):  # a start that fails keeps nothing of what it named
            await serve(tmp_path / "one", config=attrs.evolve(config, **mistaken))
    async with contextlib.AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(await serve(tmp_path / name, config=config)) for name in ("one", "two")
        ]
        writer, reader = [await stack.enter_async_context(client_of(one)) for one in (first, second)]
        dataset = (await writer.datasets.create(name="x")).dataset_id
        assert (await writer.assets.upload(dataset, tmp_path / "images")).total_succeeded == 8
        assert (await reader.assets.verify(dataset, tmp_path / "images")).ok
        assert (await reader.assets.download(dataset, tmp_path / "down")).total_downloaded == 8
        await reader.datasets.delete(dataset)
        assert seaweed.keys(settings) == ["service.json"]
    for store, said in (
        (None, "are in s3://.*, not in the folder"),
        (seaweed.create()["store"], "are in .*, not in s3"),
    ):
        for folder in ("two", "new"):
            with pytest.raises(ViConfigurationError, match=said):
                await serve(tmp_path / folder, config=attrs.evolve(config, store=store))


async def test_a_bucket_and_a_folder_belong_together(
    seaweed: Seaweed, settings: dict[str, str], tmp_path: Path
) -> None:
    config = ServiceConfig(**settings)
    async with await serve(tmp_path / "data", config=config):
        pass
    wrong: list[tuple[str, ServiceConfig | None, str]] = [
        ("data", None, r"are in s3://vi-tests/test\d+"),
        ("data", ServiceConfig(**seaweed.create()), "are in .*, not in"),
        ("other", config, "belongs to organization"),
        ("third", attrs.evolve(config, store="s3://vi-tests-none"), "no bucket vi-tests-none"),
        ("third", attrs.evolve(config, store="gs://bucket"), "must be s3://BUCKET"),
        ("third", attrs.evolve(config, store_endpoint="ftp://x"), "must be an address"),
        ("third", attrs.evolve(config, store_endpoint="http://127.0.0.1:1"), "cannot be reached"),
    ]
    for folder, settings_, message in wrong:
        with pytest.raises(ViConfigurationError, match=message):
            await serve(tmp_path / folder, config=settings_)
    async with await serve(tmp_path / "plain"):
        pass
    with pytest.raises(ViConfigurationError, match="bytes of its own"):
        await serve(tmp_path / "plain", config=config)


async def test_wrong_keys_are_said_at_the_start(
    settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(ViConfigurationError, match="refuses the service"):
        await serve(tmp_path / "data", config=ServiceConfig(**settings))
