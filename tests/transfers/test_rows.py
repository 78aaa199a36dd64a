"""Listings as rows of four kinds, from every form in which a listing comes."""

from __future__ import annotations

import datetime as dt
import io
import json
import sys
from typing import Any

import pytest

import vi
from vi import _samples, rows
from vi.api.types import PaginationParams

METADATA: dict[str, dict[str, Any]] = {
    "0.png": {"camera": "north", "height_m": 1.5, "mixed": "text"},
    "1.png": {"camera": "south", "mixed": 7},
}


@pytest.fixture
def filled(client: vi.Client, dataset: str) -> str:
    files = [(f"{n}.png", _samples.encode(n, ".png", (20 + n, 10))) for n in range(5)]
    client.assets.upload(dataset, files, custom_metadata=METADATA)
    return dataset


def test_rows_have_the_columns_and_the_custom_ones(client: vi.Client, filled: str) -> None:
    found = {row["filename"]: row for row in rows.to_dicts(client.assets.list(filled))}
    assert sorted(found) == [f"{n}.png" for n in range(5)]
    asset = next(a for a in client.assets.list(filled).items if a.filename == "0.png")
    assert tuple(found["4.png"]) == rows.COLUMNS
    row = found["0.png"]
    assert (row["asset_id"], row["width"], row["mime_type"]) == (asset.asset_id, 20, "image/png")
    assert row["hash"] == f"sha256:{asset.metadata.hash.contents}"
    assert isinstance(row["created_at"], dt.datetime)
    assert (row["custom.camera"], row["custom.height_m"]) == ("north", 1.5)


def test_pages_are_followed_and_a_page_alone_is_not(client: vi.Client, filled: str) -> None:
    listing = client.assets.list(filled, PaginationParams(page_size=2))
    assert len(list(rows.to_dicts(listing))) == 5
    assert len(list(rows.to_dicts(listing.items))) == 2


@pytest.mark.anyio
async def test_an_async_listing_is_collected_first(service: Any, client: vi.Client, dataset: str) -> None:
    async with service.async_client() as one:
        await one.assets.upload(dataset, ("a.png", _samples.encode(1, ".png", (9, 9))), show_progress=False)
        listing = one.assets.list(dataset)
        with pytest.raises(vi.ViInvalidParameterError, match="Listing"):
            next(rows.to_dicts(listing))
        assert len(list(rows.to_dicts(await listing))) == 1
        assert len(list(rows.to_dicts([asset async for asset in listing.all_items()]))) == 1


def test_json_lines(client: vi.Client, filled: str) -> None:
    out = io.StringIO()
    assert rows.write_json_lines(client.assets.list(filled), out) == 5
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {row["filename"] for row in found} == {f"{n}.png" for n in range(5)}
    assert dt.datetime.fromisoformat(found[0]["created_at"]).tzinfo is not None


def test_a_frame(client: vi.Client, filled: str, dataset: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = rows.to_pandas(client.assets.list(filled)).set_index("filename")
    assert frame.loc["0.png", "custom.camera"] == "north"
    assert pandas.isna(frame.loc["4.png", "custom.camera"])
    assert frame["width"].sum() == sum(range(20, 25))
    assert str(frame["created_at"].dtype).endswith("UTC]")
    empty = rows.to_pandas([])
    assert list(empty.columns) == list(rows.COLUMNS)


def test_a_table(client: vi.Client, filled: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = rows.to_arrow(client.assets.list(filled)).sort_by("filename")
    assert table.column_names == [*rows.COLUMNS, "custom.camera", "custom.height_m", "custom.mixed"]
    assert table["custom.height_m"].to_pylist() == [1.5, None, None, None, None]
    assert table["custom.mixed"].to_pylist()[:3] == ["text", "7", None]
    assert rows.to_arrow([]).schema == table.select(rows.COLUMNS).schema
    assert pyarrow.types.is_timestamp(table.schema.field("created_at").type)


@pytest.mark.parametrize(("library", "call"), [("pandas", rows.to_pandas), ("pyarrow", rows.to_arrow)])
def test_a_missing_library_is_named(library: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(vi.ViConfigurationError, match=library) as caught:
        call([])
    assert "vi-async-sdk[pandas]" in str(caught.value)
