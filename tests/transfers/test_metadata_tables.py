"""Custom metadata as a table: files, frames and streams of Arrow, with the type of each value."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vi
from vi.api.resources.datasets.assets.metadata.csv_files import read_cells
from vi.api.resources.datasets.assets.metadata.tables import read_table

CSV = '''\
filename,lot,height,night,id,note,code
image-000.png,41,1.5,true,9223372036854775807,"a, ""b""",007
image-001.png,,,FALSE,18446744073709551615,"42",
image-002.png, -3,1e-05 ,  ,, plain ,""
'''
TYPED: dict[str, dict[str, Any]] = {
    "image-000.png": {
        "lot": 41, "height": 1.5, "night": True, "id": 2**63 - 1, "note": 'a, "b"', "code": "007",
    },
    "image-001.png": {"night": False, "id": 2**64 - 1, "note": "42"},
    "image-002.png": {"lot": -3, "height": 1e-05, "note": " plain ", "code": ""},
}  # fmt: skip


def is_same(found: Any, expected: Any) -> bool:
    """Equal, and of the same types: 1, 1.0 and True are three values."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(is_same(found[key], expected[key]) for key in expected)
    return type(found) is type(expected) and bool(found == expected)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(CSV, encoding="utf-8-sig")
    return path


def stored(client: vi.Client, dataset: str) -> dict[str, dict[str, Any]]:
    return {one.filename: dict(one.metadata.custom_metadata) for one in client.assets.list(dataset).all_items()}


def test_a_csv_file_gives_each_value_its_type(client: vi.Client, dataset: str, folder: Any, table: Path) -> None:
    client.assets.upload(dataset, folder(4), custom_metadata=table)
    assert is_same(stored(client, dataset), {**TYPED, "image-003.png": {}})


def test_ten_thousand_rows_come_back_with_their_types(tmp_path: Path) -> None:
    rng = random.Random(15)
    kinds = (
        lambda: rng.randrange(-(2**63), 2**64), lambda: rng.random() * 10.0 ** rng.randrange(-20, 20),
        lambda: rng.random() < 0.5, lambda: f"text {rng.randrange(100)}, \"quoted\"\nand more", lambda: f" {rng.randrange(9)}th ", lambda: None,
    )  # fmt: skip
    expected: dict[str, dict[str, Any]] = {}
    path = tmp_path / "large.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["filename", *(f"column {n}" for n in range(6))])
        for number in range(10_000):
            values = [rng.choice(kinds)() for _ in range(6)]
            out.writerow([f"{number:05}.png", *values])
            expected[f"{number:05}.png"] = {f"column {n}": value for n, value in enumerate(values) if value is not None}
    assert is_same(read_table(path, "table"), expected)


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=4),
        max_size=5,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([",", "\t"]),
)
def test_every_quoted_cell_of_the_standard_writer_is_read(rows: list[list[str]], end: str, delimiter: str) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=end, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    found = [[cell.text for cell in cells] for _, cells in read_cells(out.getvalue(), delimiter, "x", "table")]
    assert found == rows


@settings(deadline=None)
@given(st.text(st.sampled_from('a1,"\n\r \t;'), max_size=30))
def test_any_text_is_rows_or_an_error_with_its_line(text: str) -> None:
    problem = ""
    try:
        assert all(cells for _, cells in read_cells(text, ",", "x.csv", "table"))
    except vi.ViInvalidParameterError as error:
        problem = str(error)
    assert not problem or "x.csv, line " in problem


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name,lot\na.png,1\n", ["line 1", "'filename'", "'name'"]),
        ("", ["line 1", "'filename'"]),
        ("filename,lot,lot\n", ["line 1", "'lot'"]),
        ("filename,\n", ["line 1"]),
        ("filename,lot\na.png,1\nb.png\n", ["line 3", "1 cells"]),
        ("filename,lot\n\na.png,1\na.png,2\n", ["line 4", "'a.png'", "line 3"]),
        ("filename,lot\n,1\n", ["line 2", "'filename'"]),
        ('filename,lot\na.png,"1\n', ["line 2", "quoted"]),
        ('filename,lot\na.png,"1"2\n', ["line 2", "quoted"]),
        (b"filename,lot\na.png,1\nb.png,\xff\n", ["line 3", "UTF-8"]),
    ],
)
def test_what_is_wrong_in_a_file_is_named(
    client: vi.Client, service: Any, dataset: str, folder: Any, tmp_path: Path, content: str | bytes, words: list[str]
) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(vi.ViInvalidParameterError) as raised:
        client.assets.upload(dataset, folder(1), custom_metadata=str(path))
    assert raised.value.parameter == "custom_metadata"
    assert [word for word in ["labels.csv", *words] if word not in str(raised.value)] == []
    assert service.requests() == []


def test_json_lines_and_json(tmp_path: Path) -> None:
    rows = [{"filename": "a.png", "lot": 1, "id": 2**64, "none": None, "nan": float("nan")}, {"filename": "b.png"}]
    expected = {"a.png": {"lot": 1, "id": 2**64}, "b.png": {}}
    lines = tmp_path / "x.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert is_same(read_table(lines, "table"), expected)
    whole = tmp_path / "x.json"
    whole.write_text(json.dumps(rows))
    assert is_same(read_table(whole, "table"), expected)
    lines.write_text('{"filename": "a.png"}\n{"filename": "b.png", "boxes": [1, 2]}\n')
    with pytest.raises(vi.ViInvalidParameterError, match=r"x\.jsonl, line 2, column 'boxes': \[1, 2\]"):
        read_table(lines, "table")
    lines.write_text('{"filename": "a.png"}\n5\n')
    with pytest.raises(vi.ViInvalidParameterError, match=r"x\.jsonl, line 2"):
        read_table(lines, "table")
    lines.write_text('{"filename": "a.png"}\nnot json\n')
    with pytest.raises(vi.ViInvalidParameterError, match=r"x\.jsonl, line 2: it is not JSON"):
        read_table(lines, "table")


@pytest.mark.parametrize("name", ["labels.xlsx", "labels", "none.csv"])
def test_a_file_that_cannot_be_a_table_is_refused(client: vi.Client, dataset: str, folder: Any, name: str) -> None:
    with pytest.raises(vi.ViError, match=name):
        client.assets.upload(dataset, folder(1), custom_metadata=name)


def test_rows_of_other_files_are_ignored_when_asked(client: vi.Client, dataset: str, folder: Any, table: Path) -> None:
    images = folder(1)
    with pytest.raises(vi.ViInvalidParameterError, match=r"\(2\): 'image-001\.png', 'image-002\.png'"):
        client.assets.upload(dataset, images, custom_metadata=table)
    client.assets.upload(dataset, images, custom_metadata=table, on_unmatched="ignore")
    assert is_same(stored(client, dataset), {"image-000.png": TYPED["image-000.png"]})
    with pytest.raises(vi.ViInvalidParameterError, match="on_unmatched"):
        client.assets.upload(dataset, images, custom_metadata=table, on_unmatched="skip")  # type: ignore[arg-type]


def test_a_table_without_rows_is_metadata_of_no_file(
    client: vi.Client, dataset: str, folder: Any, tmp_path: Path
) -> None:
    (tmp_path / "empty.csv").write_text("filename,lot\n")
    client.assets.upload(dataset, folder(1), custom_metadata=tmp_path / "empty.csv")
    assert stored(client, dataset) == {"image-000.png": {}}


COLUMNS: dict[str, list[Any]] = {
    "filename": list(TYPED),
    "lot": [1, None, 2**63 - 1],
    "height": [0.5, float("nan"), None],
    "night": [True, None, False],
    "camera": ["north", None, ""],
}
OF_COLUMNS: dict[str, dict[str, Any]] = {
    "image-000.png": {"lot": 1, "height": 0.5, "night": True, "camera": "north"},
    "image-001.png": {},
    "image-002.png": {"lot": 2**63 - 1, "night": False, "camera": ""},
}


def test_a_frame_of_pandas(client: vi.Client, dataset: str, folder: Any) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({name: pandas.Series(values, dtype=object) for name, values in COLUMNS.items()})
    frame = frame.astype({"lot": "Int64", "night": "boolean", "height": "float64"})
    frame["mixed"] = [1, "text", pandas.NaT]
    expected = {name: dict(values) for name, values in OF_COLUMNS.items()}
    expected["image-000.png"]["mixed"], expected["image-001.png"]["mixed"] = 1, "text"
    assert is_same(read_table(frame, "table"), expected)
    assert is_same(read_table(frame.set_index("filename"), "table"), expected)
    client.assets.upload(dataset, folder(3), custom_metadata=frame)
    assert is_same(stored(client, dataset), expected)
    frame["taken"] = pandas.Timestamp("2026-01-01")
    with pytest.raises(vi.ViInvalidParameterError, match="row 0, column 'taken'"):
        read_table(frame, "table")


def test_scalars_of_numpy(client: vi.Client, dataset: str, folder: Any) -> None:
    numpy = pytest.importorskip("numpy")
    given = {
        "a": numpy.int64(7), "b": numpy.uint64(2**64 - 1), "c": numpy.float32(0.5), "d": numpy.bool_(True),
        "e": numpy.str_("text"), "f": numpy.float64("nan"), "g": numpy.datetime64("NaT", "s"), "h": numpy.array(3),
    }  # fmt: skip
    client.assets.upload(dataset, folder(1), custom_metadata=given)
    expected = {"a": 7, "b": 2**64 - 1, "c": 0.5, "d": True, "e": "text", "h": 3}
    assert is_same(stored(client, dataset), {"image-000.png": expected})
    for bad in (numpy.array([1, 2]), numpy.datetime64("2026-01-01"), numpy.float64("inf"), numpy.complex64(1)):
        with pytest.raises(vi.ViInvalidParameterError, match="'key'"):
            client.assets.upload(dataset, folder(1), custom_metadata={"key": bad})


def test_a_frame_of_polars() -> None:
    polars = pytest.importorskip("polars")
    assert is_same(read_table(polars.DataFrame(COLUMNS), "table"), OF_COLUMNS)


def test_a_relation_of_duckdb(table: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    relation = duckdb.sql("SELECT 'a.png' AS filename, 1 AS lot, NULL AS camera, true AS night")
    assert is_same(read_table(relation, "table"), {"a.png": {"lot": 1, "night": True}})


def test_tables_and_streams_of_arrow_and_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(COLUMNS)
    assert is_same(read_table(table, "table"), OF_COLUMNS)
    assert is_same(read_table(table.to_reader(max_chunksize=1), "table"), OF_COLUMNS)
    parquet.write_table(table, tmp_path / "x.parquet")
    assert is_same(read_table(tmp_path / "x.parquet", "table"), OF_COLUMNS)
    parquet.write_table(table.append_column("boxes", [[[1], [], [2]]]), tmp_path / "x.parquet")
    with pytest.raises(vi.ViInvalidParameterError, match=r"x\.parquet, row 0, column 'boxes': \[1\]"):
        read_table(tmp_path / "x.parquet", "table")
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(vi.ViInvalidParameterError, match=r"x\.parquet is not Parquet"):
        read_table(tmp_path / "x.parquet", "table")
    with pytest.raises(vi.ViPathError, match=r"none\.parquet"):
        read_table(tmp_path / "none.parquet", "table")
