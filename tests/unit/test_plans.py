"""A plan as data: saved and read, cut into shards, and refused when it is not one."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vi.api.resources.datasets.assets.plans import PlannedTransfer, TransferPlan
from vi.errors import ViInvalidParameterError, ViPathError

texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)  # no path holds a NUL
counts = st.integers(0, 1 << 50)
entries = st.builds(
    PlannedTransfer,
    st.sampled_from(["upload", "download", "set_metadata", "delete_asset", "delete_file", "keep"]),
    texts,
    texts,
    counts,
    texts,
    st.none() | texts,
    st.none() | texts,
    st.none() | counts,
    st.none()
    | st.dictionaries(texts, texts | counts | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)),
    st.none() | counts,
)
plans = st.builds(
    TransferPlan,
    texts,
    st.sampled_from(["up", "down"]),
    texts,
    st.lists(entries, max_size=12),
    counts,
    st.dictionaries(texts, counts, max_size=3),
)


@given(plans)
@settings(deadline=None)
def test_what_is_saved_is_read_back(plan: TransferPlan) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "plan.jsonl"
        plan.save(path)
        assert TransferPlan.load(path) == plan
        assert len(path.read_text("utf-8").splitlines()) == 1 + len(plan.entries)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # as an editor of Windows does
        assert TransferPlan.load(path) == plan


@given(plans)
def test_it_is_json_with_its_entries(plan: TransferPlan) -> None:
    document = json.loads(json.dumps(plan.to_dict()))
    figures = [document.pop(name) for name in ("counts", "bytes", "deletions")]
    assert figures == [plan.counts, plan.bytes, plan.deletions]
    assert [PlannedTransfer(**entry) for entry in document.pop("entries")] == plan.entries
    assert TransferPlan(**document, entries=plan.entries) == plan


@given(plans, st.integers(1, 9))
def test_every_entry_but_deletions_is_in_exactly_one_shard(plan: TransferPlan, count: int) -> None:
    shards = [plan.shard(index, count) for index in range(count)]
    moved = [entry for entry in plan if entry.action not in ("delete_asset", "delete_file")]
    assert Counter(entry for shard in shards for entry in shard) == Counter(moved)
    for field in ("bytes", "existing"):
        assert sum(getattr(shard, field) for shard in shards) == getattr(plan, field)
    assert all(bool(shard.notes) is bool(plan.deletions) for shard in shards)
    assert sum((Counter(shard.skipped) for shard in shards), Counter()) == Counter(
        {reason: number for reason, number in plan.skipped.items() if number}
    )
    assert {(shard.dataset_id, shard.direction, shard.folder) for shard in shards} == {
        (plan.dataset_id, plan.direction, plan.folder)
    }


def test_a_name_is_in_the_same_shard_whatever_else_is_planned() -> None:
    """Two machines that plan a moment apart still divide the work the same way."""
    one = [PlannedTransfer("upload", f"{number}.png", "", 1, "new") for number in range(100)]
    alone = [next(iter(TransferPlan("ds1", "up", entries=[entry]).shard(0, 2)), None) for entry in one]
    assert [entry for entry in alone if entry] == list(TransferPlan("ds1", "up", entries=one).shard(0, 2))
    assert 25 < len(TransferPlan("ds1", "up", entries=one).shard(0, 2)) < 75


@pytest.mark.parametrize("wrong", [(1, 1), (-1, 2), (0, 0), (2, 2), (0.0, 2), ("0", 2), (False, 2), (0, True)])
def test_a_shard_that_is_none_is_refused(wrong: tuple[Any, Any]) -> None:
    with pytest.raises(ViInvalidParameterError, match="shard needs 0 <= index < count"):
        TransferPlan("ds1", "up").shard(*wrong)


def saved(tmp_path: Path) -> tuple[Path, list[str]]:
    plan = TransferPlan("ds1", "up", "/data")
    plan.entries += [
        PlannedTransfer("upload", f"{number}.png", f"/data/{number}.png", 10, "new") for number in range(3)
    ]
    plan.save(tmp_path / "plan.jsonl")
    return tmp_path / "plan.jsonl", (tmp_path / "plan.jsonl").read_text().splitlines()


@pytest.mark.parametrize("cut", range(2, 400, 13))
def test_one_that_is_cut_is_refused(tmp_path: Path, cut: int) -> None:
    path, _ = saved(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    with pytest.raises(ViInvalidParameterError, match=r"is not a valid plan entry|is truncated"):
        TransferPlan.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"action": "format_disk"},
        {"size": -1},
        {"size": 1.5},
        {"size": "10"},
        {"size": True},
        {"filename": None},
        {"path": 5},
        {"asset_id": 5},
        {"etag": ["x"]},
        {"mtime_ns": "now"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_line_of_another_shape_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path, lines = saved(tmp_path)
    lines[2] = json.dumps(json.loads(lines[2]) | change)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ViInvalidParameterError, match=r"Line 3 of .*plan\.jsonl is not a valid plan entry"):
        TransferPlan.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"vi-plan": 2},
        {"direction": "sideways"},
        {"dataset_id": 5},
        {"folder": None},
        {"existing": -1},
        {"skipped": ["hidden"]},
        {"skipped": {"hidden": "many"}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_head_of_another_shape_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path, lines = saved(tmp_path)
    lines[0] = json.dumps(json.loads(lines[0]) | change)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ViInvalidParameterError, match="Line 1 of"):
        TransferPlan.load(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"[]\n", b"\xff\xfe", b"[" * 5000 + b"\n", b"null\n"])
def test_what_is_no_plan_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plan.jsonl").write_bytes(content)
    with pytest.raises(ViInvalidParameterError, match="is not a valid plan entry"):
        TransferPlan.load(tmp_path / "plan.jsonl")


def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ViPathError, match="nowhere cannot be read: No such file"):
        TransferPlan.load(tmp_path / "nowhere")


def test_it_prints_what_it_would_do() -> None:
    plan = TransferPlan("ds1", "up", existing=7)
    assert str(plan) == "Already in sync: 7 files unchanged"
    plan.entries += [PlannedTransfer("upload", f"{number}.png", "", 10, "new") for number in range(12)]
    plan.entries.append(PlannedTransfer("delete_asset", "old.png", "", 5, "not in the folder", "a1", "e1"))
    lines = plan.summary().splitlines()
    assert lines[0] == "12 files to upload, 1 to delete, 7 unchanged, 120 B to transfer" == str(plan)
    assert lines[1] == "  upload  0.png  10 B  new"
    assert lines[-1] == "  and 3 more, in .entries"
