"""A headless Chromium, one for the session, that finds nothing but the local service."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from vi.testing import TestedService

PATIENCE = 20
PHONE = (360, 740)
DESKTOP = (1280, 900)

FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--lang=en-GB",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)

DROP = """
const [files, folder] = arguments;
const transfer = new DataTransfer();
for (const [name, data] of Object.entries(files)) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], name));
}
const target = document.querySelector("form[data-upload]");
for (const kind of ["dragenter", "dragover", "drop"]) {
  target.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}
"""


class Browser:
    """The browser as a visitor of one service uses it."""

    def __init__(self, driver: Any, service: TestedService) -> None:
        self.driver = driver
        self.service = service

    def open(self, path: str = "/", *, host: str = "127.0.0.1") -> None:
        self.driver.get(self.service.url.replace("127.0.0.1", host) + path)

    def log_in(self, *, host: str = "127.0.0.1") -> None:
        self.open(host=host)
        self.type("#key", self.service.secret_key + "\n")
        self.one("header.top")

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        """Wait for an element."""
        return self.until(lambda: self.all(selector), f"no {selector}")[0]

    def until(self, reached: Callable[[], Any], otherwise: str = "it did not come") -> Any:
        """Wait for something to be true, whatever pages come and go meanwhile."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(self.driver, PATIENCE, 0.05, ignored_exceptions=[StaleElementReferenceException])
        return waiting.until(lambda _: reached(), otherwise)

    def type(self, selector: str, keys: str) -> None:
        self.one(selector).send_keys(keys)

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def command(self, name: str, **parameters: Any) -> None:
        self.driver.execute_cdp_cmd(name, parameters)

    def drop(self, files: Mapping[str, bytes]) -> None:
        """Drop files on the page, as the system hands them over."""
        self.one("html.js form[data-upload]")  # the script is there
        self.run(DROP, {name: base64.b64encode(data).decode() for name, data in files.items()})

    def drop_paths(self, *paths: Path) -> None:
        """Drop what lies on the disk, folders too, through the browser's own input."""
        place = self.one("html.js form[data-upload]").rect
        at = {"x": place["x"] + place["width"] / 2, "y": place["y"] + place["height"] / 2}
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.command("Input.dispatchDragEvent", type=kind, data=data, **at)

    @property
    def text(self) -> str:
        return str(self.one("main").text)

    @property
    def path(self) -> str:
        return str(self.run("return location.pathname + location.search"))

    @property
    def complaints(self) -> list[str]:
        """What the browser has written to its console since it was last asked."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def resize(self, width: int, height: int, *, density: int = 1) -> None:
        mobile = width < 600
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=density, mobile=mobile
        )

    def prefer(self, scheme: str) -> None:
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


def start_driver() -> Any:
    """Start a headless Chromium; skips the test where there is none."""
    selenium = pytest.importorskip("selenium.webdriver")
    program = shutil.which("chromium")
    if program is None or shutil.which("chromedriver") is None:
        pytest.skip("needs the programs chromium and chromedriver")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, *(("--no-sandbox",) if os.geteuid() == 0 else ())):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return selenium.Chrome(options=options, service=selenium.ChromeService(shutil.which("chromedriver")))


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    driver = start_driver()
    yield driver
    driver.quit()


@pytest.fixture
def visitor(driver: Any, service: TestedService) -> Iterator[Browser]:
    """A browser that is not logged in; at the end it must not have complained about what a page does."""
    browser = Browser(driver, service)
    browser.resize(*DESKTOP)
    browser.prefer("light")
    browser.open("/gallery/static/icon.svg")
    driver.delete_all_cookies()
    assert browser.complaints is not None  # those of the test before
    yield browser
    complaints = [line for line in browser.complaints if "Failed to load resource" not in line]
    assert complaints == []


@pytest.fixture
def browser(visitor: Browser) -> Browser:
    """A browser that is logged in."""
    visitor.log_in()
    return visitor
