"""Uploads from the gallery: by its script, by a plain form, and what is seen of anybody's."""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import vi
from tests.service.gallery_visitor import Answer, Visitor
from tests.support.systems import needs_names

pytestmark = pytest.mark.anyio

Visit = Callable[..., Awaitable[Visitor]]


@pytest.fixture
def dataset_id(dataset_path: str) -> str:
    return dataset_path.rpartition("_")[2]


@pytest.fixture
async def visitor(api: Any, visit: Visit) -> Visitor:
    return await visit(api.service)


async def state_of(visitor: Visitor, address: str) -> dict[str, Any]:
    answer = await visitor("GET", address + "/state", headers={"Accept": "application/json"})
    assert answer.status == 200
    (session,) = answer.document["sessions"]
    return dict(session)


async def ended(visitor: Visitor, address: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (found := await state_of(visitor, address))["state"] == "open":
            await asyncio.sleep(0.01)
    return found


async def upload(visitor: Visitor, dataset_id: str, files: list[tuple[str, bytes]], **more: Any) -> Answer:
    fields = [("csrf", None, visitor.token.encode()), *(("files", name, data) for name, data in files)]
    return await visitor.send_form(f"/gallery/datasets/{dataset_id}/uploads", fields, **more)


async def test_a_form_with_files_becomes_a_session_like_any_other(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    data = picture(1)
    answer = await upload(
        visitor,
        dataset_id,
        [
            ("a.png", data),
            ("broken.png", data[:-20]),
            ("gif.png", picture(2, format="GIF")),
            ("x.txt", b"x"),
            ("empty.png", b""),
        ],
    )
    assert answer.status == 303
    address = answer.headers["Location"]
    found = await ended(visitor, address)
    assert (found["state"], found["counts"]) == ("partial", "1 of 5 files stored · 4 failed")
    assert {one["name"]: one["code"] for one in found["problems"]} == {
        "broken.png": "ECORRUPT",
        "gif.png": "EBADMIME",
        "x.txt": "EBADMIME",
        "empty.png": "EBADSIZE",
    }
    assert {one["text"] for one in found["problems"] if one["code"] == "ECORRUPT"} == {
        "The content cannot be read as image/png: it ends before its IEND chunk."
    }
    (asset,) = await api.assets(dataset_path)
    assert asset["filename"] == "a.png"
    assert asset["metadata"]["hash"]["contents"] == hashlib.sha256(data).hexdigest()
    sessions = (
        await api("GET", f"{dataset_path}/assetSources/managed/datature/default/assetIngestionSessions")
    ).document
    assert len(sessions["items"]) == 1
    page = (await visitor("GET", address)).page
    assert {"broken.png", "gif.png", "x.txt", "empty.png"} <= set(page.names)


@pytest.mark.parametrize(
    ("given", "stored"),
    [("../../etc/a.png", "a.png"), ("<b>.png", "<b>.png"), ("ü 𝄞.png", "ü 𝄞.png")],
)
async def test_a_form_gives_a_name_not_a_path(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any, given: str, stored: str
) -> None:
    answer = await upload(visitor, dataset_id, [(given, picture(1))])
    assert answer.status == 303
    await ended(visitor, answer.headers["Location"])
    assert [asset["filename"] for asset in await api.assets(dataset_path)] == [stored]


async def test_a_form_that_cannot_be_taken_leaves_nothing(
    fresh_service: Any, connect: Any, visit: Visit, picture: Any
) -> None:
    api, visitor = await connect(fresh_service), await visit(fresh_service)
    path = await api.create_dataset()
    dataset_id = path.rpartition("_")[2]
    for files, more, status in (
        ([], {}, 400),
        ([("a.png", picture(1)), ("a.png", picture(2))], {}, 400),
        ([("..", picture(1))], {}, 400),
        ([("n" * 2000 + ".png", picture(1))], {}, 400),
        ([("a.png", picture(1))], {"cut": 20}, 400),
    ):
        answer = await upload(visitor, dataset_id, files, **more)
        assert answer.status == status, answer.text
        assert answer.headers["Content-Type"].startswith("text/html")
    assert await api.total(path) == 0
    left = [file for file in (Path(fresh_service.data) / "bytes").rglob("*") if file.is_file()]
    assert left == []


FORMS = {
    "no boundary": ("multipart/form-data", b"--x\r\n"),
    "a long boundary": ("multipart/form-data; boundary=" + "x" * 99, b"--" + b"x" * 99 + b"\r\n"),
    "nothing": ("multipart/form-data; boundary=x", b""),
    "no part": ("multipart/form-data; boundary=x", b"--x--\r\n"),
    "no end": ("multipart/form-data; boundary=x", b"--x\r\nA: b\r\n\r\n"),
    "nonsense": ("multipart/form-data; boundary=x", b"\0" * 3000),
    "a part of parts": (
        "multipart/form-data; boundary=x",
        b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n--y--\r\n--x--\r\n",
    ),
    "a bad head": ("multipart/form-data; boundary=x", b"--x\r\nno colon here\r\n\r\nx\r\n--x--\r\n"),
    "a long head": ("multipart/form-data; boundary=x", b"--x\r\nA: " + b"b" * 99_999 + b"\r\n\r\nx\r\n--x--\r\n"),
    "many heads": ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 9_999 + b"\r\nx\r\n--x--\r\n"),
    "a long charset": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n' + b"u" * 99 + b"\r\n--x--\r\n",
    ),
    "no form with files": ("application/json", b"{}"),
}


