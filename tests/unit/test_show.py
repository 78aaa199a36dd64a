"""Sheets and what draws them: one wording of sizes and counts, and the same facts as text and as HTML."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

import vi
from vi._events import TransferProgress
from vi._show import html, progress, text, units
from vi._show.sheet import LISTED, Sheet, Table
from vi._transfer.record import FileFailure
from vi.api.pagination import BadItem, Page, PaginatedResponse
from vi.api.resources.datasets.assets.plans import PlannedTransfer, TransferPlan
from vi.api.resources.datasets.assets.responses import Asset
from vi.api.resources.datasets.assets.results import AssetDownloadResult, AssetUploadResult
from vi.api.resources.datasets.assets.sync.comparison import VerifyResult
from vi.api.resources.datasets.assets.sync.run import SyncResult, together

COUNTS = st.integers(0, 10**6)
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@pytest.mark.parametrize(
    ("columns", "failed", "shown"),
    [
        (40, 3, " 3 failed, checked 123/1,502"),
        (40, 0, " checked 123/1,502, 73 s"),
        (80, 3, "|bar| 3 failed, checked 123/1,502, sent 1,100/1,502 files, 73 s"),
        (
            120,
            3,
            "|bar| 3 failed, checked 123/1,502, sent 1,100/1,502 files, 15.0 MiB of 20.0 MiB, 219.4 KiB/s, 73 s",
        ),
    ],
)
def test_a_bar_keeps_what_matters_where_there_is_little_room(columns: int, failed: int, shown: str) -> None:
    event = TransferProgress("upload", "sending", 1502, 123, failed, 20 << 20, 15 << 20, 73.0, False, 1100, 70.0, 72.0)
    line = tqdm.format_meter(412, 1000, 73.0, ncols=columns, bar_format=progress.bar_format(event, columns))
    line = re.sub(r"\x1b\[\d+m", "", line)
    assert len(line) <= columns
    assert re.sub(r"\|.{8,}\|", "|bar|", line) == f"upload:  41%{shown}"


@pytest.mark.parametrize(
    ("sent", "checked_at", "told"),
    [
        (2, None, "sent 2/3 files, 1.0 KiB of 3.0 KiB, nothing sent for 40 s, 60 s"),
        (3, None, "checked 0/3, sent 3/3 files, 1.0 KiB of 3.0 KiB, nothing checked for 40 s, 60 s"),
        (3, 58.0, "checked 0/3, sent 3/3 files, 1.0 KiB of 3.0 KiB, 51 B/s, 60 s"),
    ],
)
def test_a_stall_is_told_with_its_time(sent: int, checked_at: float | None, told: str) -> None:
    stage = "sending" if sent < 3 else "settling"
    event = TransferProgress("upload", stage, 3, 0, 0, 3072, 1024, 20.0, False, sent, 20.0, checked_at)
    assert units.progress_line(event, 60.0) == f"upload: {told}"


@given(st.integers(0, 2**52))
def test_a_size_is_right_to_its_last_digit_and_never_1024_of_a_unit(number: int) -> None:
    value, unit = units.size(number).split()
    assert float(value) < 1024 or unit == "TiB"
    assert abs(float(value) * UNITS[unit] - number) <= UNITS[unit] * 0.051


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (64 << 20, "64.0 MiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (5 << 40, "5.0 TiB"),
    ],
)
def test_sizes(number: int, written: str) -> None:
    assert units.size(number) == written


def test_a_size_to_the_byte() -> None:
    assert [units.exact_size(n) for n in (1, 512, 8621)] == ["1 byte", "512 bytes", "8.4 KiB (8,621 bytes)"]


@given(st.lists(st.tuples(COUNTS, st.sampled_from(["uploaded", "unchanged", "failed"])), max_size=4))
def test_counts_leave_out_what_is_not_and_have_the_right_plural(counts: list[tuple[int, str]]) -> None:
    words = units.counted(counts)
    there = [(count, word) for count, word in counts if count]
    assert [int(found.replace(",", "")) for found in re.findall(r"[\d,]*\d", words)] == [count for count, _ in there]
    assert ("file " in words) is bool(there and there[0][0] == 1)
    assert ("files " in words) is bool(there and there[0][0] != 1)


def test_the_most_frequent_reasons_of_skips_come_first() -> None:
    reasons = {f"unsupported (.{letter})": number for number, letter in enumerate("abcdefg", 1)}
    (line,) = units.skipped(reasons)
    assert line.startswith("28 skipped: 7 unsupported (.g), 6 unsupported (.f)")
    assert line.endswith(", 3 for other reasons")
    assert units.skipped({}) == []


FAILURE = FileFailure("a/b.png", "b.png", "ECORRUPT", "It is damaged.")


def reports(one: int, two: int, three: int) -> list[Any]:
    plan = TransferPlan("d", "up", "x", [PlannedTransfer("upload", "n.png", "x/n.png", 5, "new")] * one, two)
    up = AssetUploadResult(one, two, three, failures=[FAILURE] * min(three, 3))
    down = AssetDownloadResult(Path("x"), one, two, three, failures=[FAILURE] * min(three, 3))
    return [
        plan,
        up,
        down,
        AssetUploadResult(plan=plan),
        SyncResult(plan, up, None, three),
        SyncResult(plan, None, down),
        VerifyResult(one, different=["d.png"] * two, only_remote=["r.png"] * three),
    ]


@given(st.integers(0, 80), st.integers(0, 80), st.integers(0, 80))
def test_text_and_html_state_the_same_counts(one: int, two: int, three: int) -> None:
    for report in reports(one, two, three):
        sheet = report._sheet()
        drawn = re.sub(r"<[^>]*>", " ", html.drawn(sheet))
        assert sheet.headline
        assert sheet.headline in unescape(drawn)
        assert report.summary().splitlines()[0] == sheet.headline
        assert text.described(sheet).splitlines()[0] == sheet.headline
        assert units.counted(sheet.counts) in sheet.headline or "skipped" in units.counted(sheet.counts)
        assert not re.search(r"\b0 (file|uploaded|unchanged|failed|kept)", sheet.headline)
        if not isinstance(report, AssetDownloadResult):  # which is its folder
            assert str(report) == sheet.headline


def test_a_sync_says_what_it_did() -> None:
    plan = TransferPlan("d", "up", "x", [PlannedTransfer("upload", f"{n}.png", "", 5, "new") for n in range(10)], 4)
    done = SyncResult(plan, AssetUploadResult(10, bytes_sent=50, seconds=1.0), None, 2)
    assert str(done) == "10 files uploaded, 2 deleted, 4 unchanged in 1.0 s (10 files/s, 50 B/s)"
    assert str(SyncResult(TransferPlan("d", "up", "x", existing=100))) == "Already in sync: 100 files unchanged"
    assert str(SyncResult(TransferPlan("d", "up", "x"))) == "Nothing to do"


def test_what_a_sync_kept_is_named_in_its_data_too() -> None:
    plan = TransferPlan("d", "up", "x", [PlannedTransfer("keep", "zz.png", "x/zz.png", 0, "not an image", code="E")])
    result = SyncResult(plan)
    assert not result.ok
    kept = {"path": "x/zz.png", "filename": "zz.png", "code": "E", "reason": "not an image"}
    assert result.to_dict()["kept"] == [kept]


def test_tables_keep_the_first_rows_and_know_how_many_there_are() -> None:
    table = Table.of(("Name",), range(1000), lambda number: (str(number),), where=".entries")
    assert (len(table.rows), table.total) == (LISTED, 1000)
    for shown in (text.described(Sheet("x", table=table)), html.drawn(Sheet("x", table=table))):
        assert "and 940 more, in .entries" in shown


def asset(name: str) -> Asset:
    return Asset("id", "dataset", filename=name)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (Page([]), "<Page: 0 items>"),
        (Page([asset("a.png")]), "<Page: 1 asset 'a.png'>"),
        (Page([asset("a.png"), asset("b.png")], "token"), "<Page: 2 assets 'a.png' ... more pages follow>"),
        (Page([asset("a.png")], "token"), "<Page: 1 asset 'a.png', more pages follow>"),
        (
            Page([asset("a\n.png"), asset("b")], None, None, [BadItem(2, "x")]),
            "<Page: 2 assets 'a\\n.png' ..., 1 unreadable>",
        ),
        (PaginatedResponse(["x"]), "<PaginatedResponse: 1 item>"),
    ],
)
def test_the_repr_of_a_page_is_one_line(page: Page[Any], expected: str) -> None:
    assert repr(page) == expected


def test_the_repr_of_a_resource_says_whose_it_is() -> None:
    with vi.Client("dtvi_" + "k" * 98, "org", "http://127.0.0.1:1") as client:
        assert repr(client.assets) == "<Assets of 'org' at http://127.0.0.1:1>"
        assert repr(client._client.datasets) == "<AsyncDatasets of 'org' at http://127.0.0.1:1>"


@pytest.mark.parametrize(
    ("columns", "heads"),
    [(None, "ID NAME TYPE CREATED"), (120, "ID NAME TYPE CREATED"), (72, "ID NAME TYPE …"), (40, "ID NAME …")],
)
def test_a_narrow_table_leaves_out_columns_before_it_cuts_what_can_be_read(columns: int | None, heads: str) -> None:
    rows = [
        ["ID", "NAME", "TYPE", "CREATED"],
        ["0" * 23, "street signs", "phrase-grounding", "2026-11-29 05:43:19"],
    ]
    head, line = text.aligned(rows, left={0, 1, 2, 3}, columns=columns)
    assert head.split() == heads.split()
    assert "street signs" in line
    assert columns is None or max(len(head), len(line)) <= columns


@given(st.lists(st.text("abc.日é", min_size=1, max_size=9), min_size=1), st.integers(12, 60), st.integers(0, 4))
def test_a_long_line_is_broken_between_words_and_nothing_is_lost(words: list[str], columns: int, indent: int) -> None:
    lines = text.wrapped(" " * indent + " ".join(words), columns)
    assert " ".join(lines).split() == words
    assert all(text._width(line) <= columns or len(line.split()) == 1 for line in lines)
    assert all(line.startswith(" " * (indent + 2)) for line in lines[1:])


def test_a_long_value_continues_below_itself_or_where_it_has_room() -> None:
    rows = [("name", "north camera of the old harbour"), ("organization", "c64a1234-f5dd-4230-bddd-de80e63c78f8")]
    assert list(text.named(rows, 40)) == [
        "name          north camera of the old",
        "              harbour",
        "organization",
        "  c64a1234-f5dd-4230-bddd-de80e63c78f8",
    ]
    assert [line.split(maxsplit=1) for line in text.named(rows, None)] == [list(row) for row in rows]


@pytest.mark.parametrize(("done", "moved", "part"), [(4, 0, 1.0), (2, 0, 0.25), (4, 90, 1.0), (0, 50, 0.25)])
def test_a_bar_is_full_once_every_file_is_settled(done: int, moved: int, part: float) -> None:
    """Files that are there already move none of the bytes."""
    progress = TransferProgress("download", "sending", 4, done, 0, 100, moved, 1.0, done == 4, done)
    assert units.portion(progress) == part


@pytest.mark.parametrize("kind", [AssetUploadResult, lambda **given: AssetDownloadResult(Path("x"), **given)])
def test_two_results_are_one_with_nothing_left_out(kind: Any) -> None:
    kept = {"save_dir", "plan", "run", "address"}
    values = {"int": 2, "float": 0.5, "dict[str, int]": {"a": 1}, "dict[str, str]": {"a": "b"}}
    names = {one.name: values.get(str(one.type), ["x"]) for one in attrs.fields(type(kind())) if one.name not in kept}
    whole = together(kind(**names), kind(**(names | {"notes": ["x", "y"]})))
    for name, value in names.items():
        once = {"notes": ["x", "y"], "renamed": {"a": "b"}, "skip_reasons": {"a": 2}}
        assert getattr(whole, name) == once.get(name, None if isinstance(value, dict) else value + value), name
