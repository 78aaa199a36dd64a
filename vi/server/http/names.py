"""Which file names are taken. Any other hostile name is only data: bytes are stored by id."""

from __future__ import annotations

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
