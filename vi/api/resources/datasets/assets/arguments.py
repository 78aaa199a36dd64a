"""Reading what callers pass to the methods of assets, before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from ....._checks import check_whole, check_word, must_be, must_be_of_type
from ....._paths import as_path
from ....._redact import brief
from ....._transfer.discovery import discover
from ....._transfer.filters import Filters, read_patterns
from ....._transfer.inventory import Inventory, Naming
from ....._transfer.remote_folders import RemoteFolder, is_remote, remote_folder
from ....._transfer.sources.remote import is_file_address, local_path
from .....errors import ViInvalidParameterError
from ...base import check_switches, check_text
from ...shared import choose
from .responses import FailureMode, ResourceRetentionMode
from .types import AssetSortCriterion, SortCriterion, SortOrder

Filter = str | Mapping[str, Any]
Patterns = str | Iterable[str] | None
"""Patterns as in a .gitignore: one, several in any iterable, or none."""


Detection = Literal["extension", "content"]
"""What tells the type of a file."""


def is_by_content(detect: Detection, *, planned: bool) -> bool:
    """Tell whether files have the type that their content shows."""
    check_word("detect", detect, "extension", "content")
    if planned and detect == "content":
        raise ViInvalidParameterError("A plan keeps no types: leave detect out of it.", parameter="detect")
    return detect == "content"


def query(filter_criteria: Filter | None, metadata_query: str | None, strict_query: bool) -> dict[str, str]:
    """Return a selection as query parameters; a mapping becomes JSON."""
    check_switches(strict_query=strict_query)
    params: dict[str, str] = {}
    if filter_criteria is not None and (criteria := _as_json(filter_criteria)) != "{}":
        params["filter"] = check_text(criteria, "filter_criteria")
    if metadata_query is not None:
        params["metadataQuery"] = check_text(metadata_query, "metadata_query")
    if strict_query and params:
        params["strictQuery"] = "y"
    return params


def is_selection(params: Mapping[str, str]) -> bool:
    """Tell whether *params* select: a filter such as ``{}`` would mean every asset (protocol section 7.6)."""
    if "metadataQuery" in params:
        return True
    if "filter" not in params:
        return False
    try:
        return bool(json.loads(params["filter"]))
    except (ValueError, RecursionError):
        return True  # the service says what is wrong with it


def _as_json(criteria: object) -> object:
    if isinstance(criteria, str):
        return criteria
    if not isinstance(criteria, Mapping):
        raise must_be("filter_criteria", "a mapping or JSON text", criteria)
    try:
        return json.dumps(dict(criteria), allow_nan=False)
    except (TypeError, ValueError):
        raise ViInvalidParameterError(
            f"filter_criteria holds something that JSON cannot: {brief(criteria)}.", parameter="filter_criteria"
        ) from None


def retention(given: ResourceRetentionMode | str) -> ResourceRetentionMode:
    """Return what happens to the annotations of assets that are overwritten."""
    return choose(ResourceRetentionMode, given, "on_asset_overwritten")


def check_limit(limit: object) -> None:
    """Refuse what is not a number of assets."""
    if limit is not None:
        check_whole("limit", limit)


def filters(include: Patterns, exclude: Patterns, follow_links: bool = False) -> Filters:
    """Return what of a folder or a dataset is taken; each argument is read once."""
    check_switches(follow_links=follow_links)
    return Filters(read_patterns(include, "include"), read_patterns(exclude, "exclude"), follow_links)


def order(sort_by: object) -> dict[str, str]:
    """Return an order as query parameters."""
    if sort_by is None:
        return {}
    if not isinstance(sort_by, AssetSortCriterion):
        raise must_be_of_type("sort_by", "an AssetSortCriterion", sort_by)
    params: dict[str, str] = {}
    if sort_by.criterion is not SortCriterion.DEFAULT or sort_by.order is SortOrder.DESC:
        params["sortBy"] = str(sort_by.criterion)
    if sort_by.order is SortOrder.DESC:
        params["o"] = "d"
    return params


def folder(save_dir: object, call: str, parameter: str = "save_dir") -> Path:
    """Return a folder given as a path; a remote one is refused in the name of the *call*."""
    if is_remote(save_dir):
        raise ViInvalidParameterError(
            f"{call} needs a local folder.",
            parameter=parameter,
            suggestion="assets.download accepts a URL; it skips existing files, and replaces them with overwrite=True.",
        )
    if isinstance(save_dir, str) and is_file_address(save_dir):
        save_dir = local_path(save_dir)
    return as_path(save_dir, parameter)


def place(given: object, call: str) -> Path | RemoteFolder:
    """Return a folder to compare: a local one as a path, or a remote one. Blocking: it may import a library."""
    return remote_folder(given) if is_remote(given) else folder(given, call, "folder")


def build_inventory(paths: Any, names: Naming, filters: Filters, failure_mode: FailureMode) -> Inventory:
    """Find the files of an upload and check what can be checked of all of them at once; blocking."""
    inventory = discover(paths, names, filters)
    inventory.check_names()
    if failure_mode is FailureMode.FAIL_AFTER_ONE:
        inventory.check_sizes()
    return inventory
