"""Rows S1 to S6 and S14: secrets, and what a service may dictate."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.faults import breaks
from tests.faults.invariants import API_HEADERS, Listener
from tests.faults.proxy import Exchange
from tests.faults.stage import Scene, caught, check_sums

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_tasks")]

UP, DOWN, LISTING, SESSIONS = "^/up/", "^/dl/", "/assets$", "/assetIngestionSessions$"
ALL: dict[str, Any] = {"failure_mode": "FailAfterAll", "show_progress": False}
LOOK: dict[str, Any] = {"show_progress": False, "raise_on_failure": False}


def to(origin: str, own: str) -> Any:
    """Send transfers to another origin."""

    def change(document: Any) -> None:
        for item in document.get("items", []):
            contents = item["contents"]["asset"]
            contents["url"] = contents["url"].replace(own, origin)
        for item in document.get("status", {}).get("assets") or []:
            item["upload"]["url"] = item["upload"]["url"].replace(own, origin)

    return breaks.edit_json(change, "another origin")


async def test_S1_S6_transfers_on_another_host_go_without_credentials(scene: Scene) -> None:
    folder, dataset = scene.files(3), scene.dataset()
    elsewhere = to(scene.proxy.foreign, scene.proxy.url)
    scene.plan(elsewhere, "POST", SESSIONS)
    scene.plan(elsewhere, "GET", LISTING)
    async with scene.client() as client:
        result = await client.assets.upload(dataset, folder, **ALL)
        down = await client.assets.download(dataset, scene.folder / "down", **LOOK)
    scene.check_upload(result, dataset, folder)
    scene.check_download(down, scene.folder / "down", {p.name: p.read_bytes() for p in folder.iterdir()})
    foreign = scene.wire.of(origin="foreign")
    assert len(foreign) == 6
    assert not any(name in seen.headers for seen in foreign for name in API_HEADERS)
    assert all("authorization" in seen.headers for seen in scene.wire.of(path="^/workspaces/"))


async def test_S1_cookies_are_not_kept(scene: Scene) -> None:
    dataset, contents = scene.fill(3)
    scene.plan(
        breaks.edit(lambda reply: reply.with_header("Set-Cookie", "session=1; Path=/"), "sets a cookie"), at=None
    )
    async with scene.client() as client:
        result = await client.assets.download(dataset, scene.folder / "down", **LOOK)
    scene.check_download(result, scene.folder / "down", contents)
    assert len(scene.wire.log) > 4
    assert not any("cookie" in seen.headers for seen in scene.wire.log)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 429, 500, 503])
@pytest.mark.parametrize("shape", ["message", "nested", "text", "html", "details"])
async def test_S2_an_echoed_key_is_not_shown(scene: Scene, no_trace: Listener, status: int, shape: str) -> None:
    key = scene.service.secret_key

    async def echo(x: Exchange) -> None:
        sent = x.seen.headers["authorization"]
        said = f"Refused: {sent} (key {key})"
        body: Any = {
            "message": {"message": said, "code": "X"},
            "nested": {"error": {"message": said}},
            "text": said,
            "html": f"<html>{said}</html>",
            "details": {"message": "no", "details": {"headers": {"Authorization": sent}, "keys": [key]}},
        }[shape]
        await breaks.answer(status, [("X-Echo", sent)], body if not isinstance(body, str) else body.encode())(x)

    scene.plan(echo, at=None)
    async with scene.client(retries=vi.RetryPolicy(max_attempts=2, backoff=0.01)) as client:
        with pytest.raises(vi.ViError) as error:
            await client.datasets.list()
    raised = caught(error.value)
    for text in (str(raised), repr(raised), str(raised.to_dict()), "".join(traceback.format_exception(raised))):
        assert key[5:25] not in text
    assert key[5:25] not in "".join(no_trace.lines)


async def test_S2_the_key_is_in_no_repr(scene: Scene) -> None:
    key = scene.service.secret_key[5:25]
    async with scene.client() as client:
        dataset, _ = scene.fill(1)
        page = await client.assets.list(dataset, contents=True, thumbnails=True)
        for shown in (client, client.settings, client._http.settings, client.assets, page, page.items):
            assert key not in repr(shown)
            assert "X-Signature=" not in repr(shown)
        for shown in (page, page.items[0]):
            assert "<img src" in shown._repr_html_()
            assert "X-Signature" not in shown._repr_html_()
        assert "X-Signature=" in page.items[0].contents.asset.url  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "fault",
    [
        breaks.answer(403, body=b"SignatureDoesNotMatch"),
        breaks.answer(500, body=b"oops"),
        breaks.reset_at_head(),
        breaks.raw(b"nonsense"),
        breaks.answer(302, [("Location", "ftp://x/y?X-Signature=abcdef0123")]),
    ],
    ids=["403", "500", "reset", "nonsense", "redirect"],
)
@pytest.mark.parametrize("way", ["up", "down"])
async def test_S3_a_signature_is_in_no_error_and_no_log(scene: Scene, no_trace: Listener, fault: Any, way: str) -> None:
    dataset, _ = scene.fill(2)
    folder = scene.files(2, start=50)
    logging.getLogger("vi").setLevel(logging.DEBUG)
    scene.plan(fault, path=UP if way == "up" else DOWN, at=None)
    async with scene.client() as client:
        with pytest.raises(vi.ViError) as error:
            if way == "up":
                await client.assets.upload(dataset, folder, show_progress=False)
            else:
                await client.assets.download(dataset, scene.folder / "down", show_progress=False)
    caught(error.value)
    check_sums(error.value.result)
    assert "ignature=" not in "".join(no_trace.lines)
    assert "ignature=" not in f"{error.value} {error.value!r} {error.value.result!r}"


REFUSED_URLS = [
    "file:///etc/passwd",
    "ftp://127.0.0.1/x.png",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "http://user:word@127.0.0.1/x.png",
    "//127.0.0.1/x.png",
    "/dl/x.png",
    "http://",
    "http://[::1",
    "",
    None,
    7,
    ["http://127.0.0.1/"],
]


@pytest.mark.parametrize("url", REFUSED_URLS, ids=repr)
@pytest.mark.parametrize("way", ["up", "down"])
async def test_S4_a_url_of_another_kind_is_refused_by_name(scene: Scene, url: Any, way: str) -> None:
    dataset, contents = scene.fill(2)
    folder = scene.files(2, start=50)

    def meddle(document: Any) -> None:
        for item in document.get("items", []):
            if item["filename"] == "file-001.png":
                item["contents"]["asset"]["url"] = url
        for item in document.get("status", {}).get("assets") or []:
            if item["metadata"]["filename"] == "file-051.png":
                item["upload"]["url"] = url

    scene.plan(breaks.edit_json(meddle, "another URL"), path=SESSIONS if way == "up" else LISTING)
    async with scene.client() as client:
        if way == "up":
            target = scene.dataset()
            result: Any = await client.assets.upload(target, folder, **ALL)
            check_sums(result)
            assert [Path(f.path).name for f in result.failures] == ["file-051.png"]
            assert sorted(scene.stored(target)) == ["file-050.png"]
        else:
            result = await client.assets.download(dataset, scene.folder / "down", **LOOK)
            code = result.failures[0].code
            assert code in ("EBADURL", "EBADITEM", "ENOCONTENT")
            scene.check_download(result, scene.folder / "down", contents, failed={"file-001.png": code})


async def test_S4_plain_http_is_refused_where_the_service_is_https() -> None:
    from vi._transfer.outcomes import TransferFailed
    from vi._transfer.signed import signed_transfer

    with pytest.raises(TransferFailed, match="unencrypted"):
        signed_transfer("http://store.example/x", None, "GET", 0, endpoint="https://api.example")
    assert signed_transfer("https://store.example/x?a=%2F", None, "GET", 0, endpoint="https://api.example").url


REFUSED_HEADERS: list[Any] = [
    {"Authorization": "Bearer stolen-by-the-service"},
    {"Organization-Id": "x"},
    {"Cookie": "a=b"},
    {"Host": "elsewhere"},
    {"Content-Length": "1"},
    {"Transfer-Encoding": "chunked"},
    {"Connection": "close"},
    {"X-A": "b\r\nX-Injected: yes"},
    {"X-A\r\nX-Injected": "yes"},
    {"X A": "b"},
    {"": "b"},
    {"Proxy-Authorization": "Basic abc"},
    {"X-A": 5},
    ["X-A"],
]


@pytest.mark.parametrize("headers", REFUSED_HEADERS, ids=repr)
@pytest.mark.parametrize("way", ["up", "down"])
async def test_S5_headers_that_the_service_may_not_dictate_are_refused(scene: Scene, headers: Any, way: str) -> None:
    dataset, contents = scene.fill(2)
    folder = scene.files(2, start=50)

    def meddle(document: Any) -> None:
        for item in document.get("items", []):
            if item["filename"] == "file-001.png":
                item["contents"]["asset"]["headers"] = headers
        for item in document.get("status", {}).get("assets") or []:
            if item["metadata"]["filename"] == "file-051.png":
                item["upload"]["headers"] = headers

    scene.plan(breaks.edit_json(meddle, "dictated headers"), path=SESSIONS if way == "up" else LISTING)
    async with scene.client() as client:
        if way == "up":
            target = scene.dataset()
            result: Any = await client.assets.upload(target, folder, **ALL)
            check_sums(result)
            assert [(Path(f.path).name, f.code) for f in result.failures] == [("file-051.png", "EBADURL")]
        else:
            result = await client.assets.download(dataset, scene.folder / "down", **LOOK)
            scene.check_download(result, scene.folder / "down", contents, failed={"file-001.png": "EBADURL"})
    assert not any("x-injected" in seen.headers for seen in scene.wire.log)


async def test_S5_headers_that_were_signed_are_sent(scene: Scene) -> None:
    folder, dataset = scene.files(1), scene.dataset()

    def demand(document: Any) -> None:
        for item in document["status"]["assets"]:
            item["upload"]["headers"]["x-goog-meta-note"] = "kept"

    scene.plan(breaks.edit_json(demand, "demands a header"), "POST", SESSIONS)
    async with scene.client() as client:
        scene.check_upload(await client.assets.upload(dataset, folder, **ALL), dataset, folder)
    assert scene.wire.of("PUT", UP)[0].headers["x-goog-meta-note"] == "kept"


@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"asset_ids": None},
        {"filter_criteria": ""},
        {"filter_criteria": {}},
        {"filter_criteria": "   "},
        {"filter_criteria": "{}"},
        {"filter_criteria": "null"},
        {"metadata_query": ""},
        {"metadata_query": "  "},
        {"filter_criteria": {}, "metadata_query": ""},
        {"filter_criteria": {"status": "ready"}, "all": True},
    ],
    ids=repr,
)
async def test_S14_a_selection_of_nothing_is_not_everything(scene: Scene, selection: dict[str, Any]) -> None:
    dataset, contents = scene.fill(3)
    async with scene.client() as client:
        with pytest.raises(vi.ViInvalidParameterError):
            await client.assets.delete_many(dataset, **selection)
    assert not scene.wire.of("POST")
    assert len(scene.stored(dataset)) == len(contents)


async def test_S14_an_empty_list_of_ids_deletes_nothing_and_all_everything(scene: Scene) -> None:
    dataset, _ = scene.fill(3)
    async with scene.client() as client:
        assert (await client.assets.delete_many(dataset, asset_ids=[])).deleted == 0
        assert len(scene.stored(dataset)) == 3
        assert (await client.assets.delete_many(dataset, all=True)).deleted == 3
    assert scene.stored(dataset) == {}
