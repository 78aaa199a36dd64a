"""A listing as rows: dictionaries, JSON lines, a pandas frame, an Arrow table or a stream of Arrow (extra ``pandas``).

A row has the columns of ``COLUMNS`` and one ``custom.<key>`` for each key of its custom metadata. What is given may be
a listing of the sync client, a page, or any iterable of assets, as from ``[a async for a in listing.all_items()]``.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import attrs

from ._optional import require
from ._redact import brief
from .api.pagination import Page, PaginatedResponse
from .api.resources.datasets.assets.responses import Asset
from .errors import ViInvalidParameterError

if TYPE_CHECKING:
    import pandas
    import pyarrow

Assets = Page[Asset] | Iterable[Asset]

CustomType = type[str] | type[int] | type[float] | type[bool]
"""The type of the values of one key of custom metadata."""

ROWS_A_BATCH = 1000
_CUSTOM = "custom."

COLUMNS = (
    "asset_id",
    "filename",
    "kind",
    "mime_type",
    "file_size",
    "width",
    "height",
    "frames",
    "status",
    "annotations",
    "hash",
    "created_at",
    "updated_at",
)


def to_dicts(assets: Assets) -> Iterator[dict[str, Any]]:
    """Iterate over rows, asking for further pages as they are reached; times are in UTC."""
    for asset in _each(assets):
        metadata = asset.metadata
        digest = metadata.hash
        yield {
            "asset_id": asset.asset_id,
            "filename": asset.filename,
            "kind": asset.kind,
            "mime_type": metadata.mime_type,
            "file_size": metadata.file_size,
            "width": metadata.width,
            "height": metadata.height,
            "frames": metadata.frames,
            "status": metadata.status,
            "annotations": metadata.annotations.total,
            "hash": f"{digest.algorithm}:{digest.contents}" if digest.contents else None,
            "created_at": metadata.created_at,
            "updated_at": metadata.updated_at,
        } | {f"{_CUSTOM}{key}": value for key, value in metadata.custom_metadata.items()}


def write_json_lines(assets: Assets, file: IO[str]) -> int:
    """Write one JSON object a line and return how many; times are ISO 8601."""
    count = 0
    for row in to_dicts(assets):
        file.write(json.dumps(row, ensure_ascii=False, default=_as_text) + "\n")
        count += 1
    return count


def to_pandas(assets: Assets) -> pandas.DataFrame:
    """Return a frame with a row for each asset; whole numbers are ``Int64``, truth values ``boolean``, gaps or not."""
    pandas = require("pandas", "A data frame")
    arrow = _pyarrow()
    types = {
        arrow.int64(): pandas.Int64Dtype(),
        arrow.uint64(): pandas.UInt64Dtype(),
        arrow.bool_(): pandas.BooleanDtype(),
    }
    return to_arrow(assets).to_pandas(types_mapper=types.get)


def to_arrow(assets: Assets, custom: Mapping[str, CustomType] | None = None) -> pyarrow.Table:
    """Return a table with a row for each asset, of the types of `batches`."""
    return batches(assets, custom).read_all()


def batches(assets: Assets, custom: Mapping[str, CustomType] | None = None) -> pyarrow.RecordBatchReader:
    """Return a reader of batches of a thousand rows, for pandas, polars, duckdb and others that read Arrow streams.

    The columns of ``COLUMNS`` have the same types in every listing. With *custom*, the keys of custom metadata and
    their types, each batch is read from the listing when it is wanted. Without it, the whole listing is read first,
    into a temporary file, and each key becomes a column: truth values ``bool``; whole numbers ``int64``, or
    ``uint64`` where one needs it; numbers ``float64``; and text whatever fits none of these. Memory stays bounded
    either way.

    Args:
        assets: A listing of the sync client, a page, or an iterable of assets.
        custom: Keys of custom metadata, each with ``str``, ``int`` (``int64``), ``float`` or ``bool``.

    Returns:
        A ``pyarrow.RecordBatchReader``.

    Raises:
        ViInvalidParameterError: A type is none of these, or, while reading, a value does not fit its type.
        ViConfigurationError: pyarrow is not installed.
    """
    arrow = _pyarrow()
    if custom is not None:
        names = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
        for key, kind in custom.items():
            if kind not in names:
                raise ViInvalidParameterError(
                    f"custom[{key!r}] must be str, int, float or bool, got {brief(kind)}.", parameter="custom"
                )
        wanted = {key: names[kind] for key, kind in custom.items()}
        chosen = arrow.schema([*_fixed(arrow), *((_CUSTOM + key, type_) for key, type_ in wanted.items())])
        rows = _blocks(to_dicts(assets))
        return arrow.RecordBatchReader.from_batches(
            chosen, (_batch(arrow, block, chosen, strict=True) for block in rows)
        )
    return _of_unknown_keys(arrow, assets)


def _of_unknown_keys(arrow: Any, assets: Assets) -> Any:
    """Read the listing into a temporary file while learning its keys, then read that."""
    spooled = arrow.schema([*_fixed(arrow), (_CUSTOM, arrow.string())])
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the reader's end
    kinds: dict[str, _Kind] = {}
    try:
        with arrow.ipc.new_stream(spool, spooled) as out:
            for block in _blocks(to_dicts(assets)):
                for row in block:
                    values = {name: row.pop(name) for name in list(row) if name.startswith(_CUSTOM)}
                    for name, value in values.items():
                        kinds.setdefault(name, _Kind()).add(value)
                    row[_CUSTOM] = json.dumps(values)
                out.write_batch(_batch(arrow, block, spooled))
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    schema = arrow.schema([*_fixed(arrow), *((name, kinds[name].type(arrow)) for name in sorted(kinds))])

    def read() -> Iterator[Any]:
        with spool, arrow.ipc.open_stream(spool) as stored:
            for batch in stored:
                rows = [json.loads(text) for text in batch.column(_CUSTOM).to_pylist()]
                columns = [batch.column(name) for name in COLUMNS]
                columns += [_array(arrow, rows, field) for field in list(schema)[len(COLUMNS) :]]
                yield arrow.record_batch(columns, schema=schema)

    return arrow.RecordBatchReader.from_batches(schema, read())


def _fixed(arrow: Any) -> list[tuple[str, Any]]:
    whole, time = arrow.int64(), arrow.timestamp("ms", tz="UTC")
    types = dict.fromkeys(("file_size", "width", "height", "frames", "annotations"), whole)
    types |= {"created_at": time, "updated_at": time}
    return [(name, types.get(name, arrow.string())) for name in COLUMNS]


def _blocks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while block := list(islice(rows, ROWS_A_BATCH)):
        yield block


def _batch(arrow: Any, rows: list[dict[str, Any]], schema: Any, *, strict: bool = False) -> Any:
    return arrow.record_batch([_array(arrow, rows, field, strict=strict) for field in schema], schema=schema)


def _array(arrow: Any, rows: list[dict[str, Any]], field: Any, *, strict: bool = False) -> Any:
    """Return a column; with *strict*, a value of custom metadata that does not fit is an error, not text."""
    values = [row.get(field.name) for row in rows]
    if field.name.startswith(_CUSTOM):
        if strict:
            for row, value in zip(rows, values, strict=True):
                if value is not None and not _fits(arrow, value, field.type):
                    raise ViInvalidParameterError(
                        f"{row['filename']!r}: {field.name[len(_CUSTOM) :]!r} is {ascii(value)[:60]}, which is not "
                        f"{field.type}; give str for it.",
                        parameter="custom",
                    )
        if field.type == arrow.string():
            values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        elif field.type == arrow.float64():
            values = [None if value is None else float(value) for value in values]
    return arrow.array(values, field.type)


def _fits(arrow: Any, value: Any, wanted: Any) -> bool:
    kind = _Kind()
    kind.add(value)
    found = kind.type(arrow)
    return wanted == arrow.string() or found == wanted or (wanted == arrow.float64() and kind.is_real)


@attrs.define
class _Kind:
    """What the values of one key have been."""

    types: set[type] = attrs.Factory(set)
    smallest: int = 0
    largest: int = 0
    exact: bool = True
    """Whether each whole number is one of float64 too."""

    def add(self, value: Any) -> None:
        self.types.add(type(value))
        if type(value) is int:
            self.smallest, self.largest = min(self.smallest, value), max(self.largest, value)
            self.exact = self.exact and abs(value) < 1 << 1023 and int(float(value)) == value

    @property
    def is_real(self) -> bool:
        """Whether all are numbers that float64 holds."""
        return self.types <= {int, float} and self.exact

    def type(self, arrow: Any) -> Any:
        if self.types == {bool}:
            return arrow.bool_()
        if self.types == {int} and self.smallest >= -(1 << 63) and self.largest < 1 << 63:
            return arrow.int64()
        if self.types == {int} and self.smallest >= 0 and self.largest < 1 << 64:
            return arrow.uint64()
        if float in self.types and self.is_real:
            return arrow.float64()
        return arrow.string()


def _each(assets: Assets) -> Iterable[Asset]:
    if isinstance(assets, PaginatedResponse):
        return assets.all_items()
    if isinstance(assets, Page):
        return assets.items
    if not isinstance(assets, Iterable):
        raise ViInvalidParameterError(
            f"Rows are made of a page or an iterable of assets, got {type(assets).__name__}.",
            parameter="assets",
            suggestion="Collect an async listing first: [asset async for asset in listing.all_items()].",
        )
    return assets


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def _pyarrow() -> Any:
    require("pyarrow.ipc", "A table")
    return require("pyarrow", "A table")
