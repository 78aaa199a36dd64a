"""Signed PUTs and what becomes of their bytes (protocol sections 9.2 to 9.4)."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from vi import _checksums
from vi.server.disk import blobs

pytestmark = pytest.mark.anyio


def stored_files(data: Path) -> set[str]:
    return {path.name for path in (data / "bytes").rglob("*") if path.is_file()}


async def test_a_file_goes_up_is_ingested_and_comes_down_unchanged(api: Any, dataset_path: str, picture: Any) -> None:
    data = picture(1, width=9, height=5)
    ended = await api.ingest(dataset_path, {"cat.png": data})
    assert ended["status"]["progressCount"] == {"total": 1, "succeeded": 1, "errored": 0}
    (asset,) = await api.assets(dataset_path, contents="y")
    metadata = asset["metadata"]
    assert (metadata["width"], metadata["height"], metadata["fileSize"]) == (9, 5, len(data))
    assert metadata["hash"] == {"algorithm": "sha256", "contents": hashlib.sha256(data).hexdigest()}
    answer = await api.raw("GET", asset["contents"]["asset"]["url"])
    assert (answer.status, answer.body) == (200, data)
    thumbnail = await api.raw("GET", asset["contents"]["thumbnail"]["url"])
    assert thumbnail.status == 200
    assert thumbnail.headers["Content-Type"].startswith("image/")


async def test_a_put_answers_with_etag_and_checksum_of_what_was_stored(
    api: Any, dataset_path: str, picture: Any
) -> None:
    data = picture(2)
    session = await api.open_session(dataset_path, {"a.png": data, "b.png": data})
    answer = await api.put(session["status"]["assets"][0], data)
    assert answer.status == 200
    assert answer.headers["x-goog-hash"] == f"crc32c={_checksums.to_base64(_checksums.crc32c(data))}"
    assert re.fullmatch(r'"[^"]+"', answer.headers["ETag"])
    assert answer.body == b""
    assert "x-cloud-trace-context" not in answer.headers


async def test_a_large_body_is_streamed_to_disk_and_kept_whole(api: Any, dataset_path: str, picture: Any) -> None:
    data = picture(3, width=1200, height=1000, format="BMP")
    assert len(data) > 3 << 20
    file = {"filename": "large.bmp", "kind": "Image", "mime": "image/bmp", "size": len(data)}
    file["crc32c"] = _checksums.to_signed(_checksums.crc32c(data))
    session = await api.open_session(dataset_path, {}, assets=[file])
    await api.put_all(session, {"large.bmp": data})
    ended = await api.ended(session)
    assert ended["status"]["progressCount"]["succeeded"] == 1
    (asset,) = await api.assets(dataset_path, contents="y")
    assert (await api.raw("GET", asset["contents"]["asset"]["url"])).body == data


async def test_a_chunked_body_is_taken(api: Any, dataset_path: str, picture: Any) -> None:
    data = picture(4)

    async def chunks() -> AsyncIterator[bytes]:
        yield data[:10]
        yield data[10:]

    session = await api.open_session(dataset_path, {"a.png": data})
    assert (await api.put(session["status"]["assets"][0], chunks())).status == 200
    assert (await api.ended(session))["status"]["progressCount"]["succeeded"] == 1


async def test_the_last_complete_put_counts(api: Any, dataset_path: str, picture: Any) -> None:
    first, second = picture(5), picture(6)
    assert len(first) == len(second)
    assert first != second
    session = await api.open_session(dataset_path, {"a.png": first, "b.png": first})
    upload = next(a for a in session["status"]["assets"] if a["metadata"]["filename"] == "a.png")
    other = next(a for a in session["status"]["assets"] if a["metadata"]["filename"] == "b.png")
    assert (await api.put(upload, first)).status == 200
    await api.until(session, lambda found: found["status"]["progressCount"]["succeeded"] == 1)
    assert (await api.put(upload, second)).status == 200
    assert (await api.put(other, first)).status == 200
    ended = await api.ended(session)
    assert ended["status"]["progressCount"] == {"total": 2, "succeeded": 2, "errored": 0}
    by_name = {asset["filename"]: asset for asset in await api.assets(dataset_path)}
    assert by_name["a.png"]["metadata"]["hash"]["contents"] == hashlib.sha256(second).hexdigest()
    assert await api.total(dataset_path) == 2


async def test_a_put_of_the_same_bytes_again_changes_nothing(api: Any, dataset_path: str, picture: Any) -> None:
    data = picture(7)
    session = await api.open_session(dataset_path, {"a.png": data, "b.png": data})
    upload = session["status"]["assets"][0]
    assert (await api.put(upload, data)).status == 200
    await api.until(session, lambda found: found["status"]["progressCount"]["succeeded"] == 1)
    (before,) = await api.assets(dataset_path)
    assert (await api.put(upload, data)).status == 200
    assert (await api.read_session(session))["status"]["progressCount"]["succeeded"] == 1
    assert await api.assets(dataset_path) == [before]


async def test_a_damaged_file_can_be_sent_again_while_the_session_is_open(
    api: Any, dataset_path: str, picture: Any
) -> None:
    data = picture(8)
    session = await api.open_session(dataset_path, {"a.png": data, "b.png": data})
    upload, other = session["status"]["assets"]
    assert (await api.put(upload, data[:-4] + b"\0\0\0\0")).status == 200
    await api.until(session, lambda found: found["status"]["progressCount"]["errored"] == 1)
    assert (await api.put(upload, data)).status == 200
    assert (await api.put(other, data)).status == 200
    ended = await api.ended(session)
    assert ended["status"]["progressCount"] == {"total": 2, "succeeded": 2, "errored": 0}
    assert [event for event in ended["status"]["events"] if event["kind"] == "Error"] == []


async def test_a_body_that_is_cut_short_stores_nothing(fresh_api: Any, picture: Any) -> None:
    data = picture(9)
    dataset = await fresh_api.create_dataset()
    session = await fresh_api.open_session(dataset, {"a.png": data})
    signed = session["status"]["assets"][0]["upload"]
    head, _, path = signed["url"].partition("/up/")
    host, port = head.removeprefix("http://").split(":")
    before = stored_files(fresh_api.service.data)
    for body in (data[:20], b"%x\r\n" % len(data) + data):
        length = f"Content-Length: {len(data)}" if body == data[:20] else "Transfer-Encoding: chunked"
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"PUT /up/{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n{length}\r\n\r\n".encode() + body
        )
        writer.write_eof()
        await writer.drain()
        assert not (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
    assert stored_files(fresh_api.service.data) == before
    assert (await fresh_api.read_session(session))["status"]["progressCount"] == {
        "total": 1,
        "succeeded": 0,
        "errored": 0,
    }
    assert (await fresh_api.put(session["status"]["assets"][0], data)).status == 200


async def test_a_longer_body_is_refused_and_the_file_ends_with_ebadsize(
    api: Any, dataset_path: str, picture: Any
) -> None:
    data = picture(10)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield data
            await asyncio.sleep(0)

    files = {"announced.png": data, "chunked.png": data}
    session = await api.open_session(dataset_path, files)
    for upload, body in zip(session["status"]["assets"], (data + b"x", endless()), strict=True):
        assert (await api.put(upload, body)).status == 413
    ended = await api.ended(session)
    (error,) = [event for event in ended["status"]["events"] if event["kind"] == "Error"][:1]
    assert set(error["files"].values()) == {"EBADSIZE"}
    assert ended["status"]["progressCount"]["errored"] == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("X-Signature=", "X-Signature=0"),
        lambda url: re.sub(r"X-Expires=\d", "X-Expires=9", url),
        lambda url: re.sub(r"X-Size=", "X-Size=9", url),
        lambda url: url.replace("/0/", "/1/"),
        lambda url: url.replace("a.png", "b.png"),
        lambda url: re.sub(r"&X-Signature=.*", "", url),
        lambda url: re.sub(r"\?.*", "", url),
    ],
    ids=["signature", "expiry", "size", "index", "name", "unsigned", "bare"],
)
async def test_an_altered_url_is_refused(api: Any, dataset_path: str, picture: Any, change: Any) -> None:
    data = picture(11)
    session = await api.open_session(dataset_path, {"a.png": data})
    signed = session["status"]["assets"][0]["upload"]
    assert "/0/" in signed["url"]
    answer = await api.raw("PUT", change(signed["url"]), data, signed["headers"])
    assert answer.status == 403
    assert (await api.put(session["status"]["assets"][0], data)).status == 200


async def test_a_signed_header_must_be_sent_and_the_method_is_signed(api: Any, dataset_path: str, picture: Any) -> None:
    data = picture(12)
    session = await api.open_session(dataset_path, {"a.png": data})
    url = session["status"]["assets"][0]["upload"]["url"]
    assert (await api.raw("PUT", url, data)).status == 403
    assert (await api.raw("PUT", url, data, {"Content-Type": "image/gif"})).status == 403
    assert (await api.raw("GET", url)).status == 405


async def test_a_url_past_its_expiry_is_refused(fresh_api: Any, picture: Any) -> None:
    data = picture(13)
    dataset = await fresh_api.create_dataset()
    session = await fresh_api.open_session(dataset, {"a.png": data})
    fresh_api.service.clock.advance(901)
    answer = await fresh_api.put(session["status"]["assets"][0], data)
    assert answer.status in (400, 403, 410)


async def test_an_overwritten_asset_keeps_its_id_and_loses_its_old_bytes(fresh_api: Any, picture: Any) -> None:
    dataset = await fresh_api.create_dataset()
    await fresh_api.ingest(dataset, {"a.png": picture(1)})
    (before,) = await fresh_api.assets(dataset, contents="y")
    old = stored_files(fresh_api.service.data)
    await fresh_api.ingest(dataset, {"a.png": picture(2, width=30)})
    (after,) = await fresh_api.assets(dataset, contents="y")
    assert after["assetId"] == before["assetId"]
    assert after["etag"] != before["etag"]
    assert after["metadata"]["width"] == 30
    assert after["metadata"]["timeCreated"] == before["metadata"]["timeCreated"]
    assert await fresh_api.total(dataset) == 1
    assert (await fresh_api.raw("GET", after["contents"]["asset"]["url"])).body == picture(2, width=30)
    assert (await fresh_api.raw("GET", before["contents"]["asset"]["url"])).body == picture(2, width=30)
    assert not old & stored_files(fresh_api.service.data)


async def test_two_sessions_of_one_name_leave_one_asset(api: Any, dataset_path: str, picture: Any) -> None:
    ended = await asyncio.gather(*(api.ingest(dataset_path, {"a.png": picture(n)}) for n in range(6)))
    assert all(one["status"]["progressCount"]["succeeded"] == 1 for one in ended)
    (asset,) = await api.assets(dataset_path, contents="y")
    assert await api.total(dataset_path) == 1
    body = (await api.raw("GET", asset["contents"]["asset"]["url"])).body
    assert hashlib.sha256(body).hexdigest() == asset["metadata"]["hash"]["contents"]
    assert body in [picture(n) for n in range(6)]


async def test_many_puts_at_once_all_arrive(api: Any, dataset_path: str, picture: Any) -> None:
    files = {f"{number:03}.png": picture(number) for number in range(200)}
    session = await api.open_session(dataset_path, files)
    answers = await asyncio.gather(
        *(api.put(upload, files[upload["metadata"]["filename"]]) for upload in session["status"]["assets"])
    )
    assert {answer.status for answer in answers} == {200}
    assert (await api.ended(session))["status"]["progressCount"]["succeeded"] == 200
    digests = {asset["filename"]: asset["metadata"]["hash"]["contents"] for asset in await api.assets(dataset_path)}
    assert digests == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


async def test_a_video_is_taken_without_facts_about_its_picture(api: Any, dataset_path: str) -> None:
    data = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + b"\0" * 500
    file = {"filename": "drive.mp4", "kind": "Video", "mime": "video/mp4", "size": len(data), "crc32c": None}
    session = await api.open_session(dataset_path, {}, assets=[file])
    await api.put_all(session, {"drive.mp4": data})
    assert (await api.ended(session))["status"]["progressCount"]["succeeded"] == 1
    (asset,) = await api.assets(dataset_path)
    metadata = asset["metadata"]
    assert asset["kind"] == "Video"
    assert (metadata["frames"], metadata["width"], metadata["height"]) == (0, 0, 0)
    assert metadata["mimeType"] == "video/mp4"


@pytest.mark.sqlite
@pytest.mark.parametrize("format_", ["PNG", "BMP"], ids=["small", "large"])
async def test_a_full_disk_is_a_507_and_leaves_nothing(
    fresh_api: Any, picture: Any, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    data = picture(1, width=900, height=800, format=format_)
    assert (len(data) > 1 << 20) == (format_ == "BMP")
    path = await fresh_api.create_dataset()
    file = {"filename": "a", "kind": "Image", "mime": f"image/{format_.lower()}", "size": len(data)}
    session = await fresh_api.open_session(path, {}, assets=[file])
    before = stored_files(fresh_api.service.data)

    def full(file: Any, data: bytes) -> None:
        file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(blobs, "write_all", full)
        answer = await fresh_api.put(session["status"]["assets"][0], data)
    assert (answer.status, answer.document["code"]) == (507, "ServerError")
    assert stored_files(fresh_api.service.data) == before
    assert (await fresh_api.put(session["status"]["assets"][0], data)).status == 200
    assert (await fresh_api.ended(session))["status"]["progressCount"]["succeeded"] == 1
