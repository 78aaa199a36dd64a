"""The gallery in a real browser: what a person sees, drops, presses, and is spared."""

from __future__ import annotations

import hashlib
import io
import json
import urllib.request
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

import vi
from tests.browser.conftest import DESKTOP, PHONE, Browser
from tests.browser.screenshots import line_art
from vi import _samples
from vi.api.resources.datasets.assets.responses import FailureMode
from vi.testing import TestedService

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

HOSTILE = (
    "<script>window.pwned=1;alert(1)</script>.png",
    '"><img src=x onerror="window.pwned=1;alert(1)">.png',
    "' onmouseover='window.pwned=1' x='.png",
    "javascript:window.pwned=1;alert(1).png",
    "</title><svg onload=window.pwned=1>.png",
    "&lt;b&gt;&amp;.png",
    "\u202egpj.exe.png",
)


def picture(number: int, extension: str = ".png") -> bytes:
    return _samples.encode(number, extension, (48, 36))


def fill(client: vi.Client, dataset: str, files: Mapping[str, bytes]) -> None:
    client.assets.upload(dataset, list(files.items()), show_progress=False)


def stored(client: vi.Client, dataset: str) -> dict[str, str]:
    assets = client.assets.list(dataset_id=dataset).all_items()
    return {asset.filename: asset.metadata.hash.contents for asset in assets}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def page_of(dataset: str) -> str:
    return f"/gallery/datasets/{dataset}"


def rows(browser: Browser) -> dict[str, str]:
    """What the panel of an upload says of each file."""
    browser.one("[data-transfer=ended]")
    found = browser.run(
        "return [...document.querySelectorAll('.files li')].map((row) =>"
        " [row.querySelector('.name').textContent, row.querySelector('.outcome').textContent])"
    )
    return dict(found)


def test_the_key_opens_it_and_a_logout_closes_it(visitor: Browser, client: vi.Client, dataset: str) -> None:
    visitor.open(page_of(dataset))
    visitor.type("#key", "dtvi_wrong\n")
    assert visitor.one("[role=alert]").text == "This is not the key of this service."
    visitor.type("#key", visitor.service.secret_key + "\n")
    visitor.one("form[data-upload]")
    assert visitor.path == page_of(dataset), "the login leads on to what was asked for"
    assert visitor.run("return document.cookie") == "", "no script reads the cookie"
    assert visitor.service.secret_key not in visitor.driver.page_source
    visitor.one("header.top form button").click()
    visitor.one("#key")
    visitor.open(page_of(dataset))
    visitor.one("#key")


def test_a_dataset_is_made_and_filled_by_drops_until_it_shows(browser: Browser, client: vi.Client) -> None:
    browser.log_in(host="localhost")  # another name than the one that the service signs its URLs for
    browser.type("#new", "made <here>\n")
    browser.one(".drop.large")
    assert browser.one("h1").text == "made <here>"
    files = {f"dropped {number}.png": picture(number) for number in range(5)}
    browser.drop(files)
    browser.until(lambda: len(browser.all(".grid .tile")) == 5, "the new assets do not show")
    dataset = browser.path.rpartition("/")[2]
    assert stored(client, dataset) == {name: sha256(data) for name, data in files.items()}


def test_a_broken_file_is_named_with_its_code_and_the_others_are_stored(
    browser: Browser, client: vi.Client, dataset: str
) -> None:
    browser.open(page_of(dataset))
    good = {"one.png": picture(1), "two.jpg": picture(2, ".jpg"), "three.webp": picture(3, ".webp")}
    broken = {
        "broken.jpg": picture(4, ".jpg")[:-200],
        "gif.png": picture(5, ".gif"),
        "notes.txt": b"hello",
        "empty.png": b"",
    }
    browser.drop({**good, **broken})
    said = rows(browser)
    assert browser.one("[data-transfer] h2").text == "3 files stored, 4 not"
    assert {name: said[name] for name in good} == dict.fromkeys(good, "stored")
    for name, code in {
        "broken.jpg": "ECORRUPT",
        "gif.png": "EBADMIME",
        "notes.txt": "EBADMIME",
        "empty.png": "EBADSIZE",
    }.items():
        assert said[name].startswith(f"{code}: "), said[name]
        assert len(said[name]) > 20, "a code is followed by words"
    assert stored(client, dataset) == {name: sha256(data) for name, data in good.items()}
    browser.one("[data-transfer] a.button").click()
    browser.until(lambda: len(browser.all(".grid .tile")) == 3)
    browser.open(page_of(dataset) + "/sessions")
    shown = browser.one(".problems").text
    assert "broken.jpg" in shown
    assert "ECORRUPT The content cannot be read as image/jpeg" in shown


