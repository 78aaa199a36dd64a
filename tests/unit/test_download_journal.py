"""What a journal of part files says, whatever order things arrive in and wherever it is cut."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vi._checksums import Expected
from vi._transfer.journals import locked_lines
from vi._transfer.journals.downloads import KeptPart, PartJournal, parts_left, read_parts
from vi._transfer.journals.uploads import JournalKey

KEY = JournalKey("https://vi.example", "acme", "ds1")
SHA = Expected("sha256", "ab" * 32)
SIZE = 100

spans = st.lists(st.tuples(st.integers(-5, SIZE + 5), st.integers(-5, SIZE + 5)), max_size=12)


@given(given_=spans, each=st.integers(1, 40))
def test_what_has_arrived_and_what_is_missing_make_the_whole(given_: list[tuple[int, int]], each: int) -> None:
    part = KeptPart("p", "n", "a", SIZE, "d", "e")
    wanted: set[int] = set()
    for start, end in given_:
        part.add(start, end)
        wanted |= set(range(start, end)) if 0 <= start < end <= SIZE else set()
    there, missing = part.cut(each)
    assert part.count == len(wanted)
    assert {at for one in there for at in range(one.start, one.end)} == wanted
    whole = sorted([*there, *missing], key=lambda stretch: stretch.number)
    assert [one.start for one in whole] == [0, *(one.end for one in whole)][:-1]
    assert whole[-1].end == SIZE
    assert all(0 < one.size <= each for one in missing)


@given(where=st.floats(0, 1))
def test_cut_anywhere_it_claims_no_byte_that_was_not_noted(where: float) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        target, cache = Path(scratch) / "t", Path(scratch) / "c"
        target.mkdir()
        journal = PartJournal.open(target, KEY, cache)
        part = journal.path_for(str(target / "a.bmp"))
        Path(part).touch()
        journal.begun(part, str(target / "a.bmp"), "a1", SIZE, SHA, '"e1"')
        for at in range(0, SIZE, 10):
            journal.arrived(part, at, at + 10)
        assert journal._path is not None
        whole = journal._path.read_bytes()
        locked_lines.close_all(journal._held)
        os.truncate(journal._path, int(len(whole) * where))
        said = read_parts(journal._path)
        if said is None:
            assert int(len(whole) * where) < len(whole.splitlines(keepends=True)[0])
            return
        lines = whole[: int(len(whole) * where)].count(b"\n")
        assert sum(kept.count for kept in said.kept.values()) == 10 * max(0, lines - 2)
        assert parts_left(said) == [Path(part).name]


@pytest.mark.parametrize(
    ("asset_id", "size", "expected"),
    [
        ("a2", SIZE, SHA),
        ("a1", SIZE + 1, SHA),
        ("a1", SIZE, Expected("sha256", "cd" * 32)),
        ("a1", SIZE, Expected(None, None)),
    ],
    ids=["asset", "size", "digest", "no digest"],
)
def test_another_object_is_not_resumed(tmp_path: Path, asset_id: str, size: int, expected: Expected) -> None:
    target, cache = tmp_path / "t", tmp_path / "c"
    target.mkdir()
    dead = PartJournal.open(target, KEY, cache)
    part = dead.path_for(str(target / "a.bmp"))
    Path(part).write_bytes(b"x" * 50)
    dead.begun(part, str(target / "a.bmp"), "a1", SIZE, SHA, '"e1"')
    dead.arrived(part, 0, 50)
    locked_lines.close_all(dead._held)
    journal = PartJournal.open(target, KEY, cache)
    assert journal.kept_for(str(target / "a.bmp"), asset_id, size, expected) is None
    journal.close()
    assert list(target.iterdir()) == list(cache.iterdir()) == []


def test_without_digest_or_etag_nothing_is_noted(tmp_path: Path) -> None:
    journal = PartJournal.open(tmp_path, KEY, tmp_path / "c")
    for expected, etag in ((Expected(None, None), '"e1"'), (SHA, None)):
        part = journal.path_for(str(tmp_path / "a.bmp"))
        journal.begun(part, str(tmp_path / "a.bmp"), "a1", SIZE, expected, etag)
        journal.arrived(part, 0, 50)
    assert journal._path is not None
    said = read_parts(journal._path)
    assert said is not None
    assert said.kept == {}
    journal.close()


def test_a_journal_that_names_files_elsewhere_is_not_believed(tmp_path: Path) -> None:
    """Names with a path in them, and parts of another run, are passed over."""
    target, cache = tmp_path / "t", tmp_path / "c"
    target.mkdir()
    journal = PartJournal.open(target, KEY, cache)
    assert journal._path is not None
    other = "01234567" if journal._run != "01234567" else "76543210"
    line = {"name": "../b.bmp", "asset": "a1", "size": SIZE, "digest": "d", "etag": "e"}
    journal._write({**line, "part": f".b.bmp.{journal._run}0000.part"})
    journal._write({**line, "name": "b.bmp", "part": f".b.bmp.{other}0000.part"})
    journal._write({**line, "name": "b.bmp", "part": f"../.b.bmp.{journal._run}0000.part"})
    said = read_parts(journal._path)
    assert said is not None
    assert said.kept == {}
    journal.close()
