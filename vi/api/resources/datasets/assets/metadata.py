"""Custom metadata given at upload: per remote name, for all files, or by a function of the path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ....._transfer.inventory import Inventory
from ....._transfer.record import FileRecord
from .....errors import ViInvalidParameterError
from .types import AssetCustomMetadata

CustomMetadata = Mapping[str, Any] | Callable[[Path], Mapping[str, str | int | float | bool] | None]
"""``{filename: {key: value}}``, ``{key: value}`` for every file, or a function of the path as given."""

Reader = Callable[[FileRecord], AssetCustomMetadata | None]


def reader(given: CustomMetadata | None, inventory: Inventory) -> Reader:
    """Return what tells a file's metadata; a mapping that names a file that is not uploaded is refused."""
    if given is None:
        return lambda record: None
    if callable(given):
        function = given
        return lambda record: _check(function(Path(record.path)), record.filename)
    if not isinstance(given, Mapping):
        raise ViInvalidParameterError(
            f"custom_metadata must be a mapping or a function, got {type(given).__name__}.", parameter="custom_metadata"
        )
    if not any(isinstance(value, Mapping) for value in given.values()):
        same = _check(given, "every file")
        return lambda record: same
    by_name = {str(name): _check(value, str(name)) for name, value in given.items()}
    unknown = set(by_name).difference(record.filename for record in inventory)
    if unknown:
        shown = ", ".join(sorted(unknown)[:5])
        raise ViInvalidParameterError(
            f"custom_metadata has entries for files that are not being uploaded ({len(unknown)}): {shown}.",
            parameter="custom_metadata",
        )
    return lambda record: by_name.get(record.filename)


def _check(value: Any, name: str) -> AssetCustomMetadata | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ViInvalidParameterError(
            f"The metadata of {name} must be a mapping, got {type(value).__name__}.", parameter="custom_metadata"
        )
    for key, item in value.items():
        good = isinstance(item, (str, bool, int)) or (isinstance(item, float) and math.isfinite(item))
        if not isinstance(key, str) or not good:
            raise ViInvalidParameterError(
                f"The metadata of {name} has {key!r}: {item!r}; keys are text, values text, numbers or booleans.",
                parameter="custom_metadata",
            )
        if not all(_is_unicode(text) for text in (key, item) if isinstance(text, str)):
            raise ViInvalidParameterError(
                f"The metadata of {name} has {key!r}: {item!r}, which is not valid Unicode.",
                parameter="custom_metadata",
            )
    return dict(value)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
