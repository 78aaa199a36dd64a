"""The custom metadata of one asset: which values it may have, and which stand for none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ......_redact import brief
from ......errors import ViInvalidParameterError
from ..types import AssetCustomMetadata

_MISSING = ("NAType", "NaTType")


def check(value: Any, where: str, parameter: str, *, key_word: str = "key") -> AssetCustomMetadata:
    """Return metadata without what is missing (None, NaN, NaT, ``pandas.NA``) and NumPy scalars as plain values."""
    if not isinstance(value, Mapping):
        raise ViInvalidParameterError(f"{where} must be a mapping, got {type(value).__name__}.", parameter=parameter)
    found: AssetCustomMetadata = {}
    for key, given in value.items():
        item = _plain(given)
        if not isinstance(key, str):
            raise ViInvalidParameterError(f"{where}: the {key_word} {brief(key)} is not text.", parameter=parameter)
        if _is_missing(item):
            continue
        if not isinstance(item, (str, int, float)) or (isinstance(item, float) and not math.isfinite(item)):
            raise ViInvalidParameterError(
                f"{where}, {key_word} {brief(key)}: {brief(given)} is not text, a number or a boolean.",
                parameter=parameter,
            )
        if not all(_is_unicode(text) for text in (key, item) if isinstance(text, str)):
            raise ViInvalidParameterError(
                f"{where}, {key_word} {brief(key)}: {brief(given)} is not valid Unicode.", parameter=parameter
            )
        found[key] = item
    return found


def differing(wanted: AssetCustomMetadata | None, stored: Mapping[str, Any]) -> AssetCustomMetadata:
    """Return what of *wanted* is not stored; 1 equals 1.0, which some services do not distinguish."""

    def is_stored(key: str, value: Any) -> bool:
        there = stored.get(key)
        return (type(there) is bool) == (type(value) is bool) and bool(there == value)

    return {key: value for key, value in (wanted or {}).items() if not is_stored(key, value)}


def _plain(value: Any) -> Any:
    """Return a scalar of NumPy as Python's own, anything else as it is."""
    if type(value).__module__.partition(".")[0] != "numpy" or getattr(value, "ndim", 1) != 0:
        return value
    return value if _is_missing(value) else value.item()


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in _MISSING:
        return True
    is_number = isinstance(value, float) or type(value).__module__.partition(".")[0] == "numpy"
    return is_number and getattr(value, "ndim", 0) == 0 and bool(value != value)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
