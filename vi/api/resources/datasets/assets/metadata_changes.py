"""Changing the metadata of assets that are there, many in one request and without their bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ....._checks import must_be_of_type
from ....._redact import brief
from .....errors import ViInvalidParameterError, ViOperationError
from .calls import AssetCalls
from .metadata.given import OnUnmatched, check_on_unmatched, refuse_unmatched
from .metadata.tables import is_table, read_table
from .metadata.values import check
from .responses import MetadataChanges
from .results import SetMetadataResult
from .types import AssetCustomMetadata

ASSETS_A_REQUEST = 5_000
BYTES_A_REQUEST = 4 << 20

Updates = Mapping[str, AssetCustomMetadata]


def read_updates(table: Any) -> Updates:
    """Return the metadata by filename of a table or a mapping of mappings; blocking."""
    given = read_table(table, "table") if is_table(table) else table
    if not isinstance(given, Mapping):
        raise must_be_of_type("table", "a table with a column 'filename', or a mapping of filenames", table)
    return {str(name): check(value, f"The metadata of {name}", "table") for name, value in given.items()}


def check_keys(remove: object) -> list[str]:
    """Return the keys to remove."""
    if isinstance(remove, str) or not isinstance(remove, Sequence) or not all(isinstance(key, str) for key in remove):
        raise ViInvalidParameterError(f"remove must be a list of keys, got {brief(remove)}.", parameter="remove")
    return list(dict.fromkeys(remove))


async def set_metadata(
    calls: AssetCalls,
    updates: Updates,
    remove: Sequence[str],
    result: SetMetadataResult,
    on_unmatched: OnUnmatched,
) -> None:
    """Change what differs and count it in *result*; unmatched names are refused before anything is changed."""
    check_on_unmatched(on_unmatched)
    if not await calls.can_set_metadata():
        raise ViOperationError(
            "This service cannot change metadata alone.",
            suggestion="Upload the files again with custom_metadata=, which replaces it, and "
            "on_asset_overwritten='KeepLinkedResource'.",
        )
    batches = list(_batches(updates))
    if result.dry_run or on_unmatched == "error":
        found = [await calls.set_metadata(batch, remove, dry_run=True) for batch in batches]
        missing = [name for one in found for name in one.missing]
        if on_unmatched == "error":
            refuse_unmatched(missing, "in the dataset", "table")
        if result.dry_run or not sum(one.changed for one in found):
            for one in found:
                _count(one, result)
            return
    for batch in batches:
        _count(await calls.set_metadata(batch, remove, dry_run=False), result)


def _count(done: MetadataChanges, result: SetMetadataResult) -> None:
    result.total_changed += done.changed
    result.total_unchanged += done.unchanged
    result.unmatched += done.missing


async def update_known(calls: AssetCalls, updates: Updates) -> int:
    """Update assets that have been listed and return how many have the metadata now; 0 where the service cannot."""
    if not updates or not await calls.can_set_metadata():
        return 0
    result = SetMetadataResult()
    await set_metadata(calls, updates, (), result, "ignore")
    return result.total_changed + result.total_unchanged


def _batches(updates: Updates) -> Iterator[dict[str, AssetCustomMetadata]]:
    batch: dict[str, AssetCustomMetadata] = {}
    size = 0
    for name, update in updates.items():
        batch[name] = update
        size += len(name) + len(json.dumps(update))
        if len(batch) == ASSETS_A_REQUEST or size >= BYTES_A_REQUEST:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch
