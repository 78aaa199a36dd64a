"""Bytes that go straight to an S3 store and come from there, by signed addresses (`--uploads direct`)."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.seaweed import Seaweed
from vi import _checksums

pytest.importorskip("aiobotocore")

pytestmark = [pytest.mark.anyio, pytest.mark.scale]

SOURCE = "/assetSources/managed/datature/default"
MIB = 1 << 20


@pytest.fixture
def store(seaweed: Seaweed) -> dict[str, Any]:
    return dict(seaweed.create())


@pytest.fixture
async def direct_api(start_service: Any, connect: Any, store: dict[str, Any]) -> Any:
    return await connect(start_service(uploads="direct", **store))


def announced(files: dict[str, bytes]) -> dict[str, Any]:
    """Return what opens a session whose files have checksums."""
    return {
        "assets": [
            {
                "filename": name,
                "kind": "Image",
                "mime": "image/png",
                "size": len(data),
                "crc32c": _checksums.to_signed(_checksums.crc32c(data)),
            }
            for name, data in files.items()
        ]
    }


async def test_the_store_accepts_what_was_announced_and_nothing_else(direct_api: Any, picture: Any) -> None:
    api, data = direct_api, picture(1)
    dataset = await api.create_dataset()
    session = await api.open_session(dataset, {}, **announced({"a b/ü.png".replace("/", "_"): data}))
    (upload,) = session["status"]["assets"]
    signed = upload["upload"]
    assert not signed["url"].startswith(api.service.url)
    assert set(signed["headers"]) == {"Content-Type", "x-amz-checksum-crc32c"}
    other = data[:-1] + bytes([data[-1] ^ 1])
    wrong = [
        (other, {}, 400, b"BadDigest"),
        (data[:-1], {}, 403, b"SignatureDoesNotMatch"),
        (data, {"Content-Type": "image/gif"}, 403, b"SignatureDoesNotMatch"),
        (data, {"x-amz-checksum-crc32c": "AAAAAA=="}, 403, b"SignatureDoesNotMatch"),
    ]
    for body, headers, status, code in wrong:
        answer = await api.raw("PUT", signed["url"], body, {**signed["headers"], **headers})
        assert (answer.status, code in answer.body) == (status, True), answer.body
    assert (await api.read_session(session))["status"]["progressCount"]["succeeded"] == 0
    assert (await api.put(upload, data)).status == 200
    ended = await api.ended(session)
    assert ended["status"]["progressCount"] == {"total": 1, "succeeded": 1, "errored": 0}
    (asset,) = await api.assets(dataset, contents="y")
    assert asset["metadata"]["hash"]["contents"]


async def test_a_later_put_changes_nothing_that_is_served(
    direct_api: Any, picture: Any, seaweed: Seaweed, store: dict[str, Any]
) -> None:
    api, first, second = direct_api, picture(1), picture(2)
    dataset = await api.create_dataset()
    session = await api.open_session(dataset, {"a.png": first}, assets=announced({"a.png": first})["assets"])
    (upload,) = session["status"]["assets"]
    assert (await api.put(upload, first)).status == 200
    await api.ended(session)
    before = seaweed.keys(store)
    assert (await api.put(upload, first)).status == 200, "the address has not ended"
    (asset,) = await api.assets(dataset, contents="y")
    assert (await api.raw("GET", asset["contents"]["asset"]["url"])).body == first
    assert set(seaweed.keys(store)) - set(before) == {f"sessions/{session['assetIngestionSessionId']}/in/0"}
    open_ = await api.open_session(dataset, {"b.png": second})
    (upload,) = open_["status"]["assets"]
    await api("POST", api.session_path(open_) + ":cancel")
    assert (await api.put(upload, second)).status == 200
    assert [one["filename"] for one in await api.assets(dataset)] == ["a.png"]


async def test_addresses_of_a_listing_lead_to_the_store_and_end_in_the_name(direct_api: Any, picture: Any) -> None:
    api, name = direct_api, "100% süß #1&x=y+z.png"
    dataset = await api.create_dataset()
    data = picture(1, width=300, height=200)
    await api.ingest(dataset, {name: data})
    (asset,) = await api.assets(dataset, contents="y")
    url = asset["contents"]["asset"]["url"]
    assert not url.startswith(api.service.url)
    assert unquote(url.rsplit("/", 1)[1]) == name
    answer = await api.raw("GET", url)
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, data, "image/png")
    part = await api.raw("GET", url, headers={"Range": "bytes=10-19", "If-Match": answer.headers["ETag"]})
    assert (part.status, part.body) == (206, data[10:20])
    assert (await api.raw("GET", url.replace("png", "gif"))).status == 403, "the name is signed"
    thumbnail = await api.raw("GET", asset["contents"]["thumbnail"]["url"])
    assert (thumbnail.status, thumbnail.headers["Content-Type"][:6]) == (200, "image/")
    await api("DELETE", f"{dataset}/assets/{asset['assetId']}")
    assert (await api.raw("GET", url)).status == 404


@pytest.mark.large
@pytest.mark.parametrize("through", ["redirect", "through"])
async def test_downloads_are_as_a_setting_says(
    start_service: Any, connect: Any, store: dict[str, Any], picture: Any, through: str
) -> None:
    api = await connect(start_service(uploads="direct", downloads=through, **store))
    dataset = await api.create_dataset()
    await api.ingest(dataset, {"a.png": picture(1)})
    (asset,) = await api.assets(dataset, contents="y")
    answer = await api.raw("GET", asset["contents"]["asset"]["url"])
    assert answer.status == (307 if through == "redirect" else 200)


async def test_what_is_sent_after_the_address_has_ended_is_given_up_later(
    start_service: Any, connect: Any, store: dict[str, Any], picture: Any
) -> None:
    service = start_service(uploads="direct", **store)
    api = await connect(service)
    dataset = await api.create_dataset()
    session = await api.open_session(dataset, {"a.png": picture(1), "b.png": picture(2)})
    service.clock.advance(901)
    # One that began in time is stored when its time is over: the store has looked at the beginning.
    (first, _) = session["status"]["assets"]
    assert (await api.put(first, picture(1))).status == 200
    await api.until(session, lambda found: found["status"]["progressCount"]["succeeded"] == 1)
    assert (await api.read_session(session))["status"]["progressCount"]["errored"] == 0
    service.clock.advance(300)
    ended = await api.ended(session)
    assert ended["status"]["progressCount"] == {"total": 2, "succeeded": 1, "errored": 1}
    assert [event["files"] for event in ended["status"]["events"] if event["kind"] == "Error"] == [
        {"b.png": "ETIMEOUT"}
    ]


@pytest.mark.large
async def test_an_address_that_has_ended_is_said_to_have_expired(
    start_service: Any, connect: Any, store: dict[str, Any], picture: Any
) -> None:
    api = await connect(start_service(uploads="direct", upload_url_seconds=1, download_url_seconds=1, **store))
    dataset = await api.create_dataset()
    session = await api.open_session(dataset, {"a.png": picture(1)})
    (upload,) = session["status"]["assets"]
    url = upload["upload"]["url"].replace("X-Amz-Expires=1&", "X-Amz-Expires=2&")
    assert (await api.raw("PUT", url, picture(1), upload["upload"]["headers"])).status == 403, "the time is signed"
    answer = await api.put(upload, picture(1))
    while answer.status == 200:
        answer = await api.put(upload, picture(1))
    assert (answer.status, b"expired" in answer.body.lower()) == (403, True)


class TestParts:
    """A file in parts."""

    async def begin(self, api: Any, data: bytes) -> tuple[dict[str, Any], str, int]:
        dataset = await api.create_dataset()
        file = {"filename": "a.mp4", "kind": "Video", "mime": "video/mp4", "size": len(data)}
        session = await api.open_session(dataset, {}, assets=[file])
        spec = {"ingestionId": session["ingestionId"], "filename": "a.mp4", "sizeBytes": len(data)}
        answer = await api("POST", dataset + SOURCE + "/multipartUploads", {"spec": spec})
        assert answer.status == 201
        return session, answer.document["selfLink"], answer.document["status"]["partCount"]

    async def test_go_to_the_store_and_become_one_object(
        self, direct_api: Any, seaweed: Seaweed, store: dict[str, Any]
    ) -> None:
        api, data = direct_api, b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(range(256)) * (70 << 10)
        session, path, count = await self.begin(api, data)
        assert count == 2
        each = len(data) // count
        pieces = {1: data[:each], 2: data[each:]}
        etags = {}
        for number, piece in pieces.items():
            signed = (await api("POST", f"{path}/parts/{number}", {})).document
            assert not signed["url"].startswith(api.service.url)

            async def chunked(piece: bytes = piece) -> Any:
                yield piece

            for body in (piece[:-1], chunked()):  # a shorter one first; the other without Content-Length
                answer = await api.raw("PUT", signed["url"], body, signed["headers"])
                assert answer.status == 200
                etags[number, len(etags)] = answer.headers["ETag"]
        (short, first, _, second) = etags.values()
        for number, etag, status in ((1, '"other"', 400), (1, short, 400), (1, first, 200), (2, second, 200)):
            report = {"responseHeaders": {"ETag": etag}}
            answer = await api("POST", f"{path}/parts/{number}/completion", report)
            assert answer.status == status, answer.body
        assert (await api("POST", f"{path}/completion")).status == 200
        ended = await api.ended(session)
        assert ended["status"]["progressCount"]["succeeded"] == 1, ended["status"]
        dataset = path.split("/assetSources")[0]
        (asset,) = await api.assets(dataset, contents="y")
        assert (await api.raw("GET", asset["contents"]["asset"]["url"])).body == data
        keys = [key for key in seaweed.keys(store) if not key.endswith(".thumbnail")]
        assert len(keys) == 2, "the object and the marker"
        assert (await api.raw("PUT", signed["url"], pieces[2], signed["headers"])).status == 404

    async def test_that_are_aborted_are_gone(self, direct_api: Any, seaweed: Seaweed, store: dict[str, Any]) -> None:
        api = direct_api
        _, path, count = await self.begin(api, b"0" * 10)
        assert count == 1, "no part but the last may be small"
        signed = (await api("POST", f"{path}/parts/1", {})).document
        assert (await api.raw("PUT", signed["url"], b"0" * 10, signed["headers"])).status == 200
        assert (await api("DELETE", path)).status == 204
        assert (await api.raw("PUT", signed["url"], b"0" * 10, signed["headers"])).status == 404
        assert seaweed.keys(store) == ["service.json"]
