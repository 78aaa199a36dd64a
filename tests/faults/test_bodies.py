"""Rows B1 to B17: bodies and documents that are not what they should be."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.faults import breaks
from tests.faults.proxy import Exchange, Reply
from tests.faults.stage import LIMITS, Scene, caught, check_sums
from vi.api.types import PaginationParams

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_tasks")]

UP, DOWN, PART, API = "^/up/", "^/dl/", "^/part/", "^/workspaces/"
LISTING, SESSIONS = "/assets$", "/assetIngestionSessions$"
ALL: dict[str, Any] = {"failure_mode": "FailAfterAll", "show_progress": False}
LOOK: dict[str, Any] = {"show_progress": False, "raise_on_failure": False}
WHOLE = vi.TransferLimits()
MIB = 1 << 20


async def download(scene: Scene, dataset: str, limits: vi.TransferLimits = LIMITS, **choice: Any) -> Any:
    async with scene.client(limits=limits) as client:
        return await client.assets.download(dataset, scene.folder / "down", **{**LOOK, **choice})


def no_hash(document: Any) -> None:
    for item in document["items"]:
        item["metadata"]["hash"] = {"algorithm": "", "contents": ""}


@pytest.mark.parametrize("kind", ["small", "stream", "ranges"])
async def test_B1_fewer_bytes_than_announced_are_seen_by_the_framing(scene: Scene, kind: str) -> None:
    dataset, contents = scene.fill(2, large=True)
    name = "file-000" if kind == "small" else "large"
    scene.plan(breaks.cut_answer(100, close=True), "GET", f"{DOWN}.*{name}", at=(1, 2))
    result = await download(scene, dataset, LIMITS if kind == "ranges" else WHOLE)
    scene.check_download(result, scene.folder / "down", contents)


async def test_B1_chunks_without_their_end_are_cut(scene: Scene) -> None:
    dataset, contents = scene.fill(2)

    async def unended(x: Exchange) -> None:
        reply = await x.forward()
        x.answer_begins(reply)
        head = reply.with_header("Transfer-Encoding", "chunked").without("Content-Length")
        lines = ["HTTP/1.1 200 OK\r\n", *(f"{n}: {v}\r\n" for n, v in head.headers if n != "Connection"), "\r\n"]
        await x.write("".join(lines).encode() + f"{len(reply.body):x}\r\n".encode() + reply.body + b"\r\n")
        await x.close()

    scene.plan(unended, "GET", DOWN, at=(1, 2))
    scene.check_download(await download(scene, dataset), scene.folder / "down", contents)
    assert scene.wire.count("GET", DOWN) == 4


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("kind", ["small", "stream", "ranges"])
async def test_B2_fewer_bytes_honestly_announced_are_no_whole_file(scene: Scene, kind: str, lasting: bool) -> None:
    dataset, contents = scene.fill(2, large=True)
    name = "file-000.png" if kind == "small" else "large.bmp"

    def short(reply: Reply) -> Reply:
        reply.body = reply.body[:-7]
        return reply

    scene.plan(breaks.edit(short, "short"), "GET", f"{DOWN}.*{name}", at=None if lasting else 1)
    result = await download(scene, dataset, LIMITS if kind == "ranges" else WHOLE)
    failed = {name: "ECORRUPT"} if lasting else {}
    scene.check_download(result, scene.folder / "down", contents, failed=failed)


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("kind", ["small", "stream", "ranges"])
async def test_B3_a_flipped_bit_is_seen_before_the_rename(scene: Scene, kind: str, lasting: bool) -> None:
    dataset, contents = scene.fill(2, large=True)
    name = "file-000.png" if kind == "small" else "large.bmp"
    scene.plan(
        breaks.edit(lambda reply: breaks.flip(reply, 77), "flipped"),
        "GET",
        f"{DOWN}.*{name}",
        at=None if lasting else 1,
    )
    scene.attempts = 10  # a range whose file proves damaged is fetched again with the whole
    result = await download(scene, dataset, LIMITS if kind == "ranges" else WHOLE)
    failed = {name: "ECORRUPT"} if lasting else {}
    scene.check_download(result, scene.folder / "down", contents, failed=failed)


@pytest.mark.parametrize("kept", ["Repr-Digest", "x-goog-hash"])
@pytest.mark.parametrize(("kind", "at"), [("small", 1), ("ranges", 1), ("ranges", 2), ("ranges", 3)])
async def test_B3_without_a_hash_in_the_listing_the_storages_own_counts(
    scene: Scene, kind: str, at: int, kept: str
) -> None:
    dataset, contents = scene.fill(1, large=True)
    name = "file-000.png" if kind == "small" else "large.bmp"
    other = {"Repr-Digest": "x-goog-hash", "x-goog-hash": "Repr-Digest"}[kept]
    scene.plan(breaks.edit_json(no_hash, "without a hash"), "GET", LISTING, at=None)
    answers = 0

    def flip_one(reply: Reply) -> Reply:
        nonlocal answers
        answers += 1
        return (breaks.flip(reply, 50) if answers == at else reply).without(other)

    scene.plan(breaks.edit(flip_one, "flipped"), "GET", f"{DOWN}.*{name}", at=None)
    scene.attempts = 10  # ranges whose file proves damaged are fetched again with the whole
    result = await download(scene, dataset)
    scene.check_download(result, scene.folder / "down", contents)
    assert answers > at


async def test_B4_a_storage_without_ranges_is_read_as_a_whole(scene: Scene) -> None:
    dataset, contents = scene.fill(1, large=True)

    async def whole(x: Exchange) -> None:
        x._headers = [(n, v) for n, v in x._headers if n.lower() != "range"]
        await x.send(await x.forward())

    scene.plan(whole, "GET", DOWN, at=None, name="200 for a range")
    result = await download(scene, dataset)
    scene.check_download(result, scene.folder / "down", contents)


@pytest.mark.parametrize("at", [2, 3])
async def test_B4_one_200_among_the_ranges_is_never_appended(scene: Scene, at: int) -> None:
    dataset, contents = scene.fill(0, large=True)

    async def whole(x: Exchange) -> None:
        x._headers = [(n, v) for n, v in x._headers if n.lower() != "range"]
        await x.send(await x.forward())

    scene.plan(whole, "GET", DOWN, at=at, name="200 for a range")
    result = await download(scene, dataset)
    scene.check_download(result, scene.folder / "down", contents)


async def test_B4_a_resumed_stream_that_gets_the_whole_begins_again(scene: Scene) -> None:
    scene.large("big.bmp", size=(1200, 900), folder="seed")
    dataset, contents = scene.fill(0)

    async def whole(x: Exchange) -> None:
        assert "range" in x.seen.headers
        x._headers = [(n, v) for n, v in x._headers if n.lower() not in ("range", "if-match")]
        await x.send(await x.forward())

    scene.plan(breaks.cut_answer(2_000_000), "GET", DOWN, at=1)
    scene.plan(whole, "GET", DOWN, at=1, name="200 for a range")
    result = await download(scene, dataset, WHOLE)
    scene.check_download(result, scene.folder / "down", contents)


@pytest.mark.parametrize(
    "other", ["bytes 0-65535/230454", "bytes 70000-135535/230454", "bytes */230454", "nonsense", ""]
)
async def test_B4_a_206_for_another_range_is_not_taken(scene: Scene, other: str) -> None:
    dataset, contents = scene.fill(0, large=True)
    scene.plan(breaks.edit(lambda reply: reply.with_header("Content-Range", other), "another range"), "GET", DOWN, at=2)
    result = await download(scene, dataset)
    scene.check_download(result, scene.folder / "down", contents)


@pytest.mark.parametrize("how", ["412", "other_etag"])
@pytest.mark.parametrize("hashed", [True, False])
async def test_B5_an_object_that_changes_between_ranges_is_started_over(scene: Scene, how: str, hashed: bool) -> None:
    dataset, contents = scene.fill(0, large=True)
    old = bytes(byte ^ 1 for byte in contents["large.bmp"])
    if not hashed:
        scene.plan(breaks.edit_json(no_hash, "without a hash"), "GET", LISTING, at=None)

    async def answer(x: Exchange) -> None:
        """Serve an older object of the same size to the first request, then the present one."""
        number = first.fired
        reply = await x.forward()
        if number == 1:
            start = int((reply.header("Content-Range") or "").removeprefix("bytes ").partition("-")[0])
            reply.body = old[start : start + len(reply.body)]
            reply = reply.with_header("ETag", '"older"')
        elif x.seen.headers.get("if-match") == '"older"':
            reply = Reply(412, [("ETag", '"newer"')]) if how == "412" else await served(x)
        await x.send(reply)

    async def served(x: Exchange) -> Reply:
        x._headers = [(n, v) for n, v in x._headers if n.lower() != "if-match"]
        return await x.forward()

    first = scene.plan(answer, "GET", DOWN, at=None, name="changed between ranges")
    scene.attempts = 10
    result = await download(scene, dataset)
    scene.check_download(result, scene.folder / "down", contents)


async def test_B5_a_cut_stream_is_not_continued_with_another_object(scene: Scene) -> None:
    scene.large("big.bmp", size=(1200, 900), folder="seed")
    dataset, contents = scene.fill(0)
    scene.plan(breaks.edit_json(no_hash, "without a hash"), "GET", LISTING, at=None)

    async def older_and_cut(x: Exchange) -> None:
        reply = (await x.forward()).with_header("ETag", '"older"').without("x-goog-hash", "Repr-Digest")
        x.answer_begins(reply)
        await x.write(reply.head(len(reply.body)) + bytes(2_000_000))
        import asyncio

        await asyncio.sleep(0.05)
        x.reset()

    scene.plan(older_and_cut, "GET", DOWN, at=1)
    result = await download(scene, dataset, WHOLE)
    scene.check_download(result, scene.folder / "down", contents)


@pytest.mark.parametrize("how", ["announced", "endless"])
@pytest.mark.parametrize("kind", ["small", "stream"])
async def test_B6_a_body_that_is_too_long_is_stopped(scene: Scene, kind: str, how: str) -> None:
    dataset, contents = scene.fill(2, large=True)
    name = "file-000.png" if kind == "small" else "large.bmp"
    sent: list[int] = []

    async def too_long(x: Exchange) -> None:
        reply = await x.forward()
        x.answer_begins(reply)
        if how == "announced":
            reply.body += bytes(MIB)
            await x.send(reply)
            return
        await x.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await x.write(f"{len(reply.body):x}\r\n".encode() + reply.body + b"\r\n")
        while True:
            sent.append(1)
            await x.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    scene.plan(too_long, "GET", f"{DOWN}.*{name}", at=None)
    result = await download(scene, dataset, WHOLE)
    scene.check_download(result, scene.folder / "down", contents, failed={name: "ECORRUPT"})
    # What the sockets hold may have been written in vain, five times over.
    assert sum(sent) * (1 << 16) < 200 * MIB


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "gzip, gzip", "aws-chunked, gzip"])
async def test_B7_a_coding_of_stored_bytes_is_refused_unread(scene: Scene, coding: str) -> None:
    dataset, contents = scene.fill(2)
    scene.plan(
        breaks.edit(lambda reply: reply.with_header("Content-Encoding", coding), f"coded as {coding}"),
        "GET",
        f"{DOWN}.*file-001",
        at=None,
    )
    result = await download(scene, dataset)
    scene.check_download(result, scene.folder / "down", contents, failed={"file-001.png": "EUNKNOWN"})
    assert coding in result.failures[0].message
    assert scene.wire.count("GET", f"{DOWN}.*file-001") == 1


@pytest.mark.parametrize("label", ["aws-chunked", "binary", "utf-8", "identity", "UTF-8", "aws-chunked,identity", ""])
async def test_B7_a_label_that_is_no_compression_is_passed_over(scene: Scene, label: str) -> None:
    dataset, contents = scene.fill(2)
    labelled = breaks.edit(lambda reply: reply.with_header("Content-Encoding", label), f"labelled {label}")
    scene.plan(labelled, "GET", f"{DOWN}.*file-001", at=None)
    result = await download(scene, dataset)
    scene.check_download(result, scene.folder / "down", contents)


async def test_B8_an_upload_damaged_on_the_way_is_sent_again(scene: Scene) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(breaks.damage_request(60), "PUT", f"{UP}.*file-001", at=1)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    sent = [seen.status for seen in scene.wire.log if seen.method == "PUT" and "file-001" in seen.target]
    # A session that has judged the damaged bytes already refuses the next ones, which then go to another.
    assert sent in ([200, 200], [200, 410, 200], [200, 404, 200])


async def test_B8_an_upload_damaged_again_is_reported(scene: Scene) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(breaks.damage_request(60), "PUT", f"{UP}.*file-001", at=None)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder, failed={"file-001.png": "ECORRUPT"})
    assert 2 <= scene.wire.count("PUT", f"{UP}.*file-001") <= 4


@pytest.mark.parametrize(
    "fault",
    [breaks.reset_inside_body(30_000), breaks.answer(503), breaks.damage_request(1000), breaks.lose_answer()],
    ids=["reset", "503", "damaged", "answer_lost"],
)
async def test_B9_a_failed_part_alone_is_sent_again(scene: Scene, fault: Any) -> None:
    dataset = scene.dataset()
    folder = scene.large().parent
    scene.plan(fault, "PUT", PART, at=2)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    assert scene.wire.count("PUT", PART) == 4
    assert scene.wire.count("PUT", UP) == 0


async def test_B9_a_multipart_upload_that_fails_is_aborted(scene: Scene) -> None:
    folder, dataset = scene.files(2), scene.dataset()
    scene.large()
    scene.plan(breaks.answer(500), "PUT", f"{PART}.*/2$", at=None)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder, failed={"large.bmp": "EREFUSED"})
    assert scene.wire.count("DELETE", "/multipartUploads/") == 1


async def test_B9_parts_that_are_there_are_kept_when_the_service_falls_silent(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VI_CACHE_DIR", str(tmp_path / "cache"))
    folder, dataset = scene.large(folder="one").parent, scene.dataset()
    scene.plan(breaks.stall_after_body(), "POST", "/completion$", at=range(3, 8))
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
        assert [failure.code for failure in result.failures] == ["ENETWORK"]
        assert not scene.wire.count("DELETE", "/multipartUploads/")
        sent = scene.wire.count("PUT", "^/part/")
        again = await client.assets.upload(dataset, folder, **ALL)
    assert again.total_succeeded + again.total_existing == 1
    assert scene.wire.count("PUT", "^/part/") - sent <= 2, "the part that was being reported, and the one beside it"
    scene.check_upload(again, dataset, folder)


async def test_B9_the_session_carries_the_checksum_of_every_size(scene: Scene) -> None:
    folder, dataset = scene.files(1), scene.dataset()
    scene.large()
    announced: list[Any] = []

    async def note(x: Exchange) -> None:
        announced.extend(json.loads(await x.read())["spec"]["assets"])
        await x.send(await x.forward())

    scene.plan(note, "POST", SESSIONS)
    async with scene.client() as client:
        scene.check_upload(await client.assets.upload(dataset, folder, **ALL), dataset, folder)
    assert len(announced) == 2
    assert all(isinstance(entry["crc32c"], int) for entry in announced)


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Bad gateway</body></html>" * 50,
        b'{"items": [',
        b'{"items": ["\xff\xfe"]}',
        b'{"items": NaN}',
        b"\0",
    ],
    ids=["html", "cut", "not_utf8", "nan", "nul"],
)
async def test_B10_what_is_no_json_is_an_error_that_names_the_request(scene: Scene, body: bytes) -> None:
    scene.plan(breaks.answer(200, [("Content-Type", "application/json")], body), "GET", "/datasets$", at=None)
    async with scene.client() as client:
        with pytest.raises(vi.ViOperationError, match=r"GET .*/datasets") as error:
            await client.datasets.list()
    caught(error.value)
    assert len(str(error.value.details.get("body", ""))) <= 200


@pytest.mark.parametrize("kind", ["small", "part"])
@pytest.mark.parametrize("page", [b"<html>Please log in</html>", b"\n<!DOCTYPE html>\n<html lang=en>"])
async def test_B10_a_web_page_for_an_upload_stores_nothing_and_is_repeated(
    scene: Scene, kind: str, page: bytes
) -> None:
    """A network that wants a log-in answers everything with 200."""
    folder, dataset = scene.files(3), scene.dataset()
    scene.large()
    fault = breaks.answer(200, [("Content-Type", "text/html; charset=utf-8")], page)
    scene.plan(fault, "PUT", PART if kind == "part" else UP, at=2)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, timeout=30, **ALL)
    scene.check_upload(result, dataset, folder)


async def test_B10_an_empty_answer_that_calls_itself_a_page_is_an_answer(scene: Scene) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    scene.plan(
        breaks.edit(lambda reply: reply.with_header("Content-Type", "text/html; charset=UTF-8"), "as Google's"),
        "PUT",
        UP,
        at=None,
    )
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
    scene.check_upload(result, dataset, folder)
    assert scene.wire.count("PUT", UP) == 3


def nested(depth: int) -> bytes:
    return b'{"items": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    "body",
    [nested(100_000), b'{"items": [' + b"9" * 20_000 + b"]}", b'{"items": [' + b"[]," * (20 * MIB) + b"[]]}"],
    ids=["deep", "digits", "many_values"],
)
async def test_B11_documents_that_would_exhaust_the_reader_are_refused(scene: Scene, body: bytes) -> None:
    scene.plan(breaks.answer(200, body=body), "GET", "/datasets$")
    tracemalloc.start()
    try:
        async with scene.client(timeouts=vi.Timeouts()) as client:
            with pytest.raises(vi.ViOperationError, match="cannot be read") as error:
                await client.datasets.list()
        caught(error.value)
        assert tracemalloc.get_traced_memory()[1] < 300 * MIB
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Half a megabyte that unpacks to 512 MiB."""
    packer = __import__("zlib").compressobj(9, __import__("zlib").DEFLATED, 31)
    spaces = b" " * MIB
    return b"".join(packer.compress(spaces) for _ in range(512)) + packer.flush()


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("kind", ["bomb", "plain"])
async def test_B11_a_listing_without_end_is_cut_off_within_memory(
    scene: Scene, bomb: bytes, kind: str, status: int
) -> None:
    assert len(bomb) < MIB

    async def plain(x: Exchange) -> None:
        x.answer_begins(Reply(status, []))
        await x.write(f"HTTP/1.1 {status} Status\r\nContent-Length: {256 * MIB}\r\n\r\n".encode())
        for _ in range(256):
            await x.write(b" " * MIB)

    packed = breaks.answer(status, [("Content-Encoding", "gzip")], bomb)
    scene.plan(packed if kind == "bomb" else plain, "GET", "/datasets$", at=None)
    tracemalloc.start()
    try:
        async with scene.client(timeouts=vi.Timeouts()) as client:
            with pytest.raises(vi.ViError) as error:
                await client.datasets.list()
        caught(error.value)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300 * MIB, f"{peak / MIB:.0f} MiB"
    if status == 200:
        assert isinstance(error.value, vi.ViOperationError)
        assert scene.wire.count("GET", "/datasets$") == 1


