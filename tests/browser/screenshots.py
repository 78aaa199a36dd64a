"""Take the screenshot of the docs, and with a folder named, of every page in light, dark and on a phone.

``nox -s screenshots`` writes docs/gallery.png; ``nox -s screenshots -- FOLDER`` also writes the pages to look at.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

import vi
from tests.browser.conftest import DESKTOP, PHONE, Browser, start_driver
from vi import _samples
from vi.api.resources.datasets.assets.responses import FailureMode
from vi.testing import TestedService

DOCS = Path(__file__).parents[2] / "docs" / "gallery.png"
LOOKS = {"light": ("light", DESKTOP), "dark": ("dark", DESKTOP), "phone": ("light", PHONE)}


def line_art() -> bytes:
    """Black lines on nothing."""
    picture = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((110, 20, 190, 100), outline="black", width=6)
    for line in ((150, 100, 150, 200), (150, 120, 90, 170), (150, 120, 210, 170), (150, 200, 100, 280)):
        draw.line(line, fill="black", width=6)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def photos(client: vi.Client, folder: Path) -> str:
    """Fill the dataset of the docs."""
    dataset = client.datasets.create(name="street signs").dataset_id
    paths = _samples.make_samples(folder, count=220, size=(640, 480))
    streets = [path for path in paths if path.name.startswith("street") and path.suffix not in (".heic", ".heif")]
    client.assets.upload(dataset, streets, show_progress=False)
    return dataset


def oddities(client: vi.Client) -> str:
    """Fill a dataset with long names, folders, transparency, a large picture, and some files that are refused."""
    dataset = client.datasets.create(name="odd ones").dataset_id
    files = {f"wallpapers/summer_1am/contents/images/{n}x1080.png": _samples.encode(n, ".png") for n in (1280, 1920)}
    files |= {
        "stickman.png": line_art(),
        "a_rather_long_name_of_a_picture_from_a_camera_0001.jpg": _samples.encode(1, ".jpg"),
        "a_rather_long_name_of_a_picture_from_a_camera_0002.jpg": _samples.encode(2, ".jpg"),
        "scan.tiff": _samples.encode(3, ".tiff", (2000, 1500)),
        "tiny.png": _samples.encode(4, ".png", (16, 16)),
        "sliver.png": _samples.encode(5, ".png", (16, 700)),
    }
    broken = {f"broken {n}.png": b"nonsense" for n in range(7)} | {"cut.png": _samples.encode(9, ".png")[:-40]}
    sent = [*files.items(), *broken.items()]
    client.assets.upload(dataset, sent, failure_mode=FailureMode.FAIL_AFTER_ALL, show_progress=False)
    return dataset


def shoot(browser: Browser, path: Path, *, whole: bool = False) -> None:
    """Write what the browser shows."""
    browser.one("html.js")
    browser.until(lambda: browser.run("return [...document.images].every((one) => one.complete || one.loading)"))
    browser.until(lambda: browser.run("return document.readyState") == "complete")
    taken = browser.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole})
    path.write_bytes(base64.b64decode(taken["data"]))


def pages(browser: Browser, client: vi.Client, signs: str, odd: str, folder: Path) -> None:
    """Write every page in every look."""
    ids = {one.filename: one.asset_id for one in client.assets.list(dataset_id=odd).all_items()}
    places = {
        "datasets": "/",
        "grid": f"/gallery/datasets/{signs}",
        "odd": f"/gallery/datasets/{odd}",
        "none": f"/gallery/datasets/{odd}?q=zzz",
        "picture": f"/gallery/datasets/{odd}/assets/{ids['stickman.png']}",
        "scan": f"/gallery/datasets/{odd}/assets/{ids['scan.tiff']}",
        "uploads": "/gallery/sessions",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for look, (scheme, size) in LOOKS.items():
        browser.resize(*size)
        browser.prefer(scheme)
        for name, place in places.items():
            browser.open(place)
            shoot(browser, folder / f"{name}-{look}.png")


def main(folder: str | None = None) -> None:
    """Start a service and a browser, and write the pictures."""
    driver: Any = start_driver()
    with tempfile.TemporaryDirectory() as temporary:
        service = TestedService.start(Path(temporary) / "data")
        try:
            browser = Browser(driver, service)
            with service.client() as client:
                odd, signs = oddities(client), photos(client, Path(temporary) / "samples")
                browser.resize(1280, 800)
                browser.prefer("light")
                browser.log_in()
                browser.open(f"/gallery/datasets/{signs}?sort=name")
                shoot(browser, DOCS)
                if folder:
                    pages(browser, client, signs, odd, Path(folder))
        finally:
            driver.quit()
            service.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
