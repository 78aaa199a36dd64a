"""What callers send about assets."""

from __future__ import annotations

import attrs

from ...shared import Choice, choose

AssetCustomMetadata = dict[str, str | int | float | bool]
"""A flat mapping of text to text, number or boolean."""


class SortCriterion(Choice):
    """By which value a listing is sorted; ties are broken by asset id."""

    DEFAULT = "default"
    ASSET_ID = "assetId"
    FILENAME = "filename"
    LAST_MODIFIED_CONTENTS = "lastModified.contents"
    METADATA_FILE_SIZE = "metadata.fileSize"


class SortOrder(Choice):
    """Ascending or descending."""

    ASC = "asc"
    DESC = "desc"


def _criterion(value: SortCriterion | str) -> SortCriterion:
    return choose(SortCriterion, value, "criterion")


def _order(value: SortOrder | str) -> SortOrder:
    return choose(SortOrder, value, "order")


@attrs.frozen
class AssetSortCriterion:
    """How to sort a listing of assets; strings are accepted for both."""

    criterion: SortCriterion = attrs.field(default=SortCriterion.DEFAULT, converter=_criterion)
    order: SortOrder = attrs.field(default=SortOrder.ASC, converter=_order)