async def test_B12_unknown_words_and_fields_are_kept(scene: Scene) -> None:
    folder, dataset = scene.files(2), scene.dataset()

    def strange(document: Any) -> None:
        document["status"]["events"].append({"kind": "Weather", "rain": True})
        document["status"]["conditions"].append(
            {"condition": "Polished", "status": "Half", "lastTransitionTime": 1, "gloss": 0.5}
        )
        document["spec"]["failureMode"] = "FailAfterTea"
        document["colour"] = {"deep": ["unknown"]}

    def odd(document: Any) -> None:
        for item in document["items"]:
            item["kind"] = "Hologram"
            item["metadata"]["status"] = "dreaming"
            item["metadata"]["future"] = {"field": [1, 2]}

    scene.plan(breaks.edit_json(strange, "strange"), "GET", "/assetIngestionSessions/", at=None)
    scene.plan(breaks.edit_json(odd, "odd"), "GET", LISTING, at=None)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
        page = await client.assets.list(dataset)
    scene.check_upload(result, dataset, folder)
    assert result.sessions[0].spec.failure_mode == "FailAfterTea"
    assert {asset.kind for asset in page.items} == {"Hologram"}
    assert {asset.metadata.status for asset in page.items} == {"dreaming"}
    assert not page.bad_items


