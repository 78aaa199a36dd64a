"""What a notebook shows: everything escaped, nothing secret, within a budget; and the text beside it."""

from __future__ import annotations

import html.parser
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from vi import _samples, _wire
from vi._events import TransferProgress
from vi._show import html as _html
from vi._show import text as _text
from vi._transfer.record import FileFailure
from vi.api.pagination import BadItem, Listing, Page, PaginatedResponse
from vi.api.resources.datasets.assets.plans import PlannedTransfer, TransferPlan
from vi.api.resources.datasets.assets.responses import Asset, AssetContents, AssetMetadata, Contents
from vi.api.resources.datasets.assets.results import AssetDownloadResult, AssetUploadResult
from vi.api.resources.datasets.assets.sync.comparison import VerifyResult
from vi.api.resources.datasets.assets.sync.run import SyncResult
from vi.api.resources.datasets.responses import Dataset
from vi.api.resources.organizations.responses import Organization

HOSTILE = [
    "<script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "' onmouseover='alert(1).png",
    "</td></table><style>*{display:none}</style>.png",
    "a\x1b[31mred\r\nb\u202egnp.exe\x00.png",
    "javascript:alert(1).png",
    "\udc80broken.png",
    "&lt;b&gt;.png",
    "x" * 5000,
]
KEY = "dtvi_" + "k" * 98
URL = "https://store.example/a.png?X-Signature=abcdef0123&X-Expires=1"
SECRETS = (KEY, "abcdef0123")
ALLOWED = {"div", "table", "thead", "tbody", "tr", "th", "td", "b", "img", "progress", "span", "pre"}
PICTURE = _samples.encode(1, ".jpg", (64, 48))


class Reader(html.parser.HTMLParser):
    """Reads HTML strictly: known elements and attributes only, each closed where it must be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED
        assert {name for name, _ in attributes} <= {"style", "title", "src", "alt", "value", "max"}
        if tag == "img":
            self.images.append(dict(attributes)["src"] or "")
        else:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def read(thing: Any) -> Reader:
    """Show *thing*, and check what holds for everything that is shown."""
    text = thing if isinstance(thing, str) else thing._repr_html_()
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert all(character == "\n" or character.isprintable() for character in text)
    assert not any(secret in text for secret in SECRETS)
    text.encode()
    assert all(source.startswith("data:image/") for source in reader.images)
    return reader


def asset(name: str, thumbnail: bytes | None = None, **values: Any) -> Asset:
    made = Asset("asset-1", "dataset-1", filename=name, kind="Image", metadata=AssetMetadata(**values))
    made.contents = AssetContents(Contents(URL), Contents(URL))
    made.thumbnail = thumbnail
    return made


def things(text: str) -> dict[str, Any]:
    """One of everything that shows itself, with *text* wherever a stranger's text can be."""
    failure = FileFailure(text, text, text, f"{text}: {URL}")
    plan = TransferPlan(text, "up", text, [PlannedTransfer("upload", text, text, 9, text)], 3, {text: 1})
    up = AssetUploadResult(1, 0, 1, failures=[failure], total_skipped=1, skip_reasons={text: 1})
    down = AssetDownloadResult(Path(text.replace("\0", "")), 1, total_failed=1, failures=[failure], conflicts=[failure])
    one = asset(text, PICTURE, mime_type=text, status=text, custom_metadata={text: text, "key": KEY})
    return {
        "asset": one,
        "page": Page([one], next_page=text, bad_items=[BadItem(1, text)]),
        "page without pictures": Page([asset(text, status=text)]),
        "page of datasets": Page([Dataset(text, text, type=text)]),
        "page of organizations": PaginatedResponse([Organization(text, text)]),
        "page of others": Page([text]),
        "empty page": Page([]),
        "listing": Listing(lambda page: None),  # type: ignore[arg-type, return-value]
        "dataset": Dataset(text, text, type=text, description=text),
        "upload": up,
        "upload plan": AssetUploadResult(plan=plan),
        "download": down,
        "download plan": AssetDownloadResult(Path("x"), plan=plan),
        "verify": VerifyResult(1, [text], [text], [text], [text], [failure]),
        "plan": plan,
        "sync": SyncResult(plan, up, down, 1, [failure]),
        "planned sync": SyncResult(plan),
    }


@pytest.mark.parametrize("text", [*HOSTILE, KEY, URL], ids=range(len(HOSTILE) + 2))
def test_nothing_of_a_stranger_is_more_than_text(text: str) -> None:
    for name, thing in things(text).items():
        shown = read(thing)
        assert text not in HOSTILE[:4] or name in ("empty page", "listing") or text in shown.text


