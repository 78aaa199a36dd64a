"""Previews on disk: kept within bounds, the one that was looked at last for longest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vi.server.disk import previews
from vi.server.disk.previews import Previews


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(("bound", "value"), [("MOST", 3), ("MOST_BYTES", 3 * 14)])
def test_the_ones_that_nobody_looked_at_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(previews, bound, value)
    kept = Previews(tmp_path / "previews")
    for number in range(3):
        kept.write(f"p{number}", 512, b"0123456789")
        os.utime(tmp_path / "previews" / f"p{number}-512", (number, number))
    assert kept.read("p0", 512) == b"0123456789", "a look makes it the newest"
    kept.write("p3", 512, b"0123456789")
    assert names(tmp_path / "previews") == {"p0-512", "p2-512", "p3-512"}
    assert kept.read("p1", 512) is None


def test_one_that_is_larger_than_all_may_be_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "MOST_BYTES", 5)
    kept = Previews(tmp_path / "previews")
    kept.write("p", 1440, b"0123456789")
    assert kept.read("p", 1440) is None


def test_those_of_no_object_are_swept_and_damaged_ones_not_shown(tmp_path: Path) -> None:
    kept = Previews(tmp_path / "previews")
    kept.sweep(lambda name: False)  # nothing is there yet
    for name in ("here", "gone"):
        kept.write(name, 512, b"picture")
        kept.write(name, 1440, b"large picture")
    (tmp_path / "previews" / "here-512").write_bytes(b"picturf\0\0\0\0")
    kept.sweep(lambda name: name == "here")
    assert names(tmp_path / "previews") == {"here-512", "here-1440"}
    assert kept.read("here", 512) is None
    assert kept.read("here", 1440) == b"large picture"
    kept.remove("here")
    assert names(tmp_path / "previews") == set()
