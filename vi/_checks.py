"""Arguments that cannot be used: what each must be, said in one form."""

from __future__ import annotations

from typing import Any

from ._redact import brief
from .errors import ViInvalidParameterError


def must_be(parameter: str, what: str, value: object, **fields: Any) -> ViInvalidParameterError:
    """Return the error for an argument that is not *what*; it shows the value."""
    return ViInvalidParameterError(f"{parameter} must be {what}, got {brief(value)}.", parameter=parameter, **fields)


def must_be_of_type(parameter: str, what: str, value: object) -> ViInvalidParameterError:
    """Return the error for an argument of a wrong type; it does not show the value, which may be secret or large."""
    return ViInvalidParameterError(f"{parameter} must be {what}, got {type(value).__name__}.", parameter=parameter)


def check_whole(parameter: str, value: object) -> None:
    """Refuse what is not an integer above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise must_be(parameter, "an integer above 0", value)


def check_word(parameter: str, value: object, *words: str) -> None:
    """Refuse what is not one of a few words."""
    if value not in words:
        raise must_be(parameter, " or ".join(map(repr, words)), value)
