"""Pages are written so that nothing in them can be taken for more than text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vi.server.gallery.html import Markup, escape, h, join
from vi.server.gallery.layout import crumbs


class Read(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(str(text))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(), st.text())
def test_any_text_stays_text_between_tags_and_in_attributes(text: str, other: str) -> None:
    read = Read(h("p", text, h("b", other), title=other, data_x=text))
    assert [tag for tag, _ in read.tags] == ["p", "b"]
    shown = text.translate({code: "\ufffd" for code in (*range(32), *range(0x7F, 0xA0)) if code not in (9, 10)})
    shown = "".join("?" if "\ud800" <= letter <= "\udfff" else letter for letter in shown)
    assert read.tags[0][1]["data-x"] == shown
    assert read.text.startswith(shown)


def test_only_markup_is_taken_as_it_is() -> None:
    assert join(["<", Markup("<br>"), None, 7, ["&", h("i", "x")]]) == "&lt;<br>7&amp;<i>x</i>"
    assert h("input", required=True, disabled=False, value=None, for_="a") == '<input required for="a">'
    assert escape("\"'\x00\x1b") == "&#34;&#39;\ufffd\ufffd"


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "//evil.example", "/\\evil.example", "https://evil.example", "data:text/html,x", ""],
)
def test_an_address_leads_nowhere_else(address: str) -> None:
    for name in ("href", "src", "action"):
        with pytest.raises(ValueError, match="path of this service"):
            h("a", **{name: address})


@pytest.mark.parametrize("name", ["onclick", "onerror", "style", "srcdoc"])
def test_no_attribute_holds_a_script_or_a_style(name: str) -> None:
    with pytest.raises(ValueError, match="not for pages"):
        h("a", **{name: "x"})


def test_a_long_name_on_the_way_to_a_page_keeps_its_end() -> None:
    read = Read(crumbs(("Datasets", "/"), ("street signs of the north camera, second run", None)))
    assert [attributes.get("class") for tag, attributes in read.tags if tag == "span"] == ["stem", "tail"]
    assert read.text.endswith("street signs of the north camera, second run")
