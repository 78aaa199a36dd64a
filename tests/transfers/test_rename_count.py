"""Renaming assets and counting them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vi


@pytest.fixture
def ids(client: vi.Client, service: Any, dataset: str, folder: Any) -> dict[str, str]:
    """The ids, by name, of three assets."""
    client.assets.upload(dataset, folder(names=["a.png", "b c#1%.png", "d/e.png"]), names="relative")
    found = {asset.filename: asset.asset_id for asset in client.assets.list(dataset).all_items()}
    service.forget()
    return found


@pytest.mark.parametrize("old", ["a.png", "b c#1%.png", "d/e.png"])
@pytest.mark.parametrize("by", ["id", "name"])
@pytest.mark.parametrize("new", ["new.png", "neu & schön?.png", "🚦/1.png"])
def test_an_asset_is_renamed(
    client: vi.Client, dataset: str, ids: dict[str, str], tmp_path: Path, old: str, by: str, new: str
) -> None:
    chosen = {"asset_id": ids[old]} if by == "id" else {"filename": old}
    asset = client.assets.rename(dataset, new, **chosen)
    assert (asset.asset_id, asset.filename) == (ids[old], new)
    assert {a.filename for a in client.assets.list(dataset).all_items()} == ids.keys() - {old} | {new}
    assert client.assets.download(dataset, tmp_path / "out", asset_ids=[ids[old]]).total_downloaded == 1


def test_a_name_that_is_taken_is_a_conflict_and_its_own_is_not(
    client: vi.Client, dataset: str, ids: dict[str, str]
) -> None:
    with pytest.raises(vi.ViConflictError, match=r"a\.png") as raised:
        client.assets.rename(dataset, "a.png", filename="d/e.png")
    assert raised.value.status_code == 409
    assert client.assets.rename(dataset, "a.png", asset_id=ids["a.png"]).filename == "a.png"


def test_an_unknown_asset_is_not_found(client: vi.Client, dataset: str, ids: dict[str, str]) -> None:
    for chosen in ({"asset_id": "nowhere"}, {"filename": "nowhere.png"}):
        with pytest.raises(vi.ViNotFoundError, match="nowhere"):
            client.assets.rename(dataset, "new.png", **chosen)


@pytest.mark.parametrize(
    "arguments",
    [
        {"new_name": "", "asset_id": "a"},
        {"new_name": None, "asset_id": "a"},
        {"new_name": "new.png"},
        {"new_name": "new.png", "asset_id": "a", "filename": "b"},
        {"new_name": "new.png", "asset_id": ""},
        {"new_name": "new.png", "filename": ""},
        {"new_name": "new.png", "asset_id": "../a"},
        {"new_name": "\udcff.png", "asset_id": "a"},
        {"new_name": "new.png", "filename": "\udcff.png"},
    ],
    ids=ascii,
)
def test_a_rename_that_cannot_be_meant_is_refused_before_a_request(
    client: vi.Client, service: Any, dataset: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(vi.ViInvalidParameterError):
        client.assets.rename(dataset, **arguments)
    assert service.requests() == []


def test_counts_follow_what_is_stored_and_filtered(client: vi.Client, dataset: str, ids: dict[str, str]) -> None:
    assert client.assets.count(dataset) == 3
    assert client.assets.count(dataset, filter_criteria={"filename": "a.png"}) == 1
    assert client.assets.count(dataset, filter_criteria={"kind": "Video"}) == 0
    client.assets.delete(dataset, ids["a.png"])
    assert client.assets.count(dataset) == 2
