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


@attrs.frozen
class AssetSortCriterion:
    """How to sort a listing of assets; strings are accepted for both."""

    criterion: SortCriterion = attrs.field(
        default=SortCriterion.DEFAULT, converter=lambda value: choose(SortCriterion, value, "criterion")
    )
    order: SortOrder = attrs.field(
        default=SortOrder.ASC, converter=lambda value: choose(SortOrder, value, "order")
    )
