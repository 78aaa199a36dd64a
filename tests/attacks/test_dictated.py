"""Rows A3 to A5: what a service may dictate about a transfer, the addresses it may lead to, and the ids it may give."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

import vi
from tests.support.protocol_documents import document
from vi import _wire, _wire_fast
from vi._connections import Connections
from vi._sockets import LINK, MACHINE, PRIVATE, PUBLIC, AddressRefused, Reach, nearness
from vi._transfer import byte_ranges, dictated
from vi._transfer.outcomes import TransferFailed
from vi._transfer.signed import signed_transfer
from vi.api.resources.datasets.assets.responses import Asset, AssetIngestionSession
from vi.api.resources.datasets.responses import BulkAssetDeletionSession, Dataset

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "method",
    [
        "GET",
        "DELETE",
        "get",
        "PATCH",
        "CONNECT",
        "TRACE",
        "",
        "PUT /x HTTP/1.1\r\nX: y",
        "PUT\n",
        "trace",
        "po\u017ft",
        b"PUT",
        None,
        5,
        ["PUT"],
    ],
)
def test_A3_parts_are_put_or_posted(method: Any) -> None:
    with pytest.raises(dictated.DictatedError):
        dictated.method(method, dictated.UPLOAD_METHODS)
    assert [dictated.method(m, dictated.UPLOAD_METHODS) for m in ("PUT", "post")] == ["PUT", "POST"]


@pytest.mark.parametrize(
    "name",
    [
        "Metadata-Flavor", "Metadata", "X-Google-Metadata-Request", "X-aws-ec2-metadata-token", "X-Forwarded-For", "Origin",
        "X-HTTP-Method-Override", "Authorization", "Cookie", "Host", "Content-Length", "Transfer-Encoding", "Range", "Via",
        "x-goog-", "x-goog-\r\nx", "content type", "", "\ud800", "X-Amz-\xe4", "x-goog-" + "a" * 200,
        "If-\u0131", "x-goog-\u212aey", "X-Goog-Authenticated-User-Email", "X-Goog-IAP-JWT-Assertion", "x-ms-client-principal",
        "X-MS-CLIENT-PRINCIPAL-ID", "x-ms-token-aad-access-token", "Connection", "TE", "Trailer", "Upgrade", "Expect",
        "transfer-encoding", "Forwarded", "X-Original-URL",
    ],
)  # fmt: skip
def test_A3_headers_are_those_of_storages_and_nothing_else(name: str) -> None:
    with pytest.raises(dictated.DictatedError):
        dictated.headers({name: "x"})


@pytest.mark.parametrize("value", ["a\r\nb", "a\0", "\x1b[2J", "\u2028", "a" * 9000, 5, None])
def test_A3_values_of_headers_are_of_one_line(value: Any) -> None:
    with pytest.raises(dictated.DictatedError):
        dictated.headers({"x-goog-meta-a": value})


def test_A3_what_real_storages_sign_is_sent() -> None:
    real = {
        "Content-Type": "image/png", "Content-MD5": "x", "x-goog-content-length-range": "0,5", "x-goog-hash": "crc32c=",
        "x-amz-acl": "private", "x-amz-checksum-crc32c": "x", "x-amz-server-side-encryption": "AES256", "x-ms-blob-type": "BlockBlob",
        "x-ms-version": "2023-11-03", "If-None-Match": "*", "Cache-Control": "no-store", "Content-Disposition": "inline",
    }  # fmt: skip
    assert dictated.headers(real) == real
    assert dictated.reported_headers(["ETag", "x-goog-hash", "x-amz-checksum-crc32c", "x-ms-request-id"])


@pytest.mark.parametrize(
    "names", [["X-Internal-Token"], ["Set-Cookie"], ["Authorization"], [5], "ETag", ["ETag"] * 100, [""]]
)
def test_A3_of_an_answer_only_what_storages_say_is_reported(names: Any) -> None:
    with pytest.raises(dictated.DictatedError):
        dictated.reported_headers(names)


def test_A3_a_body_is_reported_only_from_the_sessions_own_storage() -> None:
    known = frozenset({"https://storage.example"})
    assert dictated.reported_body(True, "https://storage.example", known)
    assert not dictated.reported_body(False, "https://inner.example", known)
    with pytest.raises(dictated.DictatedError):
        dictated.reported_body(True, "https://inner.example", known)


@pytest.mark.parametrize("count", [0, -1, 10_001, 8_000_000, 1 << 40, 10**400, 1.0, "5", None, True])
def test_A3_parts_are_at_most_ten_thousand(count: Any) -> None:
    with pytest.raises(dictated.DictatedError):
        dictated.part_count(count, 64 << 20)


@pytest.mark.parametrize("size", [1 << 50, (1 << 63) - 1])
def test_A3_a_size_that_nobody_has_makes_no_endless_list(size: int) -> None:
    assert len(byte_ranges.ranges(size, 1 << 20)) <= byte_ranges.MAX_RANGES


NEAR = {
    "8.8.8.8": PUBLIC, "2606:4700::1111": PUBLIC, "10.0.0.1": PRIVATE, "192.168.1.1": PRIVATE, "172.16.0.1": PRIVATE,
    "168.63.129.16": LINK, "::ffff:168.63.129.16": LINK, "168.63.129.17": PUBLIC, "192.0.0.192": PRIVATE, "3fff::1": PRIVATE,
    "5f00::1": PRIVATE, "100.64.0.1": PRIVATE, "fd00::1": PRIVATE, "169.254.169.254": LINK, "fe80::1%eth0": LINK, "127.0.0.1": MACHINE,
    "127.9.9.9": MACHINE, "::1": MACHINE, "0.0.0.0": MACHINE, "::": MACHINE, "::ffff:127.0.0.1": MACHINE,
    "::ffff:10.0.0.1": PRIVATE, "64:ff9b::a9fe:a9fe": LINK, "2002:7f00:1::": MACHINE, "224.0.0.1": PRIVATE, "ff02::1": PRIVATE,
    "nonsense": PRIVATE, "::127.0.0.1": MACHINE, "::a9fe:a9fe": LINK, "::ffff:0:127.0.0.1": MACHINE, "fec0::1": PRIVATE,
    "64:ff9b:1::7f00:1": MACHINE, "255.255.255.255": PRIVATE, "198.18.0.1": PRIVATE, "::ffff:100.64.0.1": PRIVATE,
    "2130706433": PRIVATE, "0x7f.1": PRIVATE, "127.1": PRIVATE,
}  # fmt: skip


@pytest.mark.parametrize("address", NEAR)
def test_A4_each_address_has_its_nearness(address: str) -> None:
    assert nearness(address) == NEAR[address]


def test_A4_a_transfer_goes_no_nearer_than_the_service_is() -> None:
    for own, refused in {"8.8.8.8": PRIVATE, "10.0.0.1": LINK, "127.0.0.1": 9}.items():
        reach = Reach(anywhere=False, host="api.example", near=False)
        reach.met(own)
        for address, near in NEAR.items():
            if near >= refused:
                with pytest.raises(AddressRefused):
                    reach.check("h", [address])
            else:
                assert reach.check("h", [address]) == [address]
        assert Reach(anywhere=True, host="api.example", near=False).check("h", ["127.0.0.1"])


def test_A4_the_farthest_address_of_the_service_counts() -> None:
    reach = Reach(anywhere=False, host="api.example", near=False)
    for address in ("10.0.0.1", "8.8.8.8", "127.0.0.1"):
        reach.met(address)
    with pytest.raises(AddressRefused):
        reach.check("h", ["10.0.0.1"])
    assert reach.check("h", ["10.0.0.1", "1.1.1.1"]) == ["1.1.1.1"]


BAD_URLS = [
    "https://a@h/", "https://@h/", "https://:@h/", "https://h:99999/", "http://h/", "HTTP://h/", "file:///etc/passwd", "https:///x",
    "https://h/\r\nX: y", "https://h/ HTTP/1.1", "https://h/\0", "https://h/?a\nb", "https://h/\ud800", "https://[::1", "ws://h/",
    "https://h\\@evil/", "\thttps://h/", "https://h/" + "a" * 40_000, "", "//h/x",
]  # fmt: skip


@pytest.mark.parametrize("url", BAD_URLS)
def test_A4_a_url_that_is_odd_is_refused_by_name(url: str) -> None:
    with pytest.raises(TransferFailed) as refused:
        signed_transfer(url, None, "PUT", 0, endpoint="https://a")
    assert refused.value.code == "EBADURL"
    assert len(str(refused.value)) < 200


NEAR_HOSTS = [
    "127.0.0.1", "[::1]", "localhost", "LocalHost.", "a.localhost", "2130706433", "0x7f.1", "127.1", "0", "0177.0.0.1",
    "127.0.0.1.", "[::ffff:169.254.169.254]", "169.254.169.254", "2852039166", "0.0.0.0", "[::]", "10.1", "100.64.0.1",
]  # fmt: skip


@pytest.mark.parametrize("host", NEAR_HOSTS)
async def test_A4_no_spelling_of_a_near_address_is_asked_of_a_proxy(
    inner: tuple[str, list[str]], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin, asked = inner
    connections = _connections()
    try:
        connections._reach.met("8.8.8.8")
        with pytest.raises(AddressRefused):
            await connections.current().storage.get(URL(f"http://{host}/x", encoded=True), proxy=origin)
    finally:
        await connections.aclose()
    assert asked == []


@pytest.fixture
async def inner() -> AsyncIterator[tuple[str, list[str]]]:
    """Something inside the network that answers every request, and what it was asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path}")
        if request.path == "/redirects":
            return web.Response(status=302, headers={"Location": "/inner"})
        return web.Response(text="secret", headers={"X-Internal-Token": "tok-123"})

    runner = web.AppRunner(web.Application(middlewares=[]))
    runner.app.router.add_route("*", "/{path:.*}", answer)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


