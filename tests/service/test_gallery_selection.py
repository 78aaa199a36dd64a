"""Assets that are chosen in a grid: what is downloaded, what is deleted and when, and who may ask for it."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import hypothesis
import pytest
from hypothesis import strategies as st

from tests.service.gallery_visitor import Answer, Page, Visitor
from vi.server.gallery.archive import entry_names

anyio = pytest.mark.anyio

Visit = Callable[..., Awaitable[Visitor]]


@pytest.fixture
def dataset_id(dataset_path: str) -> str:
    return dataset_path.rpartition("_")[2]


@pytest.fixture
async def visitor(api: Any, visit: Visit) -> Visitor:
    return await visit(api.service)


async def grid(visitor: Visitor, dataset_id: str, asked: str = "") -> Page:
    answer = await visitor("GET", f"/gallery/datasets/{dataset_id}?sort=name{asked}")
    assert answer.status == 200
    return answer.page


def boxes(page: Page) -> dict[str, str]:
    """The names of the fields that choose assets, by file name."""
    found = page.all("input", type="checkbox", form="selection")
    return {one["aria-label"].removeprefix("Select "): one["name"] for one in found}


async def act(visitor: Visitor, dataset_id: str, action: str, names: list[str], **fields: str | None) -> Answer:
    chosen = boxes(await grid(visitor, dataset_id))
    sent: dict[str, str | None] = {**{chosen[name]: "y" for name in names}, "action": action, **fields}
    return await visitor.post(f"/gallery/datasets/{dataset_id}/selection", sent)


@anyio
async def test_a_selection_is_downloaded_as_an_archive(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    files = {f"{n}.png": picture(n) for n in range(5)} | {"a/b.png": picture(7), "../../up.png": picture(8)}
    await api.ingest(dataset_path, files)
    answer = await act(visitor, dataset_id, "download", ["1.png", "3.png", "a/b.png", "../../up.png"])
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/zip")
    assert re.fullmatch(r"attachment; filename\*=UTF-8''\S+\.zip", answer.headers["Content-Disposition"])
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found == {
        "1.png": files["1.png"],
        "3.png": files["3.png"],
        "a/b.png": files["a/b.png"],
        "_/_/up.png": files["../../up.png"],
    }


@pytest.mark.sqlite
@anyio
async def test_an_archive_of_damaged_bytes_breaks_off(fresh_api: Any, visit: Visit, picture: Any) -> None:
    visitor = await visit(fresh_api.service)
    path = await fresh_api.create_dataset("First")
    await fresh_api.ingest(path, {"a.png": picture(1), "b.png": picture(2)})
    (stored, *_) = [p for p in fresh_api.service.data.rglob("objects/*/*") if not p.suffix]
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    with pytest.raises(aiohttp.ClientError):
        await act(visitor, path.rpartition("_")[2], "download", ["a.png", "b.png"])


@anyio
async def test_a_deletion_is_confirmed_first(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    await api.ingest(dataset_path, {f"{n}.png": picture(n) for n in range(4)} | {"<b>.png": picture(9)})
    asked = await act(visitor, dataset_id, "delete", ["1.png", "<b>.png"], back="sort=name&q=png&evil=//x")
    assert asked.status == 200
    assert "Delete 2 assets?" in asked.page.text
    assert {"1.png", "<b>.png"} <= set(asked.page.names)
    assert len(await api.assets(dataset_path)) == 5, "nothing is deleted yet"
    fields = {one["name"]: one["value"] for one in asked.page.all("input", type="hidden")}
    (button,) = asked.page.all("button", name="action")
    (keep,) = (link for link in asked.page.all("a") if link.get("data-key") == "Escape")
    assert keep["href"] == f"/gallery/datasets/{dataset_id}?sort=name&q=png"
    done = await visitor.post(f"/gallery/datasets/{dataset_id}/selection", {**fields, "action": button["value"]})
    assert (done.status, done.headers["Location"]) == (303, keep["href"])
    assert {one["filename"] for one in await api.assets(dataset_path)} == {"0.png", "2.png", "3.png"}
    page = await grid(visitor, dataset_id)
    assert "3 assets" in page.text
    again = await visitor.post(f"/gallery/datasets/{dataset_id}/selection", {**fields, "action": "confirm"})
    assert again.status == 303, "what is gone already is no error"
    gone = await visitor.post(f"/gallery/datasets/{dataset_id}/selection", {**fields, "action": "download"})
    assert gone.status == 404
    assert "2 selected assets not found" in gone.page.text


@anyio
async def test_a_selection_of_another_dataset_selects_nothing(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    await api.ingest(dataset_path, {"a.png": picture(1)})
    chosen = boxes(await grid(visitor, dataset_id))["a.png"]
    other = (await api.create_dataset()).rpartition("_")[2]
    here = f"/gallery/datasets/{other}/selection"
    assert (await visitor.post(here, {chosen: "y", "action": "download"})).status == 404
    assert (await visitor.post(here, {chosen: "y", "action": "confirm"})).status == 303
    assert len(await api.assets(dataset_path)) == 1


@anyio
async def test_nothing_is_done_without_the_token_from_elsewhere_or_without_a_choice(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    await api.ingest(dataset_path, {"a.png": picture(1)})
    for action in ("confirm", "delete", "download"):
        assert (await act(visitor, dataset_id, action, ["a.png"], csrf=None)).status == 403
        assert (await act(visitor, dataset_id, action, [])).status == 400
        chosen = boxes(await grid(visitor, dataset_id))["a.png"]
        foreign = await visitor.post(
            f"/gallery/datasets/{dataset_id}/selection",
            {chosen: "y", "action": action},
            headers={"Origin": "http://evil.example"},
        )
        assert foreign.status == 403
    for action in ("", "rename"):
        assert (await act(visitor, dataset_id, action, ["a.png"])).status == 400
    assert (await visitor("GET", f"/gallery/datasets/{dataset_id}/selection")).status == 405
    assert len(await api.assets(dataset_path)) == 1


NAMES = st.lists(st.text(st.sampled_from('aA.é/\\:*"\0\u202e ~2'), min_size=1, max_size=12), max_size=8, unique=True)


@hypothesis.given(NAMES | st.lists(st.text(min_size=1), max_size=5, unique=True))
@hypothesis.example(["a.png", "A.png", "a~2.png"])
@hypothesis.example(["../../../etc/passwd", "/etc/passwd", "C:\\x", "..\\up", ".", "..", "x" * 3000])
def test_the_names_of_an_archive_stay_below_their_folder_and_are_each_their_own(names: list[str]) -> None:
    found = entry_names(names)
    assert len({name.casefold() for name in found}) == len(names)
    for name in found:
        assert not name.startswith("/")
        for part in name.split("/"):
            assert part
            assert not part.startswith(".")
            assert not re.search(r'[\x00-\x1f<>:"\\|?*]', part)
            assert len(part) < 130


def test_plain_names_stay_as_they_are() -> None:
    names = ["a.png", "folder/b c.png", "grün/ü.jpg", quote("x.png")]
    assert entry_names(names) == names
