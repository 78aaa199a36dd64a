"""New metadata of files that the dataset has already: updated, or counted, and never dropped without a word."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import vi
from vi import _samples
from vi.testing import TestedService

OLD: dict[str, Any] = {"lot": 1, "camera": "north"}


@pytest.fixture
def tested(tmp_path: Path) -> Any:
    service = TestedService.start(tmp_path / "data")
    yield service
    service.stop()


@pytest.fixture
def one(tested: Any) -> Any:
    with tested.client() as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(_samples.encode(number, ".png", (9, 9)))
    return folder


@pytest.fixture
def filled(one: vi.Client, folder: Path) -> str:
    dataset = one.datasets.create(name="metadata").dataset_id
    one.assets.upload(dataset, folder, custom_metadata=OLD, show_progress=False)
    return dataset


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service does not say that it can set metadata."""
    from vi.server import middleware

    monkeypatch.setattr(middleware, "ADDITIONS", "X-Other")


def stored(client: vi.Client, dataset: str) -> dict[str, dict[str, Any]]:
    return {a.filename: dict(a.metadata.custom_metadata) for a in client.assets.list(dataset).all_items()}


def test_an_upload_that_skips_updates_the_metadata(one: vi.Client, filled: str, folder: Path) -> None:
    new = {"0.png": {"lot": 2}, "1.png": {"lot": 1}}
    result = one.assets.upload(filled, folder, skip_existing=True, custom_metadata=new, show_progress=False)
    assert (result.total_existing, result.metadata_updated, result.metadata_differs) == (3, 1, 0)
    assert result.bytes_sent == 0
    assert "1 with new metadata" in str(result._sheet().notes)
    assert stored(one, filled) == {"0.png": {**OLD, "lot": 2}, "1.png": OLD, "2.png": OLD}
    again = one.assets.upload(filled, folder, skip_existing=True, custom_metadata=new, show_progress=False)
    assert (again.metadata_updated, again.metadata_differs) == (0, 0)


@pytest.mark.usefixtures("without")
def test_where_the_service_cannot_the_files_are_counted(one: vi.Client, filled: str, folder: Path) -> None:
    result = one.assets.upload(filled, folder, skip_existing=True, custom_metadata={"lot": 2}, show_progress=False)
    assert (result.total_existing, result.metadata_updated, result.metadata_differs) == (3, 0, 3)
    assert result.to_dict()["metadata_differs"] == 3
    assert "3 unchanged with other metadata: upload without skip_existing" in str(result._sheet().notes)
    synced = one.assets.sync(filled, folder, custom_metadata={"lot": 2}, show_progress=False)
    assert (synced.metadata_updated, synced.metadata_differs, synced.ok) == (0, 3, False)
    assert synced.to_dict()["metadata_differs"] == 3
    assert "upload without skip_existing" in str(synced._sheet().notes)
    assert set(map(str, stored(one, filled).values())) == {str(OLD)}
    (folder / "0.png").unlink()
    assert one.assets.sync(filled, folder, delete=True, custom_metadata={"lot": 2}, show_progress=False).deleted == 1


def test_sync_sets_metadata_of_new_changed_and_same_files(
    one: vi.Client, filled: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "1.png").write_bytes(_samples.encode(11, ".png", (9, 9)))
    (folder / "3.png").write_bytes(_samples.encode(3, ".png", (9, 9)))
    (tmp_path / "labels.csv").write_text("filename,lot\n0.png,5\n1.png,6\n2.png,1\n3.png,8\n")
    how: dict[str, Any] = {"custom_metadata": tmp_path / "labels.csv", "show_progress": False}
    plan = one.assets.sync(filled, folder, dry_run=True, **how).plan
    assert {(entry.action, entry.filename) for entry in plan} == {
        ("set_metadata", "0.png"), ("upload", "1.png"), ("upload", "3.png"),
    }  # fmt: skip
    assert (plan.existing, str(plan)) == (1, plan._sheet().headline)
    assert "1 to get new metadata" in str(plan)
    result = one.assets.sync(filled, folder, **how)
    assert result.ok
    assert (result.metadata_updated, result.upload is not None and result.upload.total_succeeded) == (1, 2)
    expected = {"0.png": {**OLD, "lot": 5}, "1.png": {"lot": 6}, "2.png": OLD, "3.png": {"lot": 8}}
    assert stored(one, filled) == expected
    assert len(one.assets.sync(filled, folder, **how).plan) == 0