def _connections(**settings: Any) -> Connections:
    given = vi.config.Settings("dtvi_" + "k" * 98, "acme", "https://api.example", **settings)
    return Connections(given, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "rebound.example"])
async def test_A4_a_private_address_is_refused_when_connecting(
    inner: tuple[str, list[str]], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin, asked = inner
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *rest: real("127.0.0.1" if name == "rebound.example" else name, *rest)
    )
    url = origin.replace("127.0.0.1", host) + "/inner"
    connections = _connections()
    try:
        connections._reach.met("8.8.8.8")
        with pytest.raises(AddressRefused, match="private network"):
            await connections.current().storage.get(url)
    finally:
        await connections.aclose()
    assert asked == []
    allowed = _connections(allow_private_storage=True)
    try:
        async with allowed.current().storage.get(url) as response:
            assert await response.text() == "secret"
    finally:
        await allowed.aclose()
    assert asked == ["GET /inner"]


async def test_A4_a_name_that_changes_between_two_look_ups_gains_nothing(
    inner: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    origin, asked = inner
    port = origin.rpartition(":")[2]
    answers = iter(["203.0.113.1", "8.8.8.8"])
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, *rest: real(next(answers, "127.0.0.1"), *rest))
    connections = _connections()
    try:
        connections._reach.met("8.8.8.8")
        for _ in range(3):
            with pytest.raises((AddressRefused, OSError, TimeoutError, vi.ViError)):
                async with asyncio.timeout(1):
                    await connections.current().storage.get(f"http://flips.example:{port}/inner")
    finally:
        await connections.aclose()
    assert asked == []