@pytest.mark.parametrize("name", things("x"))
@pytest.mark.parametrize("text", [*HOSTILE, KEY, URL], ids=range(len(HOSTILE) + 2))
def test_the_text_beside_it_is_printable_and_without_secrets(text: str, name: str) -> None:
    class Printer:
        stack = [0]
        said = ""

        def text(self, text: str) -> None:
            self.said += text

    printer = Printer()
    things(text)[name]._repr_pretty_(printer, False)
    assert printer.said
    assert all(character == "\n" or character.isprintable() for character in printer.said)
    assert not any(secret in printer.said for secret in SECRETS)


def test_a_page_is_a_grid_of_pictures_with_names_and_sizes() -> None:
    page = Page([asset(f"{number}.jpg", PICTURE, width=64, height=48, file_size=2048) for number in range(3)])
    shown = read(page)
    assert len(shown.images) == 3
    assert "0.jpg 64 x 48, 2.0 KiB 1.jpg 64 x 48, 2.0 KiB" in shown.text
    assert "table" not in page._repr_html_()


@pytest.mark.parametrize("picture", [None, b"", b"<svg onload='alert(1)'>", b"RIFF\0\0\0\0WEBX", b"BM" + b"\0" * 60])
def test_what_is_no_picture_is_a_place_in_the_grid(picture: bytes | None) -> None:
    shown = read(Page([asset("good.jpg", PICTURE), asset("other.jpg", picture)]))
    assert len(shown.images) == 1
    assert "other.jpg" in shown.text
    assert read(asset("other.jpg", picture)).images == []


def test_pictures_stay_within_a_budget() -> None:
    large = PICTURE + b"\0" * (300 << 10)
    page = Page([asset(f"{number}.jpg", large) for number in range(10)])
    shown = read(page)
    assert len(shown.images) == 3
    assert "9.jpg" in shown.text
    assert len(page._repr_html_()) < 1.5 * _html.PICTURE_BYTES


def test_a_long_page_shows_its_beginning() -> None:
    page = Page([asset(f"name-{number}.jpg", PICTURE) for number in range(1000)])
    for shown in (read(page).text, _text.described(page._sheet())):
        assert "name-59.jpg" in shown
        assert "name-60.jpg" not in shown
        assert "1,000 assets, the first 60 of them here" in shown


def test_long_reports_are_cut() -> None:
    failures = [FileFailure(f"a/{n}.png", f"{n}.png", "ECORRUPT", "It is damaged.") for n in range(1000)]
    shown = read(AssetUploadResult(total_failed=1000, failures=failures))
    assert "a/19.png" in shown.text
    assert "a/20.png" not in shown.text
    assert "and 980 more, in .failures" in shown.text


def test_a_report_counts_what_there_is_and_leaves_out_what_is_not() -> None:
    shown = read(AssetUploadResult(3, 2, 1, total_skipped=4, skip_reasons={"hidden": 4}, failures=[]))
    assert " ".join(shown.text.split()) == (
        "3 files uploaded, 2 unchanged, 1 failed Uploaded 3 Unchanged 2 Failed 1 Skipped 4 4 skipped: 4 hidden"
    )


@pytest.mark.parametrize(("total", "expected"), [(None, None), (9, "0.333"), (0, "1.000")])
def test_a_bar_without_a_total_says_nothing_of_how_far_it_is(total: int | None, expected: str | None) -> None:
    text = _html.progress_bar(TransferProgress("upload", "sending", total, 3, 1, None, 2_500_000, 4.2, False))
    shown = read(text)
    assert "upload: 1 failed, sent 3" in shown.text
    assert "2.4 MiB, 4 s" in shown.text
    assert (f' value="{expected}"' if expected else 'vertical-align:middle">') in text


def test_inside_other_things_a_repr_is_the_usual_one() -> None:
    class Printer:
        stack = [0, 1]
        said = ""

        def text(self, text: str) -> None:
            self.said += text

    printer = Printer()
    asset("a.png")._repr_pretty_(printer, False)
    assert printer.said.startswith("Asset(asset_id='asset-1'")
    assert "abcdef0123" not in printer.said


def test_a_thumbnail_is_no_part_of_what_an_asset_is() -> None:
    one, other = asset("a.png", PICTURE), asset("a.png")
    assert one == other
    assert "thumbnail=b" not in repr(one)
    assert "thumbnail" not in _wire.unstructure(one)
    assert _wire.structure({"assetId": "a", "datasetId": "d", "thumbnail": 5}, Asset).thumbnail is None
    assert attrs.evolve(one, filename="b").thumbnail is None


def test_nothing_of_this_is_loaded_before_something_is_shown() -> None:
    code = "import sys, vi.client; print([m for m in ('vi._show.html', 'vi._show.notebook', 'IPython') if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
