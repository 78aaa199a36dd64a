"""Paths from templates: every value is one segment, however it is spelled."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from vi import _routes
from vi.server.gallery.paths import SESSIONS, asking, path_to

texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts, texts)
@example("a b%20", "{x}/é~_.-")
def test_a_value_is_one_segment(one: str, other: str) -> None:
    assert _routes.fill("/a/{one}/b%20c/{other}", one=one, other=other) == (
        f"/a/{quote(one, safe='')}/b%20c/{quote(other, safe='')}"
    )


def test_a_page_of_an_address_with_escapes_keeps_them() -> None:
    """An id may come with its organization, whose name may hold anything."""
    here = path_to(SESSIONS, dataset="acme corp_1")
    assert asking(here, {"p": "t&1", "q": None}) == "/gallery/datasets/acme%20corp_1/sessions?p=t%261"
    assert asking(here, {}) == here
