"""Every block of the documentation runs, each page from its top, in a folder with images and beside a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.readme_blocks import ROOT, Section, page

DOCS = ROOT / "docs"
PAGES = [
    page(str(path.relative_to(DOCS)), path.read_text("utf-8"))
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts
]


@pytest.mark.parametrize("whole", [one for one in PAGES if one.to_run], ids=lambda one: one.title)
def test_the_blocks_of_a_page_run(whole: Section, reader: Callable[..., dict[str, Any]]) -> None:
    reader(whole, whole.title)


def test_what_is_not_run_says_why_and_is_little() -> None:
    exempt = [(one.title, block.exempt) for one in PAGES for block in one.blocks if block.exempt is not None]
    assert [(title, reason) for title, reason in exempt if len(reason.split()) < 4] == []
    run = sum(len(one.to_run) for one in PAGES)
    assert run >= 60
    assert len(exempt) <= run // 4
