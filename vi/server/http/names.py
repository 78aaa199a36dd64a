"""Which file names and metadata are taken. Any other hostile name is only data: bytes are stored by id."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..config import ServiceConfig
from .api_errors import invalid


def check_name(name: str, field: str, config: ServiceConfig) -> None:
    """Raise 400 for a name that no URL or file could carry."""
    if not name or name in (".", ".."):
        raise invalid(f"{field} must be a name, not {name!r}", field)
    if "\0" in name:
        raise invalid(f"{field} must not hold a NUL character", field)
    if len(name) > config.max_name_characters:
        raise invalid(f"{field} must not be longer than {config.max_name_characters} characters", field)
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise invalid(f"{field} holds half of a surrogate pair", field) from None


MAX_METADATA_KEYS = 1000
MAX_KEY_CHARACTERS = 512
MAX_VALUE_CHARACTERS = 64 << 10


def check_metadata(metadata: Mapping[str, Any], field: str) -> None:
    """Raise 400 for metadata that a database cannot hold and search: too much, too long, or no text or number."""
    if len(metadata) > MAX_METADATA_KEYS:
        raise invalid(f"{field} must not have more than {MAX_METADATA_KEYS} keys", field)
    for key, value in metadata.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise invalid(f"{field} has a number that is too large", field)
        for text, most in ((key, MAX_KEY_CHARACTERS), (value, MAX_VALUE_CHARACTERS)):
            if not isinstance(text, str):
                continue
            if len(text) > most:
                raise invalid(f"{field} has a key or a text of more than {most} characters", field)
            if "\0" in text:
                raise invalid(f"{field} has a key or a text with a NUL character", field)
            if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
                raise invalid(f"{field} has a key or a text with half of a surrogate pair", field)