async def test_B13_one_bad_item_is_reported_and_the_page_survives(scene: Scene) -> None:
    dataset, contents = scene.fill(5)

    def spoil(document: Any) -> None:
        items = sorted(document["items"], key=lambda item: item["filename"])
        del items[0]["metadata"]["cohorts"], items[0]["owner"]
        items[1]["metadata"]["fileSize"] = "many"
        items[2] = None
        items[3]["filename"] = 7
        document["items"] = items

    scene.plan(breaks.edit_json(spoil, "spoilt"), "GET", LISTING, at=None)
    async with scene.client() as client:
        page = await client.assets.list(dataset)
        assert [asset.filename for asset in page.items] == ["file-000.png", "file-004.png"]
        assert [item.position for item in page.bad_items] == [1, 2, 3]
        assert "fileSize" in page.bad_items[0].problem
        result = await client.assets.download(dataset, scene.folder / "down", **LOOK)
    check_sums(result)
    assert result.total_downloaded == 2
    assert {failure.code for failure in result.failures} == {"EBADITEM"}
    assert sorted(path.name for path in (scene.folder / "down").iterdir()) == ["file-000.png", "file-004.png"]
    assert contents


async def test_B13_a_bad_document_names_the_path_of_the_field(scene: Scene) -> None:
    dataset, _ = scene.fill(1)

    def spoil(document: Any) -> None:
        document["metadata"]["fileSize"] = {"not": "a number"}

    asset = scene.admin.assets.list(dataset).items[0]
    scene.plan(breaks.edit_json(spoil, "spoilt"), "GET", "/assets/")
    async with scene.client() as client:
        with pytest.raises(vi.ViOperationError, match=r"metadata\.fileSize"):
            await client.assets.get(dataset, asset.asset_id)


