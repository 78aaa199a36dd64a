"""Every block of the page on notebooks runs, in a folder with images; a section is a notebook of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.readme_blocks import ROOT, Section, run, sections
from vi import _samples

PAGE = sections((ROOT / "docs" / "notebooks.md").read_text("utf-8"))


@pytest.mark.parametrize("section", [s for s in PAGE if s.to_run], ids=lambda section: section.title)
def test_the_blocks_of_a_section_run(
    section: Section, service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _samples.make_samples(tmp_path / "images", count=4, size=(40, 30))
    monkeypatch.chdir(tmp_path)
    scope = run(section, tmp_path, service.environment)
    assert scope["result"].total_succeeded == 4
    assert scope.get("done", (4, 4)) == (4, 4)
    assert "asset" not in scope or scope["asset"].thumbnail