def test_a_dropped_folder_is_walked(browser: Browser, client: vi.Client, dataset: str, tmp_path: Path) -> None:
    """Hidden files and other kinds are passed over, as from the shell; a file dropped by itself is not."""
    folder = tmp_path / "holidays"
    files = {"a.png": picture(1), "deep/er/b.jpg": picture(2, ".jpg"), ".hidden.png": b"", "deep/notes.txt": b"x"}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (tmp_path / "alone.txt").write_bytes(b"x")
    browser.open(page_of(dataset))
    browser.drop_paths(folder, tmp_path / "alone.txt")
    said = rows(browser)
    assert {name: text.partition(":")[0] for name, text in said.items()} == {
        "a.png": "stored",
        "b.jpg": "stored",
        "alone.txt": "EBADMIME",
    }
    assert "2 files of other kinds passed over" in browser.one("[role=status]").text
    assert set(stored(client, dataset)) == {"a.png", "b.jpg"}


def test_files_of_one_name_in_a_drop_are_told_apart(browser: Browser, client: vi.Client, dataset: str) -> None:
    """As two folders that are dropped may hold; only the first is sent."""
    browser.open(page_of(dataset))
    browser.one("html.js")
    browser.run(
        "const transfer = new DataTransfer();"
        "for (const text of ['a', 'b']) transfer.items.add(new File([text], 'same.png'));"
        "dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, cancelable: true}));"
    )
    browser.one("[data-transfer=ended]")
    said = [row.text for row in browser.all(".files .outcome")]
    assert sorted(text.partition(":")[0] for text in said) == ["EBADMIME", "Not sent"]


def test_a_grid_has_pages_and_every_thumbnail_loads(browser: Browser, client: vi.Client, dataset: str) -> None:
    fill(client, dataset, {f"p{number:02}.jpg": picture(number, ".jpg") for number in range(50)})
    browser.open(page_of(dataset) + "?sort=name")

    def names() -> list[str]:
        return [tile.text.split("\n")[0] for tile in browser.all(".tile")]

    assert names() == [f"p{number:02}.jpg" for number in range(48)]
    browser.one("a[rel=next]").click()
    browser.until(lambda: len(browser.all(".tile")) == 2)
    assert names() == ["p48.jpg", "p49.jpg"]
    loaded = "return [...document.querySelectorAll('.tile img')].every((image) => image.naturalWidth > 0)"
    browser.until(lambda: browser.run(loaded), "a thumbnail does not load")
    browser.one("a[rel=prev]").click()
    browser.until(lambda: len(browser.all(".tile")) == 48)
    assert names()[0] == "p00.jpg"
    browser.type("#q", "P4\n")
    browser.until(lambda: len(browser.all(".tile")) == 10, "the search finds what holds the text")


def test_tiles_are_sharp_on_a_dense_screen(browser: Browser, client: vi.Client, dataset: str) -> None:
    fill(client, dataset, {"large.jpg": _samples.encode(3, ".jpg", (1200, 900)), "small.png": picture(1)})
    shown = "return [...document.querySelectorAll('.grid img')].map((one) => new URL(one.currentSrc).search)"
    for density, sharp in ((1, 0), (2, 1)):
        browser.resize(*DESKTOP, density=density)
        browser.open(page_of(dataset))
        browser.until(lambda: all(one.get_property("complete") for one in browser.all(".grid img")))
        browser.until(lambda sharp=sharp: sum("size=tile" in one for one in browser.run(shown)) == sharp)
    wide = "return Math.max(...[...document.querySelectorAll('.grid img')].map((one) => one.naturalWidth))"
    browser.until(lambda: browser.run(wide) == 256)  # 512 pixels at two to a point


