"""A listing as rows: dictionaries, JSON lines, a pandas frame or an Arrow table (extra ``pandas``).

A row has the columns of ``COLUMNS`` and one ``custom.<key>`` for each key of its custom metadata. What is given may be
a listing of the sync client, a page, or any iterable of assets, as from ``[a async for a in listing.all_items()]``.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

from .api.pagination import Page, PaginatedResponse
from .api.resources.datasets.assets.responses import Asset
from .errors import ViConfigurationError, ViInvalidParameterError

if TYPE_CHECKING:
    import pandas
    import pyarrow

Assets = Page[Asset] | Iterable[Asset]

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
        } | {f"custom.{key}": value for key, value in metadata.custom_metadata.items()}


def write_json_lines(assets: Assets, file: IO[str]) -> int:
    """Write one JSON object a line and return how many; times are ISO 8601."""
    count = 0
    for row in to_dicts(assets):
        file.write(json.dumps(row, ensure_ascii=False, default=_as_text) + "\n")
        count += 1
    return count


def to_pandas(assets: Assets) -> pandas.DataFrame:
    """Return a frame with a row for each asset."""
    try:
        import pandas
    except ImportError:
        raise _missing("pandas") from None
    rows = list(to_dicts(assets))
    frame = pandas.DataFrame.from_records(rows, columns=_columns(rows))
    for name in ("created_at", "updated_at"):
        frame[name] = pandas.to_datetime(frame[name], utc=True)
    return frame


def to_arrow(assets: Assets) -> pyarrow.Table:
    """Return a table with a row for each asset. A custom column whose values are of several types becomes text."""
    try:
        import pyarrow
    except ImportError:
        raise _missing("pyarrow") from None
    rows = list(to_dicts(assets))
    whole, time = pyarrow.int64(), pyarrow.timestamp("ms", tz="UTC")
    types = dict.fromkeys(("file_size", "width", "height", "frames", "annotations"), whole)
    types |= {"created_at": time, "updated_at": time}
    columns = {}
    for name in _columns(rows):
        values = [row.get(name) for row in rows]
        if name in COLUMNS:
            columns[name] = pyarrow.array(values, types.get(name, pyarrow.string()))
            continue
        try:
            columns[name] = pyarrow.array(values)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
            columns[name] = pyarrow.array([None if value is None else str(value) for value in values])
    return pyarrow.table(columns)


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


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    custom = {name for row in rows for name in row.keys() - set(COLUMNS)}
    return [*COLUMNS, *sorted(custom)]


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def _missing(library: str) -> ViConfigurationError:
    return ViConfigurationError(
        f"This needs {library}.", suggestion="Install it with: pip install 'vi-async-sdk[pandas]'"
    )
