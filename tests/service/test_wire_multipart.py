"""Files in parts (protocol section 10)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from vi import _checksums, _wire
from vi.server.store.multipart import MAX_PARTS, part_count, part_size

pytestmark = pytest.mark.anyio

SOURCE = "/assetSources/managed/datature/default"
PART_BYTES = 1000


@pytest.fixture
async def parts_api(start_service: Any, connect: Any) -> Any:
    """A service that cuts files into parts of 1,000 bytes."""
    return await connect(start_service(part_bytes=PART_BYTES))


@pytest.fixture
def data(picture: Any) -> bytes:
    return bytes(picture(1, width=40, height=30, format="BMP")) + b"\0" * 11


class Upload:
    """A multipart upload of one file of a new session."""

    def __init__(self, api: Any, dataset_path: str, session: dict[str, Any], document: dict[str, Any]) -> None:
        self.api = api
        self.dataset_path = dataset_path
        self.session = session
        self.path = document["selfLink"]
        self.count = document["status"]["partCount"]

    @classmethod
    async def begin(cls, api: Any, data: bytes, **announced: Any) -> Upload:
        dataset_path = await api.create_dataset()
        file = {"filename": "a.bmp", "kind": "Image", "mime": "image/bmp", "size": len(data), **announced}
        session = await api.open_session(dataset_path, {}, assets=[file])
        answer = await api("POST", dataset_path + SOURCE + "/multipartUploads", cls.spec(session, data))
        assert answer.status == 201, answer.body
        return cls(api, dataset_path, session, answer.document)

    @staticmethod
    def spec(session: dict[str, Any], data: bytes, **changes: Any) -> dict[str, Any]:
        spec = {"ingestionId": session["ingestionId"], "filename": "a.bmp", "contentType": None, "sizeBytes": len(data)}
        return {"spec": {**spec, **changes}}

    def part(self, data: bytes, number: int) -> bytes:
        quotient = len(data) // self.count
        return data[(number - 1) * quotient : None if number == self.count else number * quotient]

    async def url(self, number: int) -> dict[str, Any]:
        answer = await self.api("POST", f"{self.path}/parts/{number}", {})
        assert answer.status == 200, answer.body
        return dict(answer.document)

    async def send(self, number: int, body: Any) -> Any:
        signed = await self.url(number)
        return await self.api.raw(signed["method"], signed["url"], body, signed["headers"])

    async def report(self, number: int, etag: str, **more: Any) -> Any:
        body = {"responseHeaders": {"ETag": etag}, **more}
        return await self.api("POST", f"{self.path}/parts/{number}/completion", body)

    async def send_all(self, data: bytes) -> None:
        for number in range(1, self.count + 1):
            answer = await self.send(number, self.part(data, number))
            assert answer.status == 200, answer.body
            assert (await self.report(number, answer.headers["ETag"])).status == 200

    async def complete(self) -> int:
        return int((await self.api("POST", self.path + "/completion")).status)


async def test_a_file_in_parts_becomes_an_asset(parts_api: Any, data: bytes) -> None:
    crc = _checksums.to_signed(_checksums.crc32c(data))
    upload = await Upload.begin(parts_api, data, crc32c=crc)
    assert upload.count == part_count(len(data), PART_BYTES) > 1
    await upload.send_all(data)
    assert await upload.complete() == 200
    ended = await parts_api.ended(upload.session)
    assert ended["status"]["progressCount"] == {"total": 1, "succeeded": 1, "errored": 0}
    (asset,) = await parts_api.assets(upload.dataset_path, contents="y")
    answer = await parts_api.raw("GET", asset["contents"]["asset"]["url"])
    assert answer.body == data
    assert answer.headers["x-goog-hash"] == f"crc32c={_checksums.to_base64(crc)}"
    assert asset["metadata"]["hash"]["contents"] == hashlib.sha256(data).hexdigest()
    assert await upload.complete() == 200
    assert part_files(parts_api) == []


def part_files(api: Any) -> list[Path]:
    return [path for path in (api.service.data / "bytes" / "parts").rglob("*") if path.is_file()]


async def test_the_documents_have_every_field(parts_api: Any, data: bytes) -> None:
    dataset_path = await parts_api.create_dataset()
    file = {"filename": "a.bmp", "kind": "Image", "mime": "image/bmp", "size": len(data)}
    session = await parts_api.open_session(dataset_path, {}, assets=[file])
    body = Upload.spec(session, data, contentType="image/bmp")
    key = {"Idempotency-Key": "k"}
    path = dataset_path + SOURCE + "/multipartUploads"
    document = (await parts_api("POST", path, body, headers=key)).document
    assert document["kind"] == "MultipartUpload"
    assert document["selfLink"] == f"{path}/{document['multipartUploadId']}"
    assert document["spec"] == body["spec"]
    assert [condition["status"] for condition in document["status"]["conditions"]] == ["Waiting", "Reached"]
    assert (await parts_api("POST", path, body, headers=key)).document == document
    signed = (await parts_api("POST", document["selfLink"] + "/parts/1", {})).document
    assert (signed["method"], signed["responseHeaders"], signed["responseBody"]) == ("PUT", ["ETag"], False)
    assert _wire.to_seconds(signed["expiry"]) > 0


@pytest.mark.parametrize("size", [1, 2, 999, 1000, 1001, 1999, 2000, 12_345, 10_000_000, 10_000_001, 99_999_999])
def test_parts_divide_the_file_as_the_protocol_says(size: int) -> None:
    count = part_count(size, PART_BYTES)
    assert 1 <= count <= min(size, MAX_PARTS)
    sizes = [part_size(size, count, number) for number in range(1, count + 1)]
    assert sum(sizes) == size
    assert set(sizes[:-1]) <= {size // count}
    if size <= PART_BYTES * (MAX_PARTS - 1):
        assert max(sizes) <= PART_BYTES
    if size <= PART_BYTES:
        assert count == 1


@pytest.mark.sqlite
async def test_parts_come_in_any_order_chunked_and_again(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data)

    async def chunks(part: bytes) -> AsyncIterator[bytes]:
        yield part[:100]
        yield part[100:]

    async def send(number: int) -> None:
        part = upload.part(data, number)
        assert (await upload.send(number, chunks(bytes(len(part))))).status == 200
        answer = await upload.send(number, chunks(part))
        assert (await upload.report(number, answer.headers["ETag"])).status == 200

    await asyncio.gather(*(send(number) for number in reversed(range(1, upload.count + 1))))
    assert len(part_files(parts_api)) == upload.count
    assert await upload.complete() == 200
    assert (await parts_api.ended(upload.session))["status"]["progressCount"]["succeeded"] == 1


async def test_a_part_of_another_size_is_refused(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data)
    part = upload.part(data, 1)
    assert (await upload.send(1, part + b"x")).status == 413
    assert (await upload.send(1, part[:-1])).status == 400
    assert part_files(parts_api) == []
    assert (await upload.report(1, '"anything"')).status == 400


async def test_what_the_client_saw_must_be_what_is_stored(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data)
    etag = (await upload.send(1, upload.part(data, 1))).headers["ETag"]
    for wrong in ('"x"', "", etag.strip('"')):
        assert (await upload.report(1, wrong)).status == 400
    lower = await parts_api("POST", f"{upload.path}/parts/1/completion", {"responseHeaders": {"etag": etag}})
    assert lower.status == 200
    assert (await parts_api("POST", f"{upload.path}/parts/1/completion", {"responseHeaders": {}})).status == 400
    assert (await parts_api("POST", f"{upload.path}/parts/1/completion", {})).status == 400
    assert (await upload.report(1, etag, responseBody="")).status == 200
    assert (await upload.report(1, etag, responseBody=base64.b64encode(b"part-ok").decode())).status == 400
    assert (await upload.report(1, etag, responseBody="***")).status == 400
    await upload.send(1, bytes(len(upload.part(data, 1))))
    assert (await upload.report(1, etag)).status == 400


async def test_completion_without_every_part_is_a_conflict(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data)
    assert await upload.complete() == 409
    await upload.send_all(data)
    await upload.send(2, upload.part(data, 2))  # sent once more, and not reported again
    assert await upload.complete() == 409
    assert (await parts_api.read_session(upload.session))["status"]["progressCount"]["succeeded"] == 0


async def test_an_aborted_upload_drops_its_parts_and_leaves_the_session_open(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data)
    signed = await upload.url(1)
    await upload.send_all(data)
    assert (await parts_api("DELETE", upload.path)).status == 204
    assert (await parts_api("DELETE", upload.path)).status == 204
    assert part_files(parts_api) == []
    assert (await parts_api.raw("PUT", signed["url"], upload.part(data, 1), signed["headers"])).status == 410
    assert (await parts_api("POST", f"{upload.path}/parts/1", {})).status == 410
    assert await upload.complete() == 410
    assert (await parts_api.put(upload.session["status"]["assets"][0], data)).status == 200
    assert (await parts_api.ended(upload.session))["status"]["progressCount"]["succeeded"] == 1


async def test_wrong_requests(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data)
    create = upload.dataset_path + SOURCE + "/multipartUploads"
    session = upload.session
    for change, status in (
        ({"ingestionId": "nothing"}, 404),
        ({"ingestionId": session["assetIngestionSessionId"]}, 404),
        ({"filename": "b.bmp"}, 404),
        ({"filename": "\ud800"}, 400),
        ({"sizeBytes": len(data) + 1}, 400),
        ({"sizeBytes": str(len(data))}, 400),
        ({"sizeBytes": 10**40}, 400),
    ):
        assert (await parts_api("POST", create, Upload.spec(session, data, **change))).status == status, change
    for number in ("0", str(upload.count + 1), "x", "-1", "99999999999999999999"):
        assert (await parts_api("POST", f"{upload.path}/parts/{number}", {})).status == 404, number
    assert (await parts_api("POST", f"{create}/nothing/parts/1", {})).status == 404
    assert (await parts_api("POST", f"{create}/nothing/completion")).status == 404
    assert (await parts_api("DELETE", f"{create}/nothing")).status == 404
    signed = await upload.url(1)
    other = signed["url"].replace("/1?", "/2?")
    assert (await parts_api.raw("PUT", other, upload.part(data, 2), signed["headers"])).status == 403


@pytest.mark.sqlite
async def test_an_ended_session_takes_no_parts(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data)
    signed = await upload.url(1)
    await upload.send(2, upload.part(data, 2))
    assert part_files(parts_api) != []
    assert (await parts_api("POST", parts_api.session_path(upload.session) + ":cancel")).status == 200
    assert (await parts_api.raw("PUT", signed["url"], upload.part(data, 1), signed["headers"])).status == 410
    assert (await parts_api("POST", f"{upload.path}/parts/1", {})).status == 410
    spec = Upload.spec(upload.session, data)
    assert (await parts_api("POST", upload.dataset_path + SOURCE + "/multipartUploads", spec)).status == 410
    assert part_files(parts_api) == []


async def test_a_deleted_dataset_takes_its_parts_with_it(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data)
    await upload.send_all(data)
    assert (await parts_api("DELETE", upload.dataset_path)).status == 200
    assert part_files(parts_api) == []


async def test_part_urls_keep_the_file_from_expiring(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data)
    clock = parts_api.service.clock
    for number in range(1, upload.count + 1):
        answer = await upload.send(number, upload.part(data, number))
        assert (await upload.report(number, answer.headers["ETag"])).status == 200
        clock.advance(800)
    waiting = await parts_api.read_session(upload.session)
    assert waiting["status"]["conditions"][0]["status"] == "Waiting"
    assert await upload.complete() == 200
    assert (await parts_api.ended(upload.session))["status"]["progressCount"]["succeeded"] == 1


async def test_an_abandoned_upload_expires_with_its_last_part_url(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data)
    await upload.send(1, upload.part(data, 1))
    parts_api.service.clock.advance(901)
    ended = await parts_api.read_session(upload.session)
    (error,) = [event for event in ended["status"]["events"] if event["kind"] == "Error"]
    assert error["files"] == {"a.bmp": "ETIMEOUT"}


async def test_a_wrong_sum_of_the_whole_is_found(parts_api: Any, data: bytes) -> None:
    upload = await Upload.begin(parts_api, data, crc32c=7)
    await upload.send_all(data)
    assert await upload.complete() == 200
    ended = await parts_api.ended(upload.session)
    assert ended["status"]["progressCount"]["errored"] == 1