def test_it_is_walked_by_keys_alone(visitor: Browser, client: vi.Client, dataset: str) -> None:
    from selenium.webdriver import Keys

    fill(client, dataset, {f"k{number}.png": picture(number) for number in range(7)})
    visitor.open(page_of(dataset) + "?sort=name")
    visitor.one("#key:focus")
    visitor.press(visitor.service.secret_key, Keys.ENTER)
    visitor.one("html.js .tile")
    focused = "return document.activeElement"
    visitor.press(Keys.TAB)
    assert visitor.run(focused).text == "Skip to the content"
    visitor.press(Keys.ENTER, Keys.TAB)
    for _ in range(30):
        if "tile" in (visitor.run(focused).get_attribute("class") or ""):
            break
        visitor.press(Keys.TAB)
    assert visitor.run(focused).text.startswith("k0.png")
    assert visitor.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is seen"
    visitor.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert visitor.run(focused).text.startswith("k1.png")
    visitor.press(Keys.ENTER)
    visitor.until(lambda: visitor.one("html.js h1").text == "k1.png")
    visitor.press(Keys.ARROW_RIGHT)
    visitor.until(lambda: visitor.one("html.js h1").text == "k2.png")
    visitor.press(Keys.ARROW_LEFT)
    visitor.until(lambda: visitor.one("html.js h1").text == "k1.png")
    visitor.press(Keys.ESCAPE)
    visitor.one(".tile:focus")
    assert visitor.run(focused).text.startswith("k1.png"), "the tile that one looked at has the focus"
    assert len(visitor.all(".tile")) == 7, "on the page of the grid that one came from"


@pytest.mark.parametrize("by", ["escape", "back", "escape from the next"])
def test_a_look_at_one_asset_keeps_the_place_in_the_grid(
    browser: Browser, client: vi.Client, dataset: str, by: str
) -> None:
    from selenium.webdriver import Keys

    fill(client, dataset, {f"s{number:02}.jpg": picture(number, ".jpg") for number in range(48)})
    browser.open(page_of(dataset) + "?sort=name")
    browser.one("html.js .tile")
    browser.run("document.querySelectorAll('.tile')[20].focus()")
    before = browser.run("return scrollY")
    assert before > 100
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.one("html.js h1").text == "s20.jpg")
    expected = "s20.jpg"
    if by == "back":
        browser.driver.back()
    else:
        if by == "escape from the next":
            browser.press(Keys.ARROW_RIGHT)
            expected = "s21.jpg"
            browser.until(lambda: browser.one("html.js h1").text == expected)
        browser.press(Keys.ESCAPE)
    browser.one(".tile:focus")
    assert browser.run("return document.activeElement").text.startswith(expected)
    assert abs(browser.run("return scrollY") - before) < 2
    assert len(browser.all(".tile")) == 48


def test_an_asset_that_was_opened_by_its_address_leads_to_its_tile(
    browser: Browser, client: vi.Client, dataset: str
) -> None:
    from selenium.webdriver import Keys

    fill(client, dataset, {f"s{number:02}.jpg": picture(number, ".jpg") for number in range(30)})
    ids = {one.filename: one.asset_id for one in client.assets.list(dataset_id=dataset).all_items()}
    browser.open(f"{page_of(dataset)}/assets/{ids['s17.jpg']}?sort=name")
    browser.one("html.js h1")
    browser.press(Keys.ESCAPE)
    browser.one(".tile:focus")
    assert browser.run("return document.activeElement").text.startswith("s17.jpg")