@pytest.mark.parametrize("what", FORMS)
async def test_a_form_that_cannot_be_read_is_refused(
    dataset_id: str, visitor: Visitor, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    content_type, body = FORMS[what]
    for token in ({}, {"X-CSRF-Token": visitor.token}):
        headers = {"Content-Type": content_type, **token}
        answer = await visitor("POST", f"/gallery/datasets/{dataset_id}/uploads", data=body, headers=headers)
        assert answer.status in (400, 403), answer.text
    assert not caplog.records


async def test_a_form_that_stalls_is_given_up(start_service: Any, connect: Any, visit: Visit, picture: Any) -> None:
    service = start_service(body_seconds=0.3)
    api, visitor = await connect(service), await visit(service)
    path = await api.create_dataset()
    stall = asyncio.Event()

    for sent in (b"--x\r\n", form_with(visitor.token, b"\x89PNG")):

        async def body(sent: bytes = sent) -> Any:
            yield sent
            await stall.wait()

        answer = await visitor(
            "POST",
            f"/gallery/datasets/{path.rpartition('_')[2]}/uploads",
            data=body(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        assert answer.status == 408
    stall.set()
    left = [file for file in (Path(service.data) / "bytes").rglob("*") if file.is_file()]
    assert left == []


def form_with(token: str, begin: bytes) -> bytes:
    """The beginning of a form with a file."""
    return (
        f'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{token}\r\n'
        '--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    ).encode() + begin


async def test_a_form_is_held_to_the_quota(start_service: Any, connect: Any, visit: Visit, picture: Any) -> None:
    data = picture(1)
    service = start_service(quota_bytes=2 * len(data) - 1)
    api, visitor = await connect(service), await visit(service)
    path = await api.create_dataset()
    for name in ("a.png", "b.png"):
        answer = await upload(visitor, path.rpartition("_")[2], [(name, data)])
        found = await ended(visitor, answer.headers["Location"])
    assert [(one["name"], one["code"]) for one in found["problems"]] == [("b.png", "ENOQUOTA")]
    much = await upload(visitor, path.rpartition("_")[2], [("c.png", bytes(2 * len(data)))])
    assert (much.status, "larger than the quota" in much.text) == (413, True)
    assert await api.total(path) == 1


async def test_the_script_uploads_as_any_client_does(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    token = {"X-CSRF-Token": visitor.token, "Accept": "application/json"}
    address = f"/gallery/datasets/{dataset_id}/sessions"
    files = {"a.png": picture(1), "b.png": picture(2)[:-20]}
    created = await visitor("POST", address, json=api.announce(files), headers=token)
    assert created.status == 201
    assert created.document["assetSourceClass"] == "managed"
    await api.put_all(created.document, files)
    found = await ended(visitor, f"{address}/{created.document['assetIngestionSessionId']}")
    assert found["problems"] == [
        {
            "name": "b.png",
            "code": "ECORRUPT",
            "text": "The content cannot be read as image/png: it ends before its IEND chunk.",
        }
    ]
    assert await api.total(dataset_path) == 1
    for body in ({"spec": {}}, {"spec": {"kind": "Upload", "assets": []}}):
        assert (await visitor("POST", address, json=body, headers=token)).status == 400


async def test_a_session_is_seen_as_it_goes_and_can_be_cancelled(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    files = {"a.png": picture(1), "b.png": picture(2), "c.png": picture(3)}
    session = await api.open_session(dataset_path, files)
    address = f"/gallery/datasets/{dataset_id}/sessions/{session['assetIngestionSessionId']}"
    assert await state_of(visitor, address) == {
        "id": session["assetIngestionSessionId"],
        "state": "open",
        "label": "in progress",
        "counts": "0 of 3 files stored",
        "settled": 0,
        "succeeded": 0,
        "total": 3,
        "problems": [],
    }
    await api.put(session["status"]["assets"][0], files["a.png"])
    async with asyncio.timeout(20):
        while (await state_of(visitor, address))["counts"] != "1 of 3 files stored":
            await asyncio.sleep(0.01)
    page = (await visitor("GET", "/gallery/sessions")).page
    (bar,) = (one for one in page.all("progress") if (one["max"], one["value"]) == ("3", "1"))
    assert bar["aria-label"]
    assert (await visitor.post(address + "/cancel", {"csrf": ""})).status == 403
    assert (await state_of(visitor, address))["state"] == "open"
    assert (await visitor.post(address + "/cancel", {})).status == 303
    assert (await state_of(visitor, address))["label"] == "cancelled"
    assert (await api.put(session["status"]["assets"][1], files["b.png"])).status == 410
    assert await api.total(dataset_path) == 1


async def test_a_list_names_the_first_failures_and_a_session_all(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    files = {f"bad {number:02}.png": b"x%d" % number for number in range(30)} | {"good.png": picture(1)}
    session = await api.ingest(dataset_path, files)
    listed = (await visitor("GET", f"/gallery/datasets/{dataset_id}/sessions")).page
    assert len([name for name in listed.names if name.startswith("bad")]) == 20
    assert "10 more" in listed.text
    one = await visitor("GET", f"/gallery/datasets/{dataset_id}/sessions/{session['assetIngestionSessionId']}")
    assert len([name for name in one.page.names if name.startswith("bad")]) == 30


async def test_sessions_have_pages_and_say_whose_they_are(fresh_api: Any, visit: Visit, picture: Any) -> None:
    visitor = await visit(fresh_api.service)
    first, second = await fresh_api.create_dataset("First"), await fresh_api.create_dataset("Second")
    assert "Nothing has been uploaded" in (await visitor("GET", "/gallery/sessions")).text
    for number in range(22):
        await fresh_api.open_session(first if number % 2 else second, {"a.png": picture(1)})
    page = (await visitor("GET", "/gallery/sessions")).page
    assert page.names == ["First", "Second"] * 10
    following = page.link("next")
    assert following
    rest = (await visitor("GET", following)).page
    assert rest.names == ["First", "Second"]
    (live,) = (one for tag, one in rest.elements if "data-state" in one)
    assert len((await visitor("GET", live["data-state"])).document["sessions"]) == 2
    of_one = (await visitor("GET", f"/gallery/datasets/{first.rpartition('_')[2]}/sessions")).page
    assert len(of_one.all("article")) == 11
    await fresh_api("DELETE", second)
    assert set((await visitor("GET", "/gallery/sessions")).page.names) == {"First"}


@needs_names
async def test_the_sessions_of_one_upload_are_one_card(
    fresh_service: Any, fresh_api: Any, visit: Any, picture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two uploads of two sessions each, from a folder whose name is hostile; another client's session beside them."""
    path = await fresh_api.create_dataset("First")
    dataset = path.rpartition("_")[2]
    folder = tmp_path / "<b>&"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture(number))
    (folder / "bad.png").write_bytes(picture(9)[:60])
    limits = vi.TransferLimits(session_files=2)
    async with fresh_service.async_client(limits=limits) as client:
        for _ in range(2):
            result = await client.assets.upload(dataset, folder, failure_mode="FailAfterAll", show_progress=False)
            assert len(result.session_ids) == 2
    await fresh_api.ingest(path, {"other.png": picture(7)})
    visitor = await visit(fresh_service)
    for page in ("/gallery/sessions", f"/gallery/datasets/{dataset}/sessions"):
        text = (await visitor("GET", page)).text
        assert text.count("<article") == 3
        assert text.count("3 of 4 files stored · 1 failed") == 2
        assert text.count(f"{platform.node()} {tmp_path}/&lt;b&gt;&amp;") == 2
        assert "1 of 1 file stored" in text
    for session in result.session_ids:
        text = (await visitor("GET", f"/gallery/datasets/{dataset}/sessions/{session}")).text
        assert text.count("<article") == 1
        assert "3 of 4 files stored" in text
        one = f"/gallery/datasets/{dataset}/sessions/{session}/state?alone"
        (alone,) = json.loads((await visitor("GET", one)).text)["sessions"]
        assert (alone["id"], alone["total"]) == (session, 2)
    state = json.loads((await visitor("GET", "/gallery/sessions/state", headers={"Accept": "application/json"})).text)
    assert [one["total"] for one in state["sessions"]] == [1, 4, 4]


async def test_cancelling_an_upload_ends_each_of_its_sessions(fresh_api: Any, visit: Any, picture: Any) -> None:
    path = await fresh_api.create_dataset("First")
    headers = {"Vi-Upload": "0123456789abcdef here"}
    address = path + "/assetSources/managed/datature/default/assetIngestionSessions"
    made = [
        (
            await fresh_api("POST", address, fresh_api.announce({f"{number}.png": picture(number)}), headers=headers)
        ).document
        for number in range(3)
    ]
    visitor = await visit(fresh_api.service)
    card = f"/gallery/datasets/{path.rpartition('_')[2]}/sessions/{made[1]['assetIngestionSessionId']}"
    assert (await visitor.post(f"{card}/cancel", {})).status == 303
    for session in made:
        ended = await fresh_api.read_session(session)
        assert ended["status"]["conditions"][0]["status"] == "FailedReach"


@pytest.mark.parametrize(
    "label", ["", "short x", "0123456789abcdeg x", "0123456789abcdef", "0123456789abcdef %00%ff" + "x" * 3000]
)
async def test_an_upload_that_cannot_be_read_counts_as_none(fresh_api: Any, label: str, picture: Any) -> None:
    path = await fresh_api.create_dataset("First")
    address = path + "/assetSources/managed/datature/default/assetIngestionSessions"
    for number in range(2):
        body = fresh_api.announce({f"{number}.png": picture(number)})
        assert (await fresh_api("POST", address, body, headers={"Vi-Upload": label})).status == 201
