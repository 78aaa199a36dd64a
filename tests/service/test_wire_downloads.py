"""Sending stored bytes: ranges, conditions, digests, signatures (protocol section 11)."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from vi import _checksums
from vi.server import serving

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["small", "large"])
async def stored(api: Any, dataset_path: str, picture: Any, request: Any) -> tuple[str, bytes]:
    """A download URL and its bytes, below and above the size that is sent from memory."""
    data = picture(1, width=30) if request.param == "small" else picture(1, width=700, height=600, format="BMP")
    mime, name = ("image/png", "my cat.png") if request.param == "small" else ("image/bmp", "my cat.bmp")
    file = {"filename": name, "kind": "Image", "mime": mime, "size": len(data), "crc32c": None}
    session = await api.open_session(dataset_path, {}, assets=[file])
    await api.put_all(session, {name: data})
    await api.ended(session)
    (asset,) = await api.assets(dataset_path, contents="y")
    return asset["contents"]["asset"]["url"], data


async def test_a_whole_object_comes_with_its_digests(api: Any, stored: tuple[str, bytes]) -> None:
    url, data = stored
    answer = await api.raw("GET", url)
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["Content-Length"] == str(len(data))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] in ("image/png", "image/bmp")
    assert answer.headers["x-goog-hash"] == f"crc32c={_checksums.to_base64(_checksums.crc32c(data))}"
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert re.fullmatch(r'"[0-9a-f]+"', answer.headers["ETag"])
    assert "Content-Encoding" not in answer.headers
    assert "Transfer-Encoding" not in answer.headers
    assert "Date" in answer.headers


async def test_what_is_not_cached_comes_from_the_disk(
    api: Any, stored: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, data = stored
    monkeypatch.setattr(serving, "_NOWAIT", 1 << 30)  # which no system knows: it refuses as where nothing is cached
    answer = await api.raw("GET", url, headers={"Range": "bytes=3-9"})
    assert (answer.status, answer.body) == (206, data[3:10])


async def test_head_says_what_get_would(api: Any, stored: tuple[str, bytes]) -> None:
    url, _ = stored
    head, get = await api.raw("HEAD", url), await api.raw("GET", url)
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Length", "ETag", "Accept-Ranges", "x-goog-hash", "Repr-Digest", "Content-Type"):
        assert head.headers[name] == get.headers[name]


async def test_compression_is_never_applied(api: Any, stored: tuple[str, bytes]) -> None:
    url, data = stored
    answer = await api.raw("GET", url, headers={"Accept-Encoding": "gzip, deflate, br"})
    assert answer.body == data


async def test_ranges(api: Any, stored: tuple[str, bytes]) -> None:
    url, data = stored
    size = len(data)
    for header, start, stop in (
        ("bytes=0-0", 0, 1),
        ("bytes=3-9", 3, 10),
        ("bytes=5-", 5, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=-{size + 5}", 0, size),
        (f"bytes=10-{size * 2}", 10, size),
        (f"bytes={size - 1}-", size - 1, size),
        (f"bytes=0-{size - 1}", 0, size),
    ):
        answer = await api.raw("GET", url, headers={"Range": header})
        assert (answer.status, answer.body) == (206, data[start:stop]), header
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert answer.headers["Content-Length"] == str(stop - start)
        head = await api.raw("HEAD", url, headers={"Range": header})
        assert (head.status, head.headers["Content-Range"]) == (206, answer.headers["Content-Range"])


async def test_a_range_past_the_end_is_416(api: Any, stored: tuple[str, bytes]) -> None:
    url, data = stored
    for header in (f"bytes={len(data)}-", f"bytes={len(data) + 5}-{len(data) + 9}", "bytes=-0", f"bytes={'9' * 40}-"):
        answer = await api.raw("GET", url, headers={"Range": header})
        assert answer.status == 416, header
        assert answer.headers["Content-Range"] == f"bytes */{len(data)}"


async def test_ranges_that_are_none_are_passed_over(api: Any, stored: tuple[str, bytes]) -> None:
    url, data = stored
    for header in ("bytes=9-3", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=-", "bytes=0 - 5"):
        answer = await api.raw("GET", url, headers={"Range": header})
        assert (answer.status, answer.body) == (200, data), header


async def test_conditions(api: Any, stored: tuple[str, bytes]) -> None:
    url, data = stored
    etag = (await api.raw("HEAD", url)).headers["ETag"]
    ranged = {"Range": "bytes=0-3"}
    for headers, status in (
        ({"If-Match": etag, **ranged}, 206),
        ({"If-Match": f'"x", {etag}'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"', **ranged}, 412),
        ({"If-Match": f"W/{etag}"}, 412),
        ({"If-Range": etag, **ranged}, 206),
        ({"If-Range": '"x"', **ranged}, 200),
        ({"If-Range": f"W/{etag}", **ranged}, 200),
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f"W/{etag}"}, 304),
        ({"If-None-Match": '"x"'}, 200),
    ):
        answer = await api.raw("GET", url, headers=headers)
        assert answer.status == status, headers
        assert answer.body == {200: data, 206: data[:4]}.get(status, b"")


async def test_the_etag_changes_with_the_bytes(api: Any, dataset_path: str, picture: Any) -> None:
    await api.ingest(dataset_path, {"a.png": picture(1)})
    (asset,) = await api.assets(dataset_path, contents="y")
    url = asset["contents"]["asset"]["url"]
    etag = (await api.raw("GET", url)).headers["ETag"]
    await api.ingest(dataset_path, {"a.png": picture(2)})
    assert (await api.raw("GET", url, headers={"If-Match": etag})).status == 412
    assert (await api.raw("GET", url)).headers["ETag"] != etag


@pytest.mark.parametrize(
    "change",
    [
        lambda url: re.sub(r"X-Signature=.", "X-Signature=g", url),
        lambda url: re.sub(r"X-Expires=\d", "X-Expires=9", url),
        lambda url: url.replace("my%20cat", "your%20cat"),
        lambda url: re.sub(r"\?.*", "", url),
        lambda url: url.replace("/dl/", "/thumbnail/"),
    ],
    ids=["signature", "expiry", "name", "bare", "path"],
)
async def test_an_altered_download_url_is_refused(api: Any, stored: tuple[str, bytes], change: Any) -> None:
    assert (await api.raw("GET", change(stored[0]))).status == 403


async def test_a_name_escaped_in_another_way_is_the_same_url(api: Any, stored: tuple[str, bytes]) -> None:
    url, data = stored
    assert (await api.raw("GET", url.replace("my%20cat", "%6dy%20c%61t"))).body == data


async def test_a_download_url_is_not_an_upload_url(api: Any, stored: tuple[str, bytes]) -> None:
    assert (await api.raw("PUT", stored[0], b"x")).status == 405
    assert (await api.raw("DELETE", stored[0])).status == 405


async def test_a_download_url_expires_after_an_hour(fresh_api: Any, picture: Any) -> None:
    dataset_path = await fresh_api.create_dataset()
    await fresh_api.ingest(dataset_path, {"a.png": picture(1)})
    (asset,) = await fresh_api.assets(dataset_path, contents="y")
    contents = asset["contents"]
    fresh_api.service.clock.advance(3590)
    assert (await fresh_api.raw("GET", contents["asset"]["url"])).status == 200
    fresh_api.service.clock.advance(20)
    assert (await fresh_api.raw("GET", contents["asset"]["url"])).status == 403
    assert (await fresh_api.raw("GET", contents["thumbnail"]["url"])).status == 403


async def test_urls_work_after_a_restart_and_a_rename(start_service: Any, connect: Any, picture: Any) -> None:
    first = start_service()
    api = await connect(first)
    dataset_path = await api.create_dataset()
    await api.ingest(dataset_path, {"a.png": picture(1)})
    (asset,) = await api.assets(dataset_path, contents="y")
    assert (await api("POST", asset["selfLink"] + "/name", {"filename": "b.png"})).status == 200
    first.stop()
    second = start_service(port=int(first.url.rpartition(":")[2]))
    answer = await (await connect(second)).raw("GET", asset["contents"]["asset"]["url"])
    assert (answer.status, answer.body) == (200, picture(1))
