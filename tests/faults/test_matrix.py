"""`docs/reliability.md` has every row once, and the tests that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
MATRIX = TESTS.parent / "docs" / "reliability.md"

ROWS = {"W": 14, "H": 17, "B": 17, "F": 12, "D": 9, "P": 11, "S": 14, "A": 25}
UNUSED = {"A15"}


def rows() -> list[tuple[str, str]]:
    """Return the id and the last cell of each row."""
    found = []
    for line in MATRIX.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"[A-Z]\d+", cells[0]):
            found.append((cells[0], cells[3]))
    return found


def test_every_row_is_there_once() -> None:
    expected = [f"{letter}{number}" for letter, count in ROWS.items() for number in range(1, count + 1)]
    assert [row for row, _ in rows()] == [row for row in expected if row not in UNUSED]


def test_every_test_that_is_named_is_there() -> None:
    missing = []
    for row, cell in rows():
        named = 0
        for part in cell.split(";"):
            file, _, names = part.strip().partition(": ")
            for name in re.findall(r"`(test_\w+)`", names):
                named += 1
                path = TESTS / file
                if not path.is_file() or not re.search(rf"def {name}\(", path.read_text("utf-8")):
                    missing.append(f"{row}: {file}::{name}")
        assert named or "*none*" in cell, f"{row} names no test and does not say so"
    assert not missing, missing


def test_every_row_named_by_a_test_names_it() -> None:
    """A test called after a row is in that row's list, so that a new one is not forgotten."""
    listed = dict(rows())
    for file in sorted([*(TESTS / "faults").glob("test_*.py"), *(TESTS / "attacks").glob("test_*.py")]):
        for name in re.findall(r"def (test_(?:[WHBFDPSA]\d+_)+\w+)\(", file.read_text("utf-8")):
            for row in re.findall(r"(?<=_)[WHBFDPSA]\d+(?=_)", name.replace("_", "__")):
                assert f"`{name}`" in listed[row], f"{row} does not list {name}"
