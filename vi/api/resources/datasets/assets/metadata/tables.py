"""Custom metadata as a table: a file of CSV, JSON lines or Parquet, a frame, or what gives a stream of Arrow.

The column ``filename`` holds the names of assets, each other column one key. Nothing is imported but for what is given.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ......_optional import require
from ......_paths import as_path
from ......_redact import brief
from ......errors import ViInvalidParameterError, ViPathError
from ..types import AssetCustomMetadata
from . import csv_files
from .values import check

FILENAME = "filename"
KINDS = ".csv, .tsv, .jsonl, .ndjson, .json or .parquet"

Row = tuple[str, Mapping[Any, Any]]
"""Where a row stands, for errors, and its values by column."""


@runtime_checkable
class ArrowTable(Protocol):
    """What gives its rows as a stream of Arrow: tables and frames of pyarrow, pandas, polars, duckdb and others."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return the stream (the Arrow PyCapsule interface)."""


Table = str | os.PathLike[str] | ArrowTable
"""The path of a .csv, .tsv, .jsonl, .json or .parquet file, a frame, or what gives a stream of Arrow."""


def is_table(given: object) -> bool:
    """Tell whether *given* is read as a table."""
    return isinstance(given, (str, os.PathLike)) or _is_frame(given) or isinstance(given, ArrowTable)


def read_table(given: Any, parameter: str) -> Mapping[str, Any]:
    """Return the metadata of each filename, checked; of a ``.json`` file with an object, that object. Blocking."""
    if isinstance(given, (str, os.PathLike)):
        path = as_path(given, parameter)
        if path.suffix.lower() == ".json":
            document = _json(path, parameter)
            if isinstance(document, dict):
                return document
            return _by_filename(_listed(document, path, parameter), parameter)
        return _by_filename(_rows_of_file(path, parameter), parameter)
    return _by_filename(_rows_of_frame(given, parameter), parameter)


def _by_filename(rows: Iterator[Row], parameter: str) -> dict[str, AssetCustomMetadata]:
    found: dict[str, AssetCustomMetadata] = {}
    places: dict[str, str] = {}
    for where, row in rows:
        name = row.get(FILENAME)
        if FILENAME not in row:
            columns = ", ".join(brief(column) for column in list(row)[:5])
            raise ViInvalidParameterError(
                f"{where} has no column {FILENAME!r}; it has {columns or 'none'}.", parameter=parameter
            )
        if not isinstance(name, str) or not name:
            raise ViInvalidParameterError(
                f"{where}, column {FILENAME!r}: {brief(name)} is not the name of a file.", parameter=parameter
            )
        if name in found:
            raise ViInvalidParameterError(
                f"{where}, column {FILENAME!r}: {brief(name)} is also the name of {places[name]}.", parameter=parameter
            )
        found[name] = check(
            {key: value for key, value in row.items() if key != FILENAME}, where, parameter, key_word="column"
        )
        places[name] = where.rpartition(", ")[2]
    return found


def _rows_of_file(path: Path, parameter: str) -> Iterator[Row]:
    match path.suffix.lower():
        case ".csv":
            return _csv(path, ",", parameter)
        case ".tsv":
            return _csv(path, "\t", parameter)
        case ".jsonl" | ".ndjson":
            return _json_lines(path, parameter)
        case ".parquet":
            return _parquet(path, parameter)
    raise ViInvalidParameterError(
        f"{brief(str(path))} is not a table: its extension must be {KINDS}.", parameter=parameter
    )