def _changed(name: str, field: str, value: Any) -> dict[str, Any]:
    return {**document(name), field: value}


BAD_IDS = ["acme_ds1 /home", "a\nb", "\x1b]0;x\x07", "--config=evil", "a" * 256, "\xe4", "a b", "../x", "a/b"]
WITH_IDS: list[tuple[str, type, str]] = [
    ("Asset", Asset, "assetId"), ("Asset", Asset, "datasetId"), ("Dataset", Dataset, "datasetId"),
    ("AssetIngestionSession", AssetIngestionSession, "assetIngestionSessionId"),
    ("BulkAssetDeletionSession", BulkAssetDeletionSession, "deleteManyAssetsSessionId"),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize(("name", "cls", "field"), WITH_IDS)
def test_A5_an_id_outside_the_alphabet_is_a_bad_item(name: str, cls: type, field: str, bad: str) -> None:
    good = document(name)
    with pytest.raises(_wire.WireError, match=field):
        _wire.structure(_changed(name, field, bad), cls)
    items, refused = _wire.structure_items([good, _changed(name, field, bad), good], cls)
    assert len(items) == 2
    assert [position for position, _ in refused] == [1]


def test_A5_the_fast_reader_lets_no_bad_id_through() -> None:
    import json

    bad = {"items": [document("Asset"), _changed("Asset", "assetId", "x /etc")]}
    assert _wire_fast.read_page(json.dumps(bad).encode(), Asset) is None
