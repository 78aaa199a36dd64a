"""Metadata of assets that are there is changed without their bytes, where the service can do that."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import vi
from tests.support import engines
from vi import _samples

FIRST: dict[str, Any] = {"lot": 1, "camera": "north", "night": False}


@pytest.fixture
def filled(client: vi.Client, dataset: str, service: Any) -> str:
    files = [(f"{n}.png", _samples.encode(n, ".png", (9, 9))) for n in range(3)]
    client.assets.upload(dataset, files, custom_metadata=FIRST, show_progress=False)
    service.forget()
    return dataset


def stored(client: vi.Client, dataset: str) -> dict[str, dict[str, Any]]:
    return {one.filename: dict(one.metadata.custom_metadata) for one in client.assets.list(dataset).all_items()}


def test_keys_are_set_and_others_stay(client: vi.Client, filled: str, service: Any, tmp_path: Path) -> None:
    before = {one.filename: one for one in client.assets.list(filled).items}
    path = tmp_path / "labels.csv"
    path.write_text("filename,lot,camera,height\n0.png,2,,1.5\n1.png,1,north,\n")
    result = client.assets.set_metadata(filled, path)
    assert (result.total_changed, result.total_unchanged, result.unmatched) == (1, 1, [])
    assert stored(client, filled) == {"0.png": {**FIRST, "lot": 2, "height": 1.5}, "1.png": FIRST, "2.png": FIRST}
    after = {one.filename: one for one in client.assets.list(filled).items}
    assert after["0.png"].etag != before["0.png"].etag
    assert after["1.png"].etag == before["1.png"].etag
    assert after["0.png"].asset_id == before["0.png"].asset_id
    assert service.requests("PUT") == []


def test_a_value_of_another_type_is_a_change(client: vi.Client, filled: str) -> None:
    result = client.assets.set_metadata(filled, {"0.png": {"lot": True}, "1.png": {"lot": 1.0}, "2.png": {"lot": 1}})
    assert (result.total_changed, result.total_unchanged) == (2, 1)
    assert [repr(stored(client, filled)[f"{n}.png"]["lot"]) for n in range(3)] == ["True", "1.0", "1"]


def test_keys_are_removed_when_asked(client: vi.Client, filled: str) -> None:
    result = client.assets.set_metadata(filled, {"0.png": {}, "1.png": {"lot": 5}}, remove=["lot", "none"])
    assert result.total_changed == 2
    rest = {"camera": "north", "night": False}
    assert stored(client, filled) == {"0.png": rest, "1.png": {**rest, "lot": 5}, "2.png": FIRST}
    with pytest.raises(vi.ViInvalidParameterError, match="remove must be a list"):
        client.assets.set_metadata(filled, {"0.png": {}}, remove="lot")


def test_nothing_is_changed_if_a_name_is_not_there(client: vi.Client, filled: str) -> None:
    table = {"0.png": {"lot": 9}, "none.png": {"lot": 9}}
    with pytest.raises(vi.ViInvalidParameterError, match=r"table names .* \(1\): 'none\.png'"):
        client.assets.set_metadata(filled, table)
    assert stored(client, filled)["0.png"] == FIRST
    result = client.assets.set_metadata(filled, table, on_unmatched="ignore")
    assert (result.total_changed, result.unmatched) == (1, ["none.png"])
    assert stored(client, filled)["0.png"]["lot"] == 9


def test_a_dry_run_changes_nothing(client: vi.Client, filled: str) -> None:
    result = client.assets.set_metadata(filled, {"0.png": {"lot": 9}, "1.png": {"lot": 1}}, dry_run=True)
    assert (result.dry_run, result.total_changed, result.total_unchanged) == (True, 1, 1)
    assert str(result) == "Dry run: 1 file to change, 1 unchanged"
    assert all(found == FIRST for found in stored(client, filled).values())


@pytest.mark.parametrize(
    "table", [5, {"lot": 1}, {"0.png": {"lot": []}}, lambda path: {}, "none.csv"],
    ids=["number", "flat", "list", "function", "file"],
)  # fmt: skip
def test_what_is_not_a_table_is_refused_before_a_request(
    client: vi.Client, service: Any, filled: str, table: Any
) -> None:
    with pytest.raises(vi.ViValidationError):
        client.assets.set_metadata(filled, table)
    assert service.requests() == []


def test_an_unknown_dataset_is_not_found(client: vi.Client) -> None:
    with pytest.raises(vi.ViNotFoundError):
        client.assets.set_metadata("none", {"0.png": {}})


@pytest.mark.anyio
async def test_a_service_without_it_says_how_to_do_it(service: Any, filled: str, monkeypatch: Any) -> None:
    from vi.server import middleware

    monkeypatch.setattr(middleware, "ADDITIONS", "X-Other")
    async with service.async_client() as client:
        with pytest.raises(vi.ViOperationError, match="cannot change metadata alone") as raised:
            await client.assets.set_metadata(filled, {"0.png": {"lot": 9}})
    assert "KeepLinkedResource" in str(raised.value)
    assert service.requests("POST") == []


def test_ten_thousand_are_changed_in_few_requests_without_a_byte_of_an_image(
    client: vi.Client, service: Any, filled: str, tmp_path: Path
) -> None:
    columns = "filename, id, dataset_seq, kind, mime, status, source, size, crc32c, sha256, blob, has_thumbnail, width, height, frames, custom_metadata, annotation_tags, annotation_total, created, updated, contents_updated, generation"
    statement = sa.text(
        f"with recursive n(i) as (select 3 union all select i + 1 from n where i < 9999) "
        f"insert into asset ({columns}) select i || '.png', id || 'x' || i, {columns.partition('id, ')[2]} "
        "from asset, n where filename = '0.png' and dataset_seq = (select seq from dataset where id = :dataset)"
    )
    with engines.open_rows(service.data).begin() as rows:
        rows.execute(statement, {"dataset": filled.rpartition("_")[2]})
    rng = random.Random(3)
    kinds = (lambda: None, lambda: rng.random() < 0.5, lambda: rng.random(), lambda: rng.randrange(2**63, 2**64))
    expected: dict[str, dict[str, Any]] = {}
    with (tmp_path / "labels.csv").open("w") as file:
        file.write("filename,a,b\n")
        for number in range(10_000):
            values = {key: rng.choice(kinds)() for key in "ab"}
            file.write(f"{number}.png,{','.join('' if one is None else str(one) for one in values.values())}\n")
            expected[f"{number}.png"] = FIRST | {key: value for key, value in values.items() if value is not None}
    with service.client() as fresh:
        result = fresh.assets.set_metadata(filled, tmp_path / "labels.csv")
    assert result.total_changed + result.total_unchanged == 10_000
    assert len(service.requests()) <= 10
    assert service.requests(storage=True) == []
    found = stored(client, filled)
    assert json.dumps(found, sort_keys=True) == json.dumps(expected, sort_keys=True)


def test_a_lost_answer_is_asked_for_again(client: vi.Client, service: Any, filled: str) -> None:
    with service.cut("POST", "assets:setMetadata", until=lambda: True):
        result = client.assets.set_metadata(filled, {"0.png": {"lot": 9}}, on_unmatched="ignore")
    assert result.total_changed + result.total_unchanged == 1
    assert stored(client, filled)["0.png"]["lot"] == 9
