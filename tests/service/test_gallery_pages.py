"""What the pages of the gallery show, and that a hostile name is only text in each of them."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from tests.service.gallery_visitor import Page, Visitor

pytestmark = pytest.mark.anyio

Visit = Callable[..., Awaitable[Visitor]]

HOSTILE = [
    "<script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "' onmouseover='alert(1)' x='.png",
    "</title></style></textarea><svg onload=alert(1)>.png",
    "javascript:alert(1).png",
    "&lt;script&gt;&#60;b>.png",
    "{{7*7}}${7*7}%s%(x)s.png",
    "a\r\nSet-Cookie: x=y\x1b[31m\x7f.png",
    "../../../etc/passwd",
    "\u202egnp.\u2066exe\u2028.png",
    "`-->]]>--!><x>.png",
]

KNOWN = """
html head meta title link script body a header span svg rect circle nav form input button main h1 h2 div ol ul li bdi p
strong small label img select option article figure figcaption video table thead tbody tr th td code pre q time progress
section
"""


@pytest.fixture
def dataset_id(dataset_path: str) -> str:
    return dataset_path.rpartition("_")[2]


@pytest.fixture
async def visitor(api: Any, visit: Visit) -> Visitor:
    return await visit(api.service)


async def read(visitor: Visitor, path: str, status: int = 200) -> Page:
    """Return a page that is what the gallery may write, whatever is in it."""
    answer = await visitor("GET", path)
    assert answer.status == status, (path, answer.text)
    page = answer.page
    assert answer.text.startswith("<!doctype html>\n<html ")
    assert visitor.service.secret_key not in answer.text
    assert "X-Signature" not in answer.text
    for tag, attributes in page.elements:
        assert tag in KNOWN.split(), tag
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc")]
        for name in ("href", "src", "action"):
            address = attributes.get(name, "/")
            assert address.startswith(("/", "#")), (tag, address)
            assert not address.startswith("//")
    assert page.all("script") == [{"src": "/gallery/static/gallery.js", "defer": ""}]
    assert len(page.all("bdi")) == answer.text.count("<bdi>")
    return page


def shown(name: str) -> str:
    """A name as a page shows it: control characters as such."""
    return "".join("\ufffd" if (ord(c) < 32 and c not in "\t\n") or 0x7F <= ord(c) < 0xA0 else c for c in name)


async def test_a_hostile_name_is_text_on_every_page(api: Any, visitor: Visitor, picture: Any) -> None:
    names = [*HOSTILE, *(f"bad {name}" for name in HOSTILE)]
    for title in HOSTILE[:4]:
        made = await api("POST", f"{api.organization}/datasets", {"name": title, "description": title})
        path = f"{api.organization}/datasets/{made.document['datasetId']}"
        dataset = path.rpartition("_")[2]
        files = {name: picture(number) if number < len(HOSTILE) else b"?" for number, name in enumerate(names)}
        custom = [
            {"filename": name, "kind": "Image", "mime": "image/png", "size": len(data), "customMetadata": {name: name}}
            for name, data in files.items()
        ]
        session = await api.ingest(path, files, assets=custom)
        home = await read(visitor, "/")
        assert title in home.names
        grid = await read(visitor, f"/gallery/datasets/{dataset}")
        assert {shown(name) for name in HOSTILE} <= set(grid.names)
        assert title in grid.text
        assert len(grid.tiles()) == len(HOSTILE)
        for tile in grid.tiles():
            page = await read(visitor, tile)
            (name,) = (name for name in HOSTILE if shown(name) == page.names[-1])
            assert page.text.count(shown(name)) >= 4, "in title, crumb and metadata"
        for address in (
            f"/gallery/datasets/{dataset}/sessions",
            f"/gallery/datasets/{dataset}/sessions/{session['assetIngestionSessionId']}",
            "/gallery/sessions",
        ):
            listed = await read(visitor, address)
            assert {shown(name) for name in names if name.startswith("bad")} <= set(listed.names)
        for name in HOSTILE:
            await read(visitor, f"/gallery/datasets/{dataset}?q={quote(name)}")
            await read(visitor, f"/gallery/datasets/{dataset}?sort={quote(name)}", 400)
            await read(visitor, f"/gallery/datasets/{quote(name, safe='')}", 404)
            await read(visitor, f"/gallery/datasets/{dataset}/assets/{quote(name, safe='')}", 404)
            await read(visitor, f"/gallery/datasets/{dataset}?p={quote(name)}", 400)


async def test_the_front_page_shows_datasets_with_their_newest_pictures(
    fresh_api: Any, visit: Visit, picture: Any
) -> None:
    visitor = await visit(fresh_api.service)
    assert "No dataset yet" in (await read(visitor, "/")).text
    path = await fresh_api.create_dataset("First")
    await fresh_api.ingest(path, {f"{number}.png": picture(number) for number in range(6)})
    await fresh_api.create_dataset("Second")
    home = await read(visitor, "/")
    assert [name for name in home.names if name in ("First", "Second")] == ["Second", "First"], "newest first"
    assert "6 assets" in home.text
    pictures = home.all("img")
    assert len(pictures) == 4
    for one in pictures:
        assert (await visitor("GET", one["src"])).headers["Content-Type"] == "image/jpeg"


async def test_the_front_page_has_pages(fresh_api: Any, visit: Visit) -> None:
    visitor = await visit(fresh_api.service)
    for number in range(26):
        await fresh_api.create_dataset(f"n{number}")
    first = await read(visitor, "/")
    assert (first.link("prev"), len(first.names)) == (None, 24)
    following = first.link("next")
    assert following
    second = await read(visitor, following)
    assert second.names == ["n1", "n0"]
    assert second.link("next") is None
    back = second.link("prev")
    assert back
    assert (await read(visitor, back)).names == first.names


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("", ["c.png", "a.png", "b.png"]),
        ("newest", ["c.png", "a.png", "b.png"]),
        ("oldest", ["b.png", "a.png", "c.png"]),
        ("name", ["a.png", "b.png", "c.png"]),
        ("largest", ["b.png", "c.png", "a.png"]),
    ],
)
async def test_the_order_of_a_grid_is_that_of_its_assets_too(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any, order: str, expected: list[str]
) -> None:
    for name, side in (("b.png", 200), ("a.png", 8), ("c.png", 100)):
        await api.ingest(dataset_path, {name: picture(1, width=side, height=side)})
    grid = await read(visitor, f"/gallery/datasets/{dataset_id}?sort={order}")
    assert grid.names[3:6] == expected
    assert "8 \N{MULTIPLICATION SIGN} 8 · " in grid.text
    walked, address = [], grid.tiles()[0]
    pages = []
    while address:
        page = await read(visitor, address)
        walked.append(page.names[2])
        pages.append(page)
        address = page.link("next") or ""
    assert walked == expected
    previous = pages[-1].link("prev")
    assert previous
    assert (await read(visitor, previous)).names[2] == expected[1]
    for page in pages:
        back, _, tile = escape(page).partition("#")
        grid = await read(visitor, back)
        assert grid.names[3:6] == expected
        assert tile in [link.get("id") for link in grid.all("a", **{"class": "tile"})], "its tile is there"


def escape(page: Page) -> str:
    """Where Escape leads to from the page of an asset."""
    (back,) = (link["href"] for link in page.all("a") if link.get("data-key") == "Escape")
    return back


async def test_a_grid_has_pages_of_48_that_lead_on_and_back(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    await api.ingest(dataset_path, {f"{number:03}.png": picture(number) for number in range(100)})
    address: str | None = f"/gallery/datasets/{dataset_id}?sort=name&q=.PNG"
    seen, pages = [], []
    while address:
        page = await read(visitor, address)
        names = page.names[3:]
        seen += names
        pages.append(names)
        last, address = page, page.link("next")
    assert [len(names) for names in pages] == [48, 48, 4]
    assert seen == [f"{number:03}.png" for number in range(100)]
    back = last.link("prev")
    assert back
    assert (await read(visitor, back)).names[3:] == pages[1]
    token = back.partition("p=")[2]
    await read(visitor, f"/gallery/datasets/{dataset_id}?p={token}", 400)


@pytest.mark.parametrize("order", ["newest", "oldest", "name", "largest"])
async def test_a_grid_leads_to_any_page_by_its_number(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any, order: str
) -> None:
    files = {f"{number:03}.png": picture(number, width=1 + number % 7, height=1 + number % 7) for number in range(150)}
    await api.ingest(dataset_path, files)
    here = f"/gallery/datasets/{dataset_id}?sort={order}&q=.png"
    address: str | None = here
    pages = []
    while address:
        pages.append(await read(visitor, address))
        address = pages[-1].link("next")
    assert [len(page.tiles()) for page in pages] == [48, 48, 48, 6]
    for number, page in enumerate(pages, 1):
        jumped = await read(visitor, f"{here}&page={number}")
        assert jumped.tiles() == page.tiles(), "a jump leads to where the walk led"
        for shown in (page, jumped):
            assert f"150 of 150 assets found · page {number} of 4" in shown.text
            (field,) = shown.all("input", name="page")
            assert (field["value"], field["max"]) == (str(number), "4")
        back, _, tile = escape(await read(visitor, page.tiles()[-1])).partition("#")
        assert tile in [link.get("id") for link in (await read(visitor, back)).all("a", **{"class": "tile"})]
    assert (await read(visitor, f"{here}&page=999")).tiles() == pages[-1].tiles(), "no page lies after the last"
    for wrong in ("0", "-1", "x", "1.5", "9" * 30, "%C2%B2"):
        await read(visitor, f"{here}&page={wrong}", 400)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("metadata=camera%3D%3D%22left%22", ["a.png", "c.jpg"]),
        ("metadata=lot%3E1", ["b.png", "c.jpg"]),
        ("metadata=lot%3E1+and+camera:LEFT", ["c.jpg"]),
        ("type=image/png", ["a.png", "b.png"]),
        ("type=Image", ["a.png", "b.png", "c.jpg"]),
        ("type=Video", ["d.mp4"]),
        ("status=ready", ["a.png", "b.png", "c.jpg", "d.mp4"]),
        ("type=image/png&metadata=lot%3E1&q=B&status=ready", ["b.png"]),
        ("type=image/webp", []),
    ],
)
async def test_a_grid_is_filtered_by_metadata_type_and_status(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any, asked: str, found: list[str]
) -> None:
    files = {
        "a.png": (picture(1), "image/png", {"camera": "left", "lot": 1}),
        "b.png": (picture(2), "image/png", {"camera": "right", "lot": 2}),
        "c.jpg": (picture(3, format="JPEG"), "image/jpeg", {"camera": "left", "lot": 3}),
        "d.mp4": (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "video/mp4", {}),
    }
    await api.ingest(
        dataset_path,
        {name: data for name, (data, _, _) in files.items()},
        assets=[
            {"filename": n, "kind": m.partition("/")[0].title(), "mime": m, "size": len(d), "customMetadata": c}
            for n, (d, m, c) in files.items()
        ],
    )
    page = await read(visitor, f"/gallery/datasets/{dataset_id}?sort=name&{asked}")
    assert page.names[3:] == found
    if not found:
        assert "No asset matches." in page.text
        return
    assert f"{len(found)} of 4 assets found" in page.text
    walked = [await read(visitor, page.tiles()[0])]
    while following := walked[-1].link("next"):
        walked.append(await read(visitor, following))
    assert [one.names[2] for one in walked] == found, "the neighbours are those of the view"
    assert (await read(visitor, escape(walked[-1]).partition("#")[0])).names[3:] == found


async def test_a_metadata_query_that_cannot_be_read_says_where(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    await api.ingest(dataset_path, {"a.png": picture(1)})
    here = f"/gallery/datasets/{dataset_id}"
    page = await read(visitor, here + "?metadata=camera+%3D+%22%3Cb%3E%22", 400)
    assert "Column 8: unexpected '='; write == to compare." in page.text
    (field,) = page.all("input", name="metadata")
    assert (field["value"], field["aria-invalid"]) == ('camera = "<b>"', "true"), "what was typed is still there"
    assert page.tiles() == []
    await read(visitor, here + "?metadata=" + "x" * 2000, 400)
    (asset,) = await api.assets(dataset_path)
    await read(visitor, f"{here}/assets/{asset['assetId']}?metadata=%3D", 400)
    for wrong in ("type=text/html", "status=gone", "sort=size"):
        await read(visitor, f"{here}?{wrong}", 400)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("one", ["One%.png"]),
        ("%", ["One%.png"]),
        ("_", ["two_.png"]),
        ("GRÜN", ["grün.png"]),
        ("/", ["a/b.png"]),
        ("x", []),
        ("  two ", ["two_.png"]),
    ],
)
async def test_a_search_finds_any_part_of_a_name_in_any_case(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any, text: str, found: list[str]
) -> None:
    names = ["One%.png", "two_.png", "grün.png", "a/b.png"]
    await api.ingest(dataset_path, {name: picture(number) for number, name in enumerate(names)})
    page = await read(visitor, f"/gallery/datasets/{dataset_id}?q={quote(text)}")
    assert len(page.tiles()) == len(found)
    assert set(found) <= set(page.names)
    if not found:
        assert "No file name contains" in page.text


async def test_an_asset_is_shown_with_what_is_known_of_it(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    data = picture(1, width=30, height=20)
    file = {"filename": "a.png", "kind": "Image", "mime": "image/png", "size": len(data)}
    await api.ingest(
        dataset_path, {"a.png": data}, assets=[{**file, "customMetadata": {"camera": "left", "night": True}}]
    )
    (asset,) = await api.assets(dataset_path)
    page = await read(visitor, f"/gallery/datasets/{dataset_id}/assets/{asset['assetId']}")
    for text in (
        "image/png",
        "30 \N{MULTIPLICATION SIGN} 20 pixels",
        asset["metadata"]["hash"]["contents"],
        "cameraleft",
        "nighttrue",
    ):
        assert text in page.text
    (shown_,) = page.all("img")
    assert (shown_["alt"], shown_["width"], shown_["height"]) == ("a.png", "30", "20")
    answer = await visitor("GET", shown_["src"])
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, data, "image/png")
    assert answer.headers["Content-Disposition"] == "inline; filename*=UTF-8''a.png"
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = await visitor("GET", shown_["src"], headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    part = await visitor("GET", shown_["src"], headers={"Range": "bytes=1-3"})
    assert (part.status, part.body) == (206, data[1:4])


async def test_a_large_picture_is_shown_by_its_thumbnail(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vi.server.gallery.asset._MAX_SHOWN_PIXELS", 30 * 20 - 1)
    await api.ingest(dataset_path, {"large.png": picture(1, width=30, height=20)})
    page = await read(visitor, (await read(visitor, f"/gallery/datasets/{dataset_id}")).tiles()[0])
    (small,) = page.all("img")
    assert "/thumbnail?" in small["src"]
    assert small["alt"] == "large.png"
    assert "Open the file itself" in page.text


@pytest.mark.parametrize(("name", "format", "large"), [("a.tiff", "TIFF", False), ("a.png", "PNG", True)])
async def test_what_a_browser_cannot_show_has_a_preview(
    fresh_api: Any, visit: Visit, picture: Any, monkeypatch: pytest.MonkeyPatch, name: str, format: str, large: bool
) -> None:
    if large:
        monkeypatch.setattr("vi.server.gallery.asset._MAX_SHOWN_PIXELS", 1000)
    visitor = await visit(fresh_api.service)
    path = await fresh_api.create_dataset("First")
    mime = f"image/{format.lower()}"
    data = picture(1, width=2000, height=1000, format=format)
    file = {"filename": name, "kind": "Image", "mime": mime, "size": len(data)}
    await fresh_api.ingest(path, {name: data}, assets=[file])
    folder = fresh_api.service.data / "bytes" / "previews"
    page = await read(visitor, (await read(visitor, f"/gallery/datasets/{path.rpartition('_')[2]}")).tiles()[0])
    assert list(folder.iterdir()) == [], "none is made before somebody looks"
    (shown_,) = page.all("img")
    assert shown_["alt"] == name
    answer = await visitor("GET", shown_["src"])
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(answer.body)) as image:
        assert image.size == (1440, 720)
    (kept,) = folder.iterdir()
    again = await visitor("GET", shown_["src"], headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304
    grid = await read(visitor, f"/gallery/datasets/{path.rpartition('_')[2]}")
    (tile,) = [image for image in grid.all("img") if "data-dense" in image]
    dense = await visitor("GET", tile["data-dense"])
    with Image.open(io.BytesIO(dense.body)) as image:
        assert image.size == (512, 256)
    kept.write_bytes(kept.read_bytes()[:-3])
    assert (await visitor("GET", shown_["src"])).body == answer.body, "one that is damaged is made again"
    (asset,) = await fresh_api.assets(path)
    await fresh_api("DELETE", f"{path}/assets/{asset['assetId']}")
    assert list(folder.iterdir()) == [], "it goes with its asset"


@pytest.mark.sqlite
async def test_a_file_that_has_become_unreadable_is_shown_by_its_thumbnail(
    fresh_api: Any, visit: Visit, picture: Any
) -> None:
    visitor = await visit(fresh_api.service)
    path = await fresh_api.create_dataset("First")
    data = picture(1, width=400, height=300, format="TIFF")
    file = {"filename": "a.tiff", "kind": "Image", "mime": "image/tiff", "size": len(data)}
    await fresh_api.ingest(path, {"a.tiff": data}, assets=[file])
    (stored,) = (one for one in (fresh_api.service.data / "bytes" / "objects").glob("*/*") if not one.suffix)
    stored.write_bytes(bytes(len(data)))
    page = await read(visitor, (await read(visitor, f"/gallery/datasets/{path.rpartition('_')[2]}")).tiles()[0])
    answer = await visitor("GET", page.all("img")[0]["src"])
    with Image.open(io.BytesIO(answer.body)) as image:
        assert max(image.size) == 256


async def test_a_download_is_kept_not_opened(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    name = 'a"; filename="b.html\r\nX: y\u202e.tiff'
    data = picture(1, format="TIFF")
    file = {"filename": name, "kind": "Image", "mime": "image/tiff", "size": len(data)}
    await api.ingest(dataset_path, {name: data}, assets=[file])
    (asset,) = await api.assets(dataset_path)
    address = f"/gallery/datasets/{dataset_id}/assets/{asset['assetId']}"
    page = await read(visitor, address)
    assert "Preview; browsers cannot display TIFF." in page.text
    (small,) = page.all("img")
    assert (await visitor("GET", small["src"])).headers["Content-Type"] == "image/jpeg"
    for asked in ("/file", "/file?download=y"):
        answer = await visitor("GET", address + asked)
        assert (answer.status, answer.body) == (200, data)
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        assert "X" not in answer.headers


async def test_what_is_not_there_or_elsewhere_is_not_found(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, picture: Any
) -> None:
    await api.ingest(dataset_path, {"a.png": picture(1)})
    (asset,) = await api.assets(dataset_path)
    session = await api.open_session(dataset_path, {"b.png": picture(2)})
    other = (await api.create_dataset()).rpartition("_")[2]
    gone = await api.create_dataset()
    await api("DELETE", gone)
    identifier, session_id = asset["assetId"], session["assetIngestionSessionId"]
    for address in (
        "/gallery/datasets/none",
        f"/gallery/datasets/another_{dataset_id}",
        f"/gallery/datasets/{gone.rpartition('_')[2]}",
        f"/gallery/datasets/{gone.rpartition('_')[2]}/sessions",
        f"/gallery/datasets/{other}/assets/{identifier}",
        f"/gallery/datasets/{other}/assets/{identifier}/file",
        f"/gallery/datasets/{other}/assets/{identifier}/thumbnail",
        f"/gallery/datasets/{other}/sessions/{session_id}",
        f"/gallery/datasets/{other}/sessions/{session_id}/state",
        f"/gallery/datasets/{dataset_id}/assets/none",
        f"/gallery/datasets/{dataset_id}/sessions/none",
        "/gallery//",
    ):
        await read(visitor, address, 404)
    for address in (
        f"/gallery/datasets/{other}/sessions/{session_id}/cancel",
        "/gallery/datasets/none/uploads",
        "/gallery/datasets/none/sessions",
    ):
        assert (
            await visitor(
                "POST",
                address,
                json={"spec": {"kind": "Upload", "assets": []}},
                headers={"X-CSRF-Token": visitor.token},
            )
        ).status in (400, 404)
    assert (await api.read_session(session))["status"]["conditions"][0]["status"] == "Waiting"


async def test_the_address_of_the_gallery_leads_to_its_front_page(visitor: Visitor) -> None:
    for address in ("/gallery", "/gallery/"):
        answer = await visitor("GET", address)
        assert (answer.status, answer.headers["Location"]) == (303, "/")


@pytest.mark.parametrize(("name", "mime", "played"), [("a.mp4", "video/mp4", True), ("a.mkv", "video/matroska", False)])
async def test_a_video_is_played_where_browsers_can(
    api: Any, dataset_path: str, dataset_id: str, visitor: Visitor, name: str, mime: str, played: bool
) -> None:
    data = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" if played else b"\x1aE\xdf\xa3" + bytes(60)
    file = {"filename": name, "kind": "Video", "mime": mime, "size": len(data)}
    await api.ingest(dataset_path, {name: data}, assets=[file])
    grid = await read(visitor, f"/gallery/datasets/{dataset_id}")
    assert "video · " in grid.text
    page = await read(visitor, grid.tiles()[0])
    if played:
        answer = await visitor("GET", page.all("video")[0]["src"])
        assert (answer.body, answer.headers["Content-Type"]) == (data, mime)
    else:
        assert page.all("video") == []
        assert f"Browsers cannot display {mime.partition('/')[2].upper()}." in page.text


async def test_a_dataset_is_made_by_its_name(fresh_api: Any, visit: Visit) -> None:
    visitor = await visit(fresh_api.service)
    answer = await visitor.post("/gallery/datasets", {"name": "  <b>Signs</b> "})
    assert answer.status == 303
    page = await read(visitor, answer.headers["Location"])
    assert "<b>Signs</b>" in page.names
    assert f"vi-sdk assets upload {answer.headers['Location'].rpartition('/')[2]} ./images" in page.text
    for name in ("", "   ", "x" * 20_000):
        assert (await visitor.post("/gallery/datasets", {"name": name})).status == 400
    assert len((await fresh_api("GET", fresh_api.organization + "/datasets")).document["items"]) == 1


async def test_static_files_are_asked_for_anew_and_sent_once(visitor: Visitor) -> None:
    for name, content_type in (
        ("gallery.css", "text/css"),
        ("gallery.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ):
        answer = await visitor("GET", f"/gallery/static/{name}")
        assert answer.headers["Content-Type"].startswith(content_type)
        assert answer.headers["Cache-Control"] == "no-cache"
        again = await visitor("GET", f"/gallery/static/{name}", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
    for name in ("none", "..%2faccess.py", "%2e%2e%2f__init__.py", "gallery.css%00"):
        assert (await visitor("GET", f"/gallery/static/{name}")).status == 404
