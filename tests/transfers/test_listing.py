"""Listings: pages of any size, tokens kept for later, orders and filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vi
from vi.api.resources.datasets.assets.types import AssetSortCriterion, SortCriterion, SortOrder
from vi.api.types import PaginationParams

COUNT = 23
LARGE = 1003


@pytest.fixture(scope="module")
def shelf(shared_service: Any, tmp_path_factory: pytest.TempPathFactory, png: Any) -> str:
    """A dataset of 23 assets, of names and sizes whose orders differ; only to be read."""
    folder = tmp_path_factory.mktemp("shelf")
    for number in range(COUNT):
        (folder / f"{number * 7 % COUNT:02d}.png").write_bytes(png(number, side=8 + number % 5))
    with shared_service.client() as client:
        dataset = client.datasets.create(name="shelf").dataset_id
        client.assets.upload(dataset, folder, custom_metadata=lambda path: {"even": int(path.stem) % 2 == 0})
    return str(dataset)


@pytest.fixture(scope="module")
def warehouse(shared_service: Any, tmp_path_factory: pytest.TempPathFactory, png: Any) -> Iterator[str]:
    """A dataset of more assets than a page can hold; only to be read."""
    folder = tmp_path_factory.mktemp("warehouse")
    for number in range(LARGE):
        (folder / f"{number:04d}.png").write_bytes(png(number))
    with shared_service.client() as client:
        dataset = client.datasets.create(name="warehouse").dataset_id
        client.assets.upload(dataset, folder)
        yield dataset
        client.datasets.delete(dataset)


def test_the_first_page_is_small_by_default(client: vi.Client, service: Any, shelf: str) -> None:
    page = client.assets.list(shelf)
    assert (len(page), len(page.items)) == (10, 10)
    assert page.next_page is not None
    assert page.prev_page is None
    assert page[0] is page.items[0]
    assert [seen.query for seen in service.requests()] == [{"s": "10"}]


@pytest.mark.parametrize("size", [1, 2, 7, 22, 23, 24, 1000])
def test_pages_of_any_size_hold_every_asset_once(client: vi.Client, service: Any, shelf: str, size: int) -> None:
    pages = list(client.assets.list(shelf, PaginationParams(page_size=size)))
    assert [len(page) for page in pages] == [size] * (COUNT // size) + ([COUNT % size] if COUNT % size else [])
    names = [asset.filename for page in pages for asset in page.items]
    assert sorted(names) == [f"{n:02d}.png" for n in range(COUNT)]
    assert len(service.requests()) == len(pages)


@pytest.mark.anyio
async def test_the_async_listing_is_awaited_for_a_page_and_iterated_for_all(service: Any, shelf: str) -> None:
    async with service.async_client() as client:
        listing = client.assets.list(shelf, PaginationParams(page_size=9))
        assert service.requests() == []
        assert len(await listing) == 9
        assert [len(page) async for page in listing] == [9, 9, 5]
        assert len({asset.asset_id async for asset in listing.all_items()}) == COUNT


def test_iterating_without_a_size_takes_pages_of_a_thousand(client: vi.Client, service: Any, warehouse: str) -> None:
    pages = [len(page) for page in client.assets.list(warehouse)]
    assert pages == [1000, LARGE - 1000]
    assert [seen.query["s"] for seen in service.requests()] == ["10", "1000", "1000"]
    service.forget()
    assert len({asset.asset_id for asset in client.assets.list(warehouse).all_items()}) == LARGE
    assert client.assets.count(warehouse) == LARGE


def test_more_than_a_page_is_downloaded(client: vi.Client, warehouse: str, tmp_path: Path) -> None:
    assert client.assets.download(warehouse, tmp_path / "out").total_downloaded == LARGE
    assert len(list((tmp_path / "out").iterdir())) == LARGE


def test_a_short_dataset_is_iterated_with_one_request(client: vi.Client, service: Any, shelf: str) -> None:
    listing = client.assets.list(shelf, filter_criteria={"filename": "03.png"})
    assert [len(page) for page in listing] == [1]
    assert len(service.requests()) == 1


def test_a_token_is_kept_and_resumed_by_another_client(service: Any, client: vi.Client, shelf: str) -> None:
    whole = [asset.filename for asset in client.assets.list(shelf, PaginationParams(5)).all_items()]
    pages = iter(client.assets.list(shelf, PaginationParams(5)))
    first, second = next(pages), next(pages)
    with service.client() as other:
        rest = list(other.assets.list(shelf, PaginationParams(5, second.next_page)).all_items())
        back = other.assets.list(shelf, PaginationParams(5, second.prev_page))
    assert [asset.filename for asset in [*first.items, *second.items, *rest]] == whole
    assert back.items == first.items


def test_a_token_of_another_listing_is_refused(client: vi.Client, shelf: str, dataset: str) -> None:
    token = client.assets.list(shelf, PaginationParams(5)).next_page
    for listing in (
        lambda: client.assets.list(dataset, PaginationParams(5, token)),
        lambda: client.assets.list(shelf, PaginationParams(5, token), sort_by=AssetSortCriterion("filename")),
        lambda: client.assets.list(shelf, PaginationParams(5, "nonsense")),
    ):
        with pytest.raises(vi.ViValidationError, match="page token") as raised:
            listing()
        assert raised.value.status_code == 400


def size_of(asset: Any) -> tuple[int, str]:
    return asset.metadata.file_size, asset.asset_id


@pytest.mark.parametrize("order", [SortOrder.ASC, SortOrder.DESC, "asc", "DESC"])
@pytest.mark.parametrize(
    ("criterion", "key"),
    [
        (SortCriterion.FILENAME, lambda asset: asset.filename),
        (SortCriterion.ASSET_ID, lambda asset: asset.asset_id),
        (SortCriterion.METADATA_FILE_SIZE, size_of),
        ("metadata.fileSize", size_of),
        ("METADATA_FILE_SIZE", size_of),
        (
            SortCriterion.LAST_MODIFIED_CONTENTS,
            lambda asset: (asset.metadata.contents_last_updated, asset.asset_id),
        ),
    ],
    ids=["filename", "id", "size", "value", "member name", "modified"],
)
def test_a_listing_is_sorted_across_its_pages(
    client: vi.Client, shelf: str, criterion: Any, key: Any, order: Any
) -> None:
    sort = AssetSortCriterion(criterion=criterion, order=order)
    assets = list(client.assets.list(shelf, PaginationParams(page_size=4), sort_by=sort).all_items())
    assert len(assets) == COUNT
    assert assets == sorted(assets, key=key, reverse=sort.order is SortOrder.DESC)


def test_the_default_order_can_be_turned_round(client: vi.Client, shelf: str) -> None:
    plain = [asset.asset_id for asset in client.assets.list(shelf).all_items()]
    sort = AssetSortCriterion(order=SortOrder.DESC)
    assert [asset.asset_id for asset in client.assets.list(shelf, sort_by=sort).all_items()] == plain[::-1]


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        ({"filter_criteria": {"kind": "Image", "metadata.width": 8}}, 5),
        ({"filter_criteria": '{"width": 8}'}, 5),
        ({"filter_criteria": {"kind": "Video"}}, 0),
        ({"metadata_query": "even == true"}, 12),
        ({"metadata_query": "even:false", "filter_criteria": {"width": 8}}, None),
    ],
    ids=["dictionary", "text", "none", "query", "both"],
)
def test_filters_hold_on_every_page_and_for_counts(
    client: vi.Client, shelf: str, selection: dict[str, Any], count: int | None
) -> None:
    found = list(client.assets.list(shelf, PaginationParams(page_size=2), **selection).all_items())
    assert len(found) == len({asset.asset_id for asset in found}) == client.assets.count(shelf, **selection)
    if count is not None:
        assert len(found) == count
    else:
        assert found
        assert all(not a.metadata.custom_metadata["even"] and a.metadata.width == 8 for a in found)


def test_urls_come_only_when_they_are_asked_for(client: vi.Client, shelf: str) -> None:
    assert all(asset.contents is None for asset in client.assets.list(shelf).items)
    for asset in client.assets.list(shelf, contents=True).items:
        assert asset.contents is not None
        assert asset.contents.asset is not None
        assert asset.contents.asset.url.startswith("http")
        assert asset.contents.asset.expires_at is not None
    one = client.assets.get(shelf, client.assets.list(shelf).items[0].asset_id, contents=True)
    assert one.contents is not None


@pytest.mark.parametrize(
    "arguments",
    [{"sort_by": "filename"}, {"sort_by": {"criterion": "filename"}}, {"pagination": {"page_size": 5}}],
    ids=str,
)
def test_arguments_of_another_kind_are_refused_before_a_request(
    client: vi.Client, service: Any, shelf: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(vi.ViInvalidParameterError) as raised:
        client.assets.list(shelf, **arguments)
    assert raised.value.parameter in arguments
    assert service.requests() == []


@pytest.mark.parametrize(("criterion", "order"), [("size", "asc"), ("filename", "up"), (5, "asc"), ("filename", None)])
def test_an_unknown_order_names_the_choices(criterion: Any, order: Any) -> None:
    with pytest.raises(vi.ViInvalidParameterError, match="must be one of"):
        AssetSortCriterion(criterion, order)