def test_a_saved_plan_holds_the_metadata(one: vi.Client, filled: str, folder: Path, tmp_path: Path) -> None:
    (folder / "3.png").write_bytes(_samples.encode(3, ".png", (9, 9)))
    given = {f"{number}.png": {"lot": number, "night": True} for number in range(4)}
    plan = one.assets.upload(filled, folder, skip_existing=True, custom_metadata=given, dry_run=True).plan
    assert plan is not None
    plan.save(tmp_path / "p.jsonl")
    for index in range(2):
        shard = vi.TransferPlan.load(tmp_path / "p.jsonl").shard(index, 2)
        assert one.assets.apply(shard, show_progress=False).ok
    expected = {f"{n}.png": {**(OLD if n < 3 else {}), "lot": n, "night": True} for n in range(4)}
    assert stored(one, filled) == expected
    text = (tmp_path / "p.jsonl").read_text()
    for bad in ('{"lot": []}', '{"lot": NaN}', "5"):
        (tmp_path / "bad.jsonl").write_text(re.sub(r'("custom_metadata": )\{[^}]*\}', rf"\g<1>{bad}", text))
        with pytest.raises(vi.ViInvalidParameterError, match=r"Line \d of .*bad\.jsonl"):
            vi.TransferPlan.load(tmp_path / "bad.jsonl")


def test_metadata_of_files_that_are_not_there_is_refused(one: vi.Client, filled: str, folder: Path) -> None:
    new = {"0.png": {"lot": 2}, "none.png": {"lot": 2}}
    with pytest.raises(vi.ViInvalidParameterError, match=r"none\.png"):
        one.assets.sync(filled, folder, custom_metadata=new, show_progress=False)
    assert (
        one.assets.sync(
            filled, folder, custom_metadata=new, on_unmatched="ignore", show_progress=False
        ).metadata_updated
        == 1
    )
    with pytest.raises(vi.ViInvalidParameterError, match="direction"):
        one.assets.sync(filled, folder, "down", custom_metadata=new, show_progress=False)


def annotate(service: Any, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data" / "vi.db")) as connection, connection:
        connection.execute("update asset set annotation_total = 3 where filename = '0.png'")
        connection.execute("update dataset set annotation_total = 3, asset_annotated = 1")


def test_a_plan_says_which_annotations_a_replacement_removes(
    one: vi.Client, tested: Any, filled: str, folder: Path, tmp_path: Path
) -> None:
    annotate(tested, tmp_path)
    (folder / "0.png").write_bytes(_samples.encode(10, ".png", (9, 9)))
    plan = one.assets.sync(filled, folder, dry_run=True).plan
    (entry,) = plan
    assert (entry.annotations, entry.reason, plan.annotations) == (3, "contents differ, removes 3 annotations", 3)
    assert "3 annotations would be removed" in str(plan._sheet().notes)
    keep: dict[str, Any] = {"on_asset_overwritten": "KeepLinkedResource"}
    kept = one.assets.sync(filled, folder, dry_run=True, **keep).plan
    assert (kept.annotations, next(iter(kept)).reason) == (0, "contents differ")
    kept.save(tmp_path / "p.jsonl")
    assert one.assets.apply(vi.TransferPlan.load(tmp_path / "p.jsonl"), show_progress=False).ok
    assert one.assets.get(filled, filename="0.png").metadata.annotations.total == 3
    (folder / "0.png").write_bytes(_samples.encode(20, ".png", (9, 9)))
    assert one.assets.sync(filled, folder, show_progress=False, **keep).ok
    assert one.assets.get(filled, filename="0.png").metadata.annotations.total == 3
    (folder / "0.png").write_bytes(_samples.encode(30, ".png", (9, 9)))
    assert one.assets.sync(filled, folder, show_progress=False).ok
    assert one.assets.get(filled, filename="0.png").metadata.annotations.total == 0