def _text(path: Path, parameter: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ViPathError(f"{path} cannot be read: {error.strerror}.", path=str(path)) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ViInvalidParameterError(
            f"{path}, line {line}: this is not UTF-8; save the file in that encoding.", parameter=parameter
        ) from None


def _csv(path: Path, delimiter: str, parameter: str) -> Iterator[Row]:
    rows = csv_files.read_cells(_text(path, parameter), delimiter, str(path), parameter)
    line, head = next(rows, (1, []))
    columns = [cell.text if cell.quoted else cell.text.strip(" ") for cell in head]
    for column in columns:
        if not column or columns.count(column) > 1:
            problem = f"the column {brief(column)} occurs twice" if column else "a column has no name"
            raise ViInvalidParameterError(f"{path}, line {line}: {problem}.", parameter=parameter)
    if FILENAME not in columns:
        shown_columns = ", ".join(brief(column) for column in columns[:5])
        raise ViInvalidParameterError(
            f"{path}, line {line}: there is no column {FILENAME!r}; there is {shown_columns or 'nothing'}.",
            parameter=parameter,
        )
    for line, cells in rows:
        if len(cells) != len(columns):
            raise ViInvalidParameterError(
                f"{path}, line {line}: it has {len(cells)} cells, the first line {len(columns)}.", parameter=parameter
            )
        yield (
            f"{path}, line {line}",
            {
                column: (cell.text if column == FILENAME else cell.typed())
                for column, cell in zip(columns, cells, strict=True)
            },
        )


def _json(path: Path, parameter: str) -> Any:
    text = _text(path, parameter)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise ViInvalidParameterError(f"{path}, line {line}: it is not JSON.", parameter=parameter) from None


def _listed(document: Any, path: Path, parameter: str) -> Iterator[Row]:
    if not isinstance(document, list):
        raise ViInvalidParameterError(
            f"{path}: expected an object of filenames, or a list of objects with a {FILENAME!r} each.",
            parameter=parameter,
        )
    for number, item in enumerate(document, 1):
        yield _object(item, f"{path}, item {number}", parameter)


def _json_lines(path: Path, parameter: str) -> Iterator[Row]:
    for number, line in enumerate(_text(path, parameter).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            raise ViInvalidParameterError(f"{where}: it is not JSON.", parameter=parameter) from None
        yield _object(item, where, parameter)


def _object(item: Any, where: str, parameter: str) -> Row:
    if not isinstance(item, dict):
        raise ViInvalidParameterError(
            f"{where}: expected an object with a {FILENAME!r}, got {brief(item)}.", parameter=parameter
        )
    return where, item


def _parquet(path: Path, parameter: str) -> Iterator[Row]:
    arrow = _pyarrow("a .parquet file")
    parquet: Any = require("pyarrow.parquet", "Reading a .parquet file")
    try:
        with parquet.ParquetFile(path) as file:
            yield from _batches(file.iter_batches(), str(path))
    except arrow.ArrowInvalid as error:
        reason = str(error).partition("\n")[0][:80]
        raise ViInvalidParameterError(f"{path} is not Parquet: {reason}.", parameter=parameter) from None
    except OSError as error:
        raise ViPathError(f"{path} cannot be read: {error.strerror or type(error).__name__}.", path=str(path)) from None


def _rows_of_frame(frame: Any, parameter: str) -> Iterator[Row]:
    kind = f"{parameter} ({type(frame).__name__})"
    if _is_of(frame, "pandas"):
        if FILENAME in frame.index.names and FILENAME not in frame.columns:
            frame = frame.reset_index()
        columns = list(frame.columns)
        if len(set(columns)) < len(columns):
            raise ViInvalidParameterError(f"{kind} has two columns of the same name.", parameter=parameter)
        values = zip(*(frame[column].tolist() for column in columns), strict=True)
        for number, row in enumerate(values):
            yield f"{kind}, row {number}", dict(zip(columns, row, strict=True))
    elif _is_of(frame, "polars") and hasattr(frame, "iter_rows"):
        for number, row in enumerate(frame.iter_rows(named=True)):
            yield f"{kind}, row {number}", row
    else:
        arrow = _pyarrow(f"a {type(frame).__name__}")
        yield from _batches(arrow.RecordBatchReader.from_stream(frame), kind)


def _batches(batches: Any, kind: str) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            yield f"{kind}, row {number}", row
            number += 1


def _is_frame(given: object) -> bool:
    return type(given).__name__ == "DataFrame" and (_is_of(given, "pandas") or _is_of(given, "polars"))


def _is_of(given: object, library: str) -> bool:
    return any(cls.__module__.partition(".")[0] == library for cls in type(given).__mro__)


def _pyarrow(what: str) -> Any:
    return require("pyarrow", f"Reading {what}")