def pages(scene: Scene, token_of: Any, *, items: bool = True) -> list[str | None]:
    """Answer listings with made-up pages, and note the tokens that were asked for."""
    asked: list[str | None] = []

    async def page(x: Exchange) -> None:
        from urllib.parse import parse_qs, urlsplit

        query = parse_qs(urlsplit(x.seen.target).query, keep_blank_values=True)
        asked.append(query.get("p", [None])[0])
        number = len(asked)
        item = {"assetId": f"a{number}", "datasetId": "d", "filename": f"{number}.png"}
        document = {"items": [item] if items else [], "nextPage": token_of(number)}
        await x.send(Reply(200, [], json.dumps(document).encode()))

    scene.plan(page, "GET", LISTING, at=None)
    return asked


@pytest.mark.parametrize("period", [1, 3])
async def test_B14_a_token_that_comes_back_ends_the_listing(scene: Scene, period: int) -> None:
    asked = pages(scene, lambda number: f"token-{number % period}")
    async with scene.client() as client:
        with pytest.raises(vi.ViOperationError, match="token"):
            async for _ in client.assets.list("d").pages():
                pass
    assert len(asked) <= 2 * period + 1


@pytest.mark.parametrize(
    "token", ["a b&p=c#d?e/f%2F+\r\nX: y", "\N{SNOWMAN}", "="], ids=["hostile", "unicode", "equals"]
)
async def test_B14_tokens_come_back_as_they_were(scene: Scene, token: str) -> None:
    asked = pages(scene, lambda number: token if number == 1 else None)
    async with scene.client() as client:
        assert len([asset async for asset in client.assets.list("d").all_items()]) == 2
    assert asked == [None, token]