def test_the_arrows_enter_the_grid_without_a_tab(browser: Browser, client: vi.Client, dataset: str) -> None:
    from selenium.webdriver import Keys

    fill(client, dataset, {f"k{number}.png": picture(number) for number in range(3)})
    browser.open(page_of(dataset) + "?sort=name")
    browser.one("html.js .tile")
    browser.press(Keys.ARROW_RIGHT)
    assert browser.run("return document.activeElement").text.startswith("k0.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_black_lines_on_nothing_are_seen(browser: Browser, client: vi.Client, dataset: str, scheme: str) -> None:
    """Whatever the theme: the mat behind a transparent picture is light."""
    fill(client, dataset, {"lines.png": line_art()})
    browser.prefer(scheme)
    asset = client.assets.list(dataset_id=dataset).all_items()
    places = {
        "/": ".cover img",
        page_of(dataset): ".frame img",
        f"{page_of(dataset)}/assets/{next(iter(asset)).asset_id}": ".stage img",
    }
    for place, selector in places.items():
        browser.open(place)
        shown = browser.one(selector)
        browser.until(lambda: browser.run("return arguments[0].naturalWidth", shown), "the picture does not load")  # noqa: B023
        taken = Image.open(io.BytesIO(shown.screenshot_as_png)).convert("L")
        inner = taken.crop((4, 4, taken.width - 4, taken.height - 4))
        (_, light), dark = max((count, value) for count, value in inner.getcolors() or []), inner.getextrema()[0]
        assert light > 200, "the mat is light"
        assert (luminance(light) + 0.05) / (luminance(int(dark)) + 0.05) > 4.5, (place, light, dark)


def luminance(grey: int) -> float:
    part = grey / 255
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def test_the_ends_of_long_names_are_seen(browser: Browser, client: vi.Client, dataset: str) -> None:
    folder = "wallpapers/of_a_very_long_collection/contents/images/"
    names = [f"{folder}a_long_name_of_a_picture_{number:04}.png" for number in (1280, 1920)]
    fill(client, dataset, {name: picture(number) for number, name in enumerate(names)})
    for size in (DESKTOP, PHONE):
        browser.resize(*size)
        browser.open(page_of(dataset) + "?sort=name")
        browser.one(".tile")
        seen = browser.run(
            "return [...document.querySelectorAll('.tile .base .tail')].map((tail) => {"
            " const [box, tile] = [tail.getBoundingClientRect(), tail.closest('.tile').getBoundingClientRect()];"
            " return box.width > 0 && box.right <= tile.right && tail.textContent; })"
        )
        assert [text[-8:] for text in seen] == ["1280.png", "1920.png"]
        browser.one(".tile").click()
        tail = browser.one(".stage") and browser.one(".crumbs li:last-child .tail")
        assert tail.text == "re_1280.png"
        assert tail.rect["x"] + tail.rect["width"] <= size[0]


@pytest.mark.parametrize("by", ["drop", "client"])
def test_a_script_in_a_file_name_stays_text(browser: Browser, client: vi.Client, by: str) -> None:
    made = client.datasets.create(name="<script>window.pwned=1</script>", description="<img src=x onerror=alert(1)>")
    dataset = made.dataset_id
    files = {name: picture(number) for number, name in enumerate(HOSTILE)}
    bad = {f"bad{name}": picture(99)[:-40] for name in HOSTILE}
    browser.open(page_of(dataset))
    if by == "drop":
        browser.drop({**files, **bad})
        said = rows(browser)
        assert set(said) == {*files, *bad}
    else:
        client.assets.upload(
            dataset, [*files.items(), *bad.items()], failure_mode=FailureMode.FAIL_AFTER_ALL, show_progress=False
        )
    visited = [
        "/",
        page_of(dataset),
        page_of(dataset) + "?q=%3Cscript%3Ealert(1)%3C/script%3E",
        page_of(dataset) + "/sessions",
    ]
    browser.open(page_of(dataset))
    tiles = browser.all(".tile")
    assert {tile.find_element("css selector", "bdi").get_property("textContent") for tile in tiles} == set(HOSTILE)
    visited += [tile.get_attribute("href").removeprefix(browser.service.url) for tile in tiles]
    for path in visited:
        browser.open(path)
        assert browser.run("return window.pwned ?? null") is None
        assert browser.run("return [...document.querySelectorAll('script, main svg, [onerror], [onload]')].length") == 1
        assert browser.run("return [...document.images].every((image) => image.src.startsWith(location.origin))")
    if by == "client":
        browser.open(page_of(dataset) + "/sessions")
        shown = {cell.get_property("textContent") for cell in browser.all(".problems li")}
        assert shown == set(bad)


def test_a_session_of_another_client_is_followed_live(browser: Browser, client: vi.Client, dataset: str) -> None:
    opened = raw_session(browser, dataset, {"first.png": picture(1), "second.png": b"nonsense"})
    browser.open(page_of(dataset) + "/sessions")
    assert "0 of 2 files stored" in browser.text
    assert browser.one(".badge").text == "in progress"
    browser.run("window.same = true")
    put(browser, opened, "first.png", picture(1))
    browser.until(lambda: "1 of 2 files stored" in browser.text, "the first file does not show")
    put(browser, opened, "second.png", b"nonsense")
    browser.until(lambda: "1 of 2 files stored · 1 failed" in browser.text, "the second file does not show")
    assert "second.png EBADMIME The content is not image/png" in browser.one(".problems tbody").text
    assert browser.one(".badge").text == "done, some failed"
    assert browser.run("return window.same"), "the page was not loaded again"


def raw_session(browser: Browser, dataset: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Open a session as another process would."""
    service = browser.service
    assets = [
        {"filename": name, "kind": "Image", "mime": "image/png", "size": len(data)} for name, data in files.items()
    ]
    body = {"spec": {"kind": "Upload", "failureMode": "FailAfterAll", "assets": assets}}
    request = urllib.request.Request(
        f"{service.url}/workspaces/{service.organization_id}/datasets/{dataset}"
        "/assetSources/managed/datature/default/assetIngestionSessions",
        json.dumps(body).encode(),
        {
            "Authorization": f"Bearer {service.secret_key}",
            "Organization-Id": service.organization_id,
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request) as answer:
        return dict(json.load(answer))


def put(browser: Browser, session: Mapping[str, Any], name: str, data: bytes) -> None:
    (upload,) = (one["upload"] for one in session["status"]["assets"] if one["metadata"]["filename"] == name)
    with urllib.request.urlopen(urllib.request.Request(upload["url"], data, upload["headers"], method="PUT")):
        pass


FAULTS = {"expired.png": [403], "busy.png": [503], "full.png": [507] * 9}


def test_a_transfer_that_breaks_is_repeated_or_reported(driver: Any, tmp_path: Path) -> None:
    """An expired URL leads to a new session, a busy service to another attempt, any other refusal to a message."""
    left = {name: list(statuses) for name, statuses in FAULTS.items()}

    @web.middleware
    async def break_some(request: web.Request, handler: Any) -> Any:
        statuses = left.get(request.path.rpartition("/")[2], [])
        if request.method == "PUT" and statuses:
            return web.Response(status=statuses.pop(0))
        return await handler(request)

    service = TestedService.start(tmp_path / "data", middlewares=[break_some])
    try:
        browser = Browser(driver, service)
        browser.log_in()
        with service.client() as client:
            dataset = client.datasets.create(name="broken").dataset_id
            browser.open(page_of(dataset))
            files = {name: picture(number) for number, name in enumerate((*FAULTS, "plain.png"))}
            browser.drop(files)
            assert rows(browser) == {
                "full.png": "Not stored: the service answered 507.",
                **dict.fromkeys(("expired.png", "busy.png", "plain.png"), "stored"),
            }
            assert left == {"expired.png": [], "busy.png": [], "full.png": [507] * 8}
            del files["full.png"]
            assert stored(client, dataset) == {name: sha256(data) for name, data in files.items()}
        browser.open("/gallery/sessions")
        assert [badge.text for badge in browser.all(".badge")] == ["done, some cancelled"], "nothing is left open"
    finally:
        service.stop()


def test_an_upload_is_cancelled_by_its_button(browser: Browser, client: vi.Client, dataset: str) -> None:
    browser.open(page_of(dataset))
    browser.command("Network.enable")
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1}
    browser.command("Network.emulateNetworkConditions", uploadThroughput=20_000, **conditions)
    try:
        browser.drop({"slow.bmp": _samples.encode(1, ".bmp", (400, 300))})
        browser.one("[data-transfer=going] .files li")
        browser.one("[data-transfer=going] header button").click()
        assert rows(browser) == {"slow.bmp": "Cancelled."}
    finally:
        browser.command("Network.emulateNetworkConditions", uploadThroughput=-1, **conditions)
    browser.open(page_of(dataset) + "/sessions")
    assert browser.one(".badge").text == "cancelled"
    assert stored(client, dataset) == {}


def test_without_a_script_the_form_uploads(browser: Browser, client: vi.Client, dataset: str, tmp_path: Path) -> None:
    files = {"plain.png": picture(1), "wrong.png": b"nonsense"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page_of(dataset))
        browser.one("#files").send_keys("\n".join(str(tmp_path / name) for name in files))
        browser.one(".drop button").click()
        browser.one(".session")
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)
    browser.until(lambda: (browser.driver.refresh(), "1 of 2 files stored · 1 failed" in browser.text)[1])
    assert stored(client, dataset) == {"plain.png": sha256(files["plain.png"])}


CONTRAST = """
const luminance = (colour) => {
  const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const backOf = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (!/, 0\\)$|transparent/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
};
const weak = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility() || element.closest("[aria-disabled]")) continue;
  const [a, b] = [luminance(getComputedStyle(element).color), luminance(backOf(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) weak.push(`${element.className || element.tagName} ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
}
return weak;
"""

UNLABELLED = """
return [...document.querySelectorAll("input:not([type=hidden], [hidden]), select, button, a, img, video, progress, nav")].filter((one) =>
  !(one.labels?.length || one.getAttribute("aria-label") || one.hasAttribute("alt") || one.textContent.trim())
).map((one) => one.outerHTML);
"""


@pytest.fixture
def places(client: vi.Client, dataset: str) -> list[str]:
    """Every kind of page, with something on it."""
    empty = client.datasets.create(name="empty " + "x" * 80).dataset_id
    long = "long_" * 40 + ".png"
    fill(client, dataset, {long: picture(1), "b.tiff": picture(2, ".tiff"), "c.jpg": picture(3, ".jpg")})
    client.assets.upload(
        dataset,
        [("bad_" * 40 + ".png", picture(9)[:-40])],
        failure_mode=FailureMode.FAIL_AFTER_ALL,
        show_progress=False,
    )
    assets = [f"{page_of(dataset)}/assets/{one.asset_id}" for one in client.assets.list(dataset_id=dataset).all_items()]
    sessions = [page_of(dataset) + "/sessions", "/gallery/sessions"]
    return ["/", page_of(dataset), page_of(dataset) + "?q=zzz", page_of(empty), *assets, *sessions, "/gallery/none"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_readable_in_light_and_dark(browser: Browser, places: list[str], scheme: str) -> None:
    browser.prefer(scheme)
    for place in places:
        browser.open(place)
        assert browser.run(CONTRAST) == [], place
        assert browser.run(UNLABELLED) == [], place
    browser.one("header.top form button").click()
    browser.one("#key")
    assert browser.run(CONTRAST) == []
    assert browser.run(UNLABELLED) == []
    (back,) = browser.run("return [getComputedStyle(document.body).backgroundColor]")
    brightness = sum(int(part) for part in back.removeprefix("rgb(").removesuffix(")").split(",")) / 3
    assert (brightness < 64) is (scheme == "dark")


def test_a_phone_shows_every_page_without_scrolling_sideways(browser: Browser, places: list[str]) -> None:
    browser.resize(*PHONE)
    wide = []
    for place in places:
        browser.open(place)
        if browser.run("return document.documentElement.scrollWidth > innerWidth"):
            wide.append(place)
        small = browser.run(
            "return [...document.querySelectorAll('button, .button')].filter((one) => one.checkVisibility()"
            " && one.getBoundingClientRect().height < 40).map((one) => one.textContent)"
        )
        assert small == [], "large enough for a thumb"
    assert wide == []


def test_assets_are_chosen_by_keys_and_deleted(browser: Browser, client: vi.Client, dataset: str) -> None:
    from selenium.webdriver import Keys

    fill(client, dataset, {f"k{number}.png": picture(number) for number in range(5)})
    browser.open(page_of(dataset) + "?sort=name")
    browser.one("html.js .tile")
    delete = browser.one("#selection [value=delete]")
    assert not delete.is_enabled()
    browser.press(Keys.ARROW_RIGHT, "x", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "x")
    assert browser.one("[data-chosen]").text == "2 selected"
    delete.click()
    browser.until(lambda: "Delete 2 assets?" in browser.text)
    browser.press(Keys.ESCAPE)
    browser.one("html.js .tile")
    assert len(stored(client, dataset)) == 5, "Escape keeps them"
    for name in ("k0.png", "k2.png"):
        box = browser.one(f"input[aria-label='Select {name}']")
        if not box.is_selected():
            box.click()
    browser.one("#selection [value=delete]").click()
    browser.one("main [value=confirm]").click()
    browser.until(lambda: len(browser.all(".tile")) == 3)
    assert browser.path == page_of(dataset) + "?sort=name"
    assert set(stored(client, dataset)) == {"k1.png", "k3.png", "k4.png"}
    browser.one("[data-all]").click()
    assert browser.one("[data-chosen]").text == "3 selected"


def test_the_page_of_a_dataset_notices_what_others_do(browser: Browser, client: vi.Client, dataset: str) -> None:
    fill(client, dataset, {"a.png": picture(0)})
    browser.open(page_of(dataset))
    assert browser.one("[data-watch]").text.startswith("1 asset ")
    fill(client, dataset, {f"b{number}.png": picture(number) for number in range(3)})
    browser.until(lambda: "3 new assets. Show" in browser.one("[data-notice]").text, "it is not noticed")
    assert browser.one("[data-watch]").text.startswith("4 assets ")
    assert len(browser.all(".tile")) == 1, "the page does not change under the reader's eyes"
    browser.one("[data-notice] a").click()
    browser.until(lambda: len(browser.all(".tile")) == 4)


def test_files_refused_for_one_reason_are_one_row(browser: Browser, client: vi.Client, dataset: str) -> None:
    broken = {f"bad {number:02}.png": b"nonsense" for number in range(12)} | {"empty.png": b""}
    client.assets.upload(dataset, list(broken.items()), failure_mode=FailureMode.FAIL_AFTER_ALL, show_progress=False)
    opened = raw_session(browser, dataset, {f"later {number}.png": b"nonsense" for number in range(2)})
    browser.open(page_of(dataset) + "/sessions")
    put(browser, opened, "later 0.png", b"nonsense")
    put(browser, opened, "later 1.png", b"nonsense")
    browser.until(lambda: "0 of 2 files stored · 2 failed" in browser.text)
    live = browser.one(".session .problems tbody").text
    assert "2 files EBADMIME The content is not image/png" in live, "as the script shows it"
    browser.driver.refresh()
    assert browser.one(".session .problems tbody").text == live, "and as the service does"
    assert len(browser.all(".session .problems tbody tr")) < 5
    assert [one.text for one in browser.all(".problems li")][:2] == ["later 0.png", "later 1.png"]


AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then(
  (found) => done(found.violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html.slice(0, 160)} ${node.failureSummary}`))),
  (error) => done([String(error)]),
);
"""


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_every_page_is_accessible_by_the_rules_of_axe(
    browser: Browser, client: vi.Client, dataset: str, places: list[str], look: str
) -> None:
    library = resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")
    browser.prefer("dark" if look == "dark" else "light")
    browser.resize(*(PHONE if look == "phone" else DESKTOP))
    wrong = page_of(dataset) + "?metadata=camera+%3D+1"
    broken = [(f"bad {number:02}.png", b"nonsense") for number in range(12)]
    client.assets.upload(dataset, broken, failure_mode=FailureMode.FAIL_AFTER_ALL, show_progress=False)
    found = {}
    for place in [*places, wrong]:
        browser.open(place)
        browser.one("html.js")
        browser.driver.execute_script(library)
        if problems := browser.driver.execute_async_script(AXE):
            found[place] = problems
    assert found == {}
