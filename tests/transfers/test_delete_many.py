"""Deleting: one asset, several by id, many by a filter, all."""

from __future__ import annotations

from typing import Any

import pytest

import vi


@pytest.fixture
def ids(client: vi.Client, service: Any, dataset: str, folder: Any) -> dict[str, str]:
    """The ids, by name, of ten assets of which three are for validation."""
    client.assets.upload(
        dataset, folder(10), custom_metadata=lambda path: {"split": "val" if path.stem > "image-006" else "train"}
    )
    found = {asset.filename: asset.asset_id for asset in client.assets.list(dataset).all_items()}
    service.forget()
    return found


def test_one_asset_is_deleted_for_good(client: vi.Client, dataset: str, ids: dict[str, str]) -> None:
    asset_id = ids["image-003.png"]
    deleted = client.assets.delete(dataset, asset_id)
    assert (deleted.id, deleted.asset_id, deleted.deleted) == (asset_id, asset_id, True)
    assert client.assets.count(dataset) == 9
    for call in (client.assets.get, client.assets.delete):
        with pytest.raises(vi.ViNotFoundError, match=asset_id):
            call(dataset, asset_id)


def test_ids_are_deleted_and_unknown_ones_are_named(client: vi.Client, dataset: str, ids: dict[str, str]) -> None:
    wanted = [ids["image-000.png"], "nowhere", ids["image-001.png"], ids["image-000.png"]]
    result = client.assets.delete_many(dataset, wanted)
    assert (result.count, result.deleted, result.missing, result.dry_run) == (2, 2, ["nowhere"], False)
    assert client.assets.count(dataset) == 8


@pytest.mark.parametrize(
    "selection",
    [
        {"metadata_query": 'split == "val"'},
        {"metadata_query": "split:val"},
        {"filter_criteria": {"metadata.customMetadata.split": "val"}},
        {"filter_criteria": '{"metadata.customMetadata.split": "val"}'},
    ],
    ids=["query", "colon", "dictionary", "text"],
)
def test_a_filter_selects_what_is_deleted(
    client: vi.Client, dataset: str, ids: dict[str, str], selection: dict[str, Any]
) -> None:
    rehearsal = client.assets.delete_many(dataset, **selection, dry_run=True)
    assert (rehearsal.count, rehearsal.deleted, rehearsal.dry_run) == (3, 0, True)
    assert client.assets.count(dataset) == 10
    result = client.assets.delete_many(dataset, **selection, timeout=20)
    assert (result.count, result.deleted) == (3, 3)
    assert client.assets.count(dataset) == 7
    assert client.datasets.get(dataset).statistic.asset_total == 7


@pytest.mark.anyio
async def test_the_async_client_does_the_same(service: Any, dataset: str, ids: dict[str, str]) -> None:
    async with service.async_client() as client:
        result = await client.assets.delete_many(dataset, metadata_query='split == "val"')
        assert (result.deleted, await client.assets.count(dataset)) == (3, 7)


def test_everything_is_deleted_only_when_it_is_said(client: vi.Client, dataset: str, ids: dict[str, str]) -> None:
    result = client.assets.delete_many(dataset, all=True)
    assert (result.deleted, client.assets.count(dataset)) == (10, 0)
    assert client.assets.delete_many(dataset, all=True).deleted == 0


def test_no_id_deletes_nothing(client: vi.Client, service: Any, dataset: str, ids: dict[str, str]) -> None:
    assert client.assets.delete_many(dataset, []).deleted == 0
    assert service.requests() == []


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"filter_criteria": {}},
        {"filter_criteria": "", "metadata_query": ""},
        {"filter_criteria": {"kind": "Image"}, "all": True},
        {"asset_ids": ["a"], "all": True},
        {"asset_ids": ["a"], "metadata_query": "split:val"},
        {"asset_ids": "a1b2"},
        {"asset_ids": [""]},
        {"asset_ids": ["a/b"]},
        {"asset_ids": [5]},
        {"asset_ids": 5},
        {"filter_criteria": 5},
        {"filter_criteria": {"kind": {1, 2}}},
        {"filter_criteria": {"size": float("nan")}},
        {"metadata_query": "   "},
        {"metadata_query": 5},
    ],
    ids=str,
)
def test_an_unclear_selection_deletes_nothing(
    client: vi.Client, service: Any, dataset: str, ids: dict[str, str], arguments: dict[str, Any]
) -> None:
    with pytest.raises(vi.ViInvalidParameterError):
        client.assets.delete_many(dataset, **arguments)
    assert service.requests() == []


def test_a_filter_that_does_not_parse_deletes_nothing(client: vi.Client, dataset: str, ids: dict[str, str]) -> None:
    for arguments in ({"filter_criteria": "{'kind': 'Image'}"}, {"metadata_query": 'split === "val"'}):
        with pytest.raises(vi.ViValidationError) as raised:
            client.assets.delete_many(dataset, **arguments)
        assert raised.value.status_code == 400
    assert client.assets.count(dataset) == 10


def test_a_deletion_that_takes_too_long_times_out_and_continues_at_the_service(
    client: vi.Client, service: Any, dataset: str, ids: dict[str, str]
) -> None:
    with service.hold("POST", "/deleteManyAssetsSessions") as hold:
        with pytest.raises(vi.ViTimeoutError, match=r"within 0\.5 s"):
            client.assets.delete_many(dataset, all=True, timeout=0.5)
        assert hold.reached.is_set()
    assert client.assets.count(dataset) in (0, 10)
