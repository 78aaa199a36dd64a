"""Clients that send to the store itself, and fetch from it: our client, the settings, the signatures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web

import vi
from tests.faults.proxy import Exchange, Proxy
from tests.support.seaweed import Seaweed
from vi import _samples
from vi.errors import ViConfigurationError
from vi.server import ServiceConfig, serve

pytest.importorskip("aiobotocore")

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from vi.server.s3.presigning import Presigner

pytestmark = [pytest.mark.anyio, pytest.mark.scale]


async def test_no_byte_passes_the_service(seaweed: Seaweed, tmp_path: Path) -> None:
    images, settings = tmp_path / "images", seaweed.create()
    _samples.make_samples(images, count=40, size=(60, 40))
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    asked: Counter[str] = Counter()

    @web.middleware
    async def count(request: web.Request, handler: Any) -> web.StreamResponse:
        asked[request.path.split("/")[1]] += 1
        answer: web.StreamResponse = await handler(request)
        return answer

    async with (
        await serve(
            tmp_path / "data", config=ServiceConfig(**settings, uploads="direct"), middlewares=[count]
        ) as service,
        vi.AsyncClient(
            secret_key=service.secret_key, organization_id=service.organization_id, endpoint=service.url
        ) as client,
    ):
        dataset = (await client.datasets.create(name="x")).dataset_id
        result = await client.assets.upload(dataset, images, failure_mode="FailAfterAll")
        assert (result.total_succeeded, [(one.filename, one.code) for one in result.failures]) == (
            40,
            [("broken.jpg", "ECORRUPT")],
        )
        down = await client.assets.download(dataset, tmp_path / "down")
        assert (down.total_failed, down.total_files) == (0, 40)
        assert set(asked) == {"workspaces"}
        await client.datasets.delete(dataset)
        assert seaweed.keys(settings) == ["service.json"]


async def test_damage_on_the_way_to_the_store_is_heard_at_once(seaweed: Seaweed, tmp_path: Path) -> None:
    images = tmp_path / "images"
    _samples.make_samples(images, count=4, size=(60, 40))

    async def damage(x: Exchange) -> None:
        body = await x.read()
        await x.send(await x.forward(bytes([body[0] ^ 1]) + body[1:]))

    proxy = Proxy(seaweed.endpoint)
    proxy.plan(damage, "PUT", "/in/1$", at=1, name="once")
    always = proxy.plan(damage, "PUT", "/in/2$", at=None, name="always")
    config = ServiceConfig(**seaweed.create(), uploads="direct", store_public_url=proxy.url)
    retries = vi.RetryPolicy(max_attempts=3, backoff=0.01)
    try:
        async with (
            await serve(tmp_path / "data", config=config) as service,
            vi.AsyncClient(service.secret_key, service.organization_id, service.url, retries=retries) as client,
        ):
            dataset = (await client.datasets.create(name="x")).dataset_id
            result = await client.assets.upload(dataset, images, failure_mode="FailAfterAll")
            (failure,) = result.failures
            assert (result.total_succeeded, failure.code, always.fired) == (3, "ECORRUPT", 3)
            assert "BadDigest" in failure.message
            assert (await client.assets.verify(dataset, images)).only_local == [failure.filename]
            (session,) = result.sessions
            assert session.status.finished, "its end is not waited for"
    finally:
        proxy.close()


async def test_a_store_that_was_there_is_waited_for_longer_than_an_address_that_never_answered(
    seaweed: Seaweed, tmp_path: Path
) -> None:
    _samples.make_samples(tmp_path / "images", count=12, size=(60, 40))
    proxy = Proxy(seaweed.endpoint)

    async def go_away(x: Exchange) -> None:
        await x.send(await x.forward())
        proxy.later(0, proxy.go_away)
        proxy.later(1.5, proxy.come_back)

    proxy.plan(go_away, "PUT", "/in/3$", name="away")
    config = ServiceConfig(**seaweed.create(), uploads="direct", store_public_url=proxy.url)
    patience = vi.RetryPolicy(connect_patience=1.0, backoff=0.05)
    limits = vi.TransferLimits(max_concurrency=2)
    try:
        async with (
            await serve(tmp_path / "data", config=config) as service,
            vi.AsyncClient(
                service.secret_key, service.organization_id, service.url, retries=patience, limits=limits
            ) as client,
        ):
            dataset = (await client.datasets.create(name="x")).dataset_id
            result = await client.assets.upload(dataset, tmp_path / "images", failure_mode="FailAfterAll")
            assert (result.total_succeeded, result.total_failed) == (12, 0), result.summary()
    finally:
        proxy.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"uploads": "direct"}, "--uploads direct needs an S3 store"),
        ({"downloads": "direct"}, "--downloads direct needs an S3 store"),
        ({"uploads": "direct", "store": "s3://bucket", "download_url_seconds": 700_000}, "at most 604800 seconds"),
    ],
)
async def test_what_the_store_cannot_do_is_refused_at_the_start(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ViConfigurationError, match=said):
        await serve(tmp_path, config=ServiceConfig(**settings))


@pytest.mark.parametrize("token", [None, "temporary/+=token"])
@pytest.mark.parametrize("host", ["http://127.0.0.1:8333/bucket/a", "https://bucket.s3.eu-west-1.amazonaws.com:443"])
async def test_signatures_are_those_of_the_vendor(
    monkeypatch: pytest.MonkeyPatch, host: str, token: str | None
) -> None:
    keys = ReadOnlyCredentials("KEY", "secret", token)

    def theirs(method: str, url: str, headers: dict[str, str], seconds: int = 60) -> str:
        request = AWSRequest(method, url, headers=headers)
        S3SigV4QueryAuth(keys, "s3", "eu-west-1", expires=seconds).add_auth(request)
        return str(request.url)

    headers = {"Content-Type": "image/png", "Content-Length": "12", "x-amz-checksum-crc32c": "AAAAAA=="}
    for _ in range(3):  # they may sign in another second
        example = theirs("GET", f"{host}/example", {})
        ours = Presigner(example, "example", "KEY", "secret", token)
        name = "x-vi-name=%2Fs%C3%BC%C3%9F%20%26.png"
        pairs = [
            (ours.upload("sessions/s/in/1", 60, headers), theirs("PUT", f"{host}/sessions/s/in/1", headers)),
            (
                ours.part("sessions/s/b", "u_1+/", 3, 60, {}),
                theirs("PUT", f"{host}/sessions/s/b?partNumber=3&uploadId=u_1%2B%2F", {}),
            ),
            (
                ours.download("sessions/s/b", "image/png", "süß &.png", 60),
                theirs("GET", f"{host}/sessions/s/b?response-content-type=image%2Fpng&{name}", {}),
            ),
            (ours.picture("sessions/s/b.thumbnail", 60), theirs("GET", f"{host}/sessions/s/b.thumbnail", {})),
        ]
        if len({dict(parse_qsl(urlsplit(url).query))["X-Amz-Date"] for pair in pairs for url in pair}) == 1:
            break
    for mine, other in pairs:
        assert urlsplit(mine)[:3] == urlsplit(other)[:3]
        assert sorted(parse_qsl(urlsplit(mine).query)) == sorted(parse_qsl(urlsplit(other).query))
