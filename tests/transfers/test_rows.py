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
from vi._optional import requirement
from vi.api.resources.datasets.assets.responses import Asset, AssetMetadata
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
    assert requirement("pandas") in str(caught.value)


def assets_of(values: Any) -> Any:
    """Assets that no service has, each with custom metadata."""
    for number, custom in enumerate(values):
        yield Asset(f"id{number}", "ds", filename=f"{number}.png", metadata=AssetMetadata(custom_metadata=custom))


VALUES: list[dict[str, Any]] = [
    {"lot": 1, "night": True, "id": 2**64 - 1, "hash": 2**64, "height": 1, "mixed": True, "text": "a", "exact": 0.5},
    {},
    {"lot": -(2**63), "night": False, "id": 0, "hash": -1, "height": 0.5, "mixed": 1, "text": "", "exact": 2**53 + 1},
]


def test_custom_columns_have_the_narrowest_type_that_holds_all() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = rows.to_arrow(assets_of(VALUES))
    found = {name.partition(".")[2]: str(table.schema.field(name).type) for name in table.column_names[13:]}
    assert found == {
        "lot": "int64", "night": "bool", "id": "uint64", "hash": "string", "height": "double", "mixed": "string",
        "text": "string", "exact": "string",
    }  # fmt: skip
    assert table["custom.lot"].to_pylist() == [1, None, -(2**63)]
    assert table["custom.id"].to_pylist() == [2**64 - 1, None, 0]
    assert table["custom.hash"].to_pylist() == [str(2**64), None, "-1"]
    assert table["custom.height"].to_pylist() == [1.0, None, 0.5]
    assert table["custom.mixed"].to_pylist() == ["true", None, "1"]
    assert table["custom.exact"].to_pylist() == ["0.5", None, str(2**53 + 1)]
    assert table.schema.field("width").type == pyarrow.int64()


def test_a_frame_keeps_whole_numbers_and_truth_values_with_gaps() -> None:
    pytest.importorskip("pandas")
    frame = rows.to_pandas(assets_of(VALUES))
    types = {name: str(frame[f"custom.{name}"].dtype) for name in ("lot", "night", "id")}
    assert types == {"lot": "Int64", "night": "boolean", "id": "UInt64"}
    assert frame["custom.lot"].tolist()[2] == -(2**63)
    assert rows.to_pandas([]).dtypes.to_dict() == frame[list(rows.COLUMNS)].dtypes.to_dict()


def test_batches_with_given_types_read_the_listing_as_they_are_wanted() -> None:
    pytest.importorskip("pyarrow")
    drawn = 0

    def many() -> Any:
        nonlocal drawn
        for asset in assets_of({"lot": number} for number in range(5_000)):
            drawn += 1
            yield asset

    reader = rows.batches(many(), custom={"lot": int, "camera": str, "height": float, "night": bool})
    assert drawn == 0
    assert reader.schema.names[13:] == ["custom.lot", "custom.camera", "custom.height", "custom.night"]
    assert reader.read_next_batch()["custom.lot"].to_pylist() == list(range(1000))
    assert drawn == 1000
    assert sum(batch.num_rows for batch in reader) == 4000
    assert rows.to_arrow(assets_of([{"lot": 2**64}]), custom={"lot": str})["custom.lot"].to_pylist() == [str(2**64)]
    for value, kind in (("a", int), (2**63, int), (1, bool), (True, int), ("1", float), (2**53 + 1, float)):
        with pytest.raises(vi.ViInvalidParameterError, match=r"'0\.png': 'k' is"):
            rows.to_arrow(assets_of([{"k": value}]), custom={"k": kind})
    with pytest.raises(vi.ViInvalidParameterError, match="custom"):
        rows.batches([], custom={"k": list})  # type: ignore[dict-item]


def test_batches_are_read_by_polars_and_duckdb() -> None:
    pytest.importorskip("pyarrow")
    polars, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    frame = polars.DataFrame(rows.batches(assets_of(VALUES)))
    assert frame["custom.id"].to_list() == [2**64 - 1, None, 0]
    with duckdb.connect() as connection:
        relation = connection.from_arrow(rows.batches(assets_of(VALUES)))
        assert relation.aggregate('count(*), max("custom.id")').fetchall() == [(3, 2**64 - 1)]