async def test_B14_a_token_of_8_mib_is_refused(scene: Scene) -> None:
    asked = pages(scene, lambda number: "x" * (8 * MIB))
    async with scene.client() as client:
        with pytest.raises(vi.ViOperationError, match="token"):
            async for _ in client.assets.list("d").pages():
                pass
    assert len(asked) == 1


async def test_B14_empty_pages_without_end_stop(scene: Scene) -> None:
    asked = pages(scene, str, items=False)
    async with scene.client() as client:
        with pytest.raises(vi.ViOperationError, match="empty pages"):
            async for _ in client.assets.list("d").pages():
                pass
    assert len(asked) <= 101


async def test_B14_pages_without_end_can_be_left(scene: Scene) -> None:
    asked = pages(scene, str)
    async with scene.client() as client:
        count = 0
        async for _ in client.assets.list("d").all_items():
            count += 1
            if count == 50:
                break
    assert len(asked) == 50


@pytest.mark.parametrize("fault", [breaks.cut_answer(300), breaks.cut_answer(300, close=True), breaks.answer(502)])
async def test_B15_B16_a_listing_cut_in_the_middle_skips_and_repeats_nothing(scene: Scene, fault: Any) -> None:
    dataset, contents = scene.fill(25)
    scene.plan(fault, "GET", LISTING, at=(1, 3, 4))
    async with scene.client() as client:
        listing = client.assets.list(dataset, PaginationParams(page_size=4))
        names = [asset.filename async for asset in listing.all_items()]
    assert sorted(names) == sorted(contents)
    assert scene.wire.count("GET", LISTING) == 7 + 3


@pytest.mark.parametrize("days", [-1, 1, -400])
async def test_B17_an_expiry_of_another_clock_is_tried_before_it_is_doubted(scene: Scene, days: int) -> None:
    dataset, contents = scene.fill(6)
    folder = scene.files(6)

    def shift(document: Any) -> None:
        for item in document.get("items", []):
            item["contents"]["asset"]["expiry"] += days * 86_400_000
        for item in document.get("status", {}).get("assets") or []:
            item["upload"]["expiry"] += days * 86_400_000

    scene.plan(breaks.edit_json(shift, "another clock"), "GET", LISTING, at=None)
    scene.plan(breaks.edit_json(shift, "another clock"), "POST", SESSIONS, at=None)
    async with scene.client(limits=vi.TransferLimits(max_concurrency=1)) as client:
        result = await client.assets.download(dataset, scene.folder / "down", **LOOK)
        target = scene.dataset()
        sent = await client.assets.upload(target, folder, **ALL)
    scene.check_download(result, scene.folder / "down", contents)
    scene.check_upload(sent, target, folder)
    assert scene.wire.count("GET", "/assets/[^/]+$") == 0
    assert scene.wire.count("POST", SESSIONS) == 1
