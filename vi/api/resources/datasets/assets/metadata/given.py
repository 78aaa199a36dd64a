"""Custom metadata as it is given: for all files, by filename, by a function of the path, or as a table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar
from unicodedata import normalize

from ......_checks import check_word
from ......_redact import brief
from ......errors import ViInvalidParameterError
from ..types import AssetCustomMetadata
from .tables import Table, is_table, read_table
from .values import check

T = TypeVar("T")

CustomMetadata = Mapping[str, Any] | Callable[[Path], Mapping[str, Any] | None] | Table
"""``{filename: {key: value}}``, ``{key: value}`` for every file, a function of the path as given, or a table."""

OnUnmatched = Literal["error", "ignore"]
"""What happens when metadata names a file that is not there."""

Given = Mapping[str, Any] | Callable[[Path], Any]
"""What was given, with a table read into a mapping."""


class File(Protocol):
    """A file that metadata is for: the path as it was given, and the stored name."""

    @property
    def path(self) -> str: ...

    @property
    def filename(self) -> str: ...


Reader = Callable[[File], AssetCustomMetadata | None]

PARAMETER = "custom_metadata"


def read(given: CustomMetadata | None, on_unmatched: OnUnmatched) -> Given | None:
    """Return what is given with a table read into a mapping, which may block."""
    check_on_unmatched(on_unmatched)
    if given is None or isinstance(given, Mapping):
        return given
    if is_table(given):
        # A table without rows is metadata of no file, not of every file.
        return read_table(given, PARAMETER) or None
    if callable(given):
        return given
    raise ViInvalidParameterError(
        f"custom_metadata must be a mapping, a function or a table, got {type(given).__name__}.", parameter=PARAMETER
    )


def reader(
    given: Given | None, files: Iterable[File], on_unmatched: OnUnmatched, *, bare: bool = False
) -> Reader | None:
    """Return what tells a file's metadata; with ``"error"``, metadata of none of *files* is refused.

    With *bare*, a file that is stored under its path is also meant by its bare name.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        function = given
        return lambda file: _optional(function(Path(file.path)), file.filename)
    if not any(isinstance(value, Mapping) for value in given.values()):
        same = check(given, "The metadata of every file", PARAMETER)
        return lambda file: same
    found = {str(name): _optional(value, str(name)) for name, value in given.items()}
    if on_unmatched == "error" or not all(map(str.isascii, found)):
        names = {one.filename for one in files}
        known = names | {name.rpartition("/")[2] for name in names} if bare else names
        found = _as_known(found, known)
        if on_unmatched == "error":
            refuse_unmatched(set(found) - known, "being uploaded", PARAMETER)
    if bare:
        return lambda file: found.get(file.filename, found.get(file.filename.rpartition("/")[2]))
    return lambda file: found.get(file.filename)


def _as_known(found: dict[str, T], known: Collection[str]) -> dict[str, T]:
    """Return what was *found*, by the names that are *known*: a disk and a table may write an accent in two ways."""
    apart = [name for name in found if name not in known and not name.isascii()]
    if not apart:
        return found
    forms = {normalize("NFC", name): name for name in known if name not in found and not name.isascii()}
    twins = {name: forms.get(normalize("NFC", name), name) for name in apart}
    return {twins.get(name, name): value for name, value in found.items()}


def refuse_unmatched(names: Iterable[str], there: str, parameter: str) -> None:
    """Refuse metadata of files that are not *there*."""
    unmatched = sorted(names)
    if unmatched:
        first = ", ".join(brief(name) for name in unmatched[:2])
        raise ViInvalidParameterError(
            f"{parameter} names files that are not {there} ({len(unmatched)}): {first}.",
            parameter=parameter,
            suggestion="Correct the names, or ignore them with on_unmatched='ignore'.",
        )


def check_on_unmatched(on_unmatched: object) -> None:
    """Refuse a word that is neither of the two."""
    check_word("on_unmatched", on_unmatched, "error", "ignore")


def _optional(value: Any, name: str) -> AssetCustomMetadata | None:
    return None if value is None else check(value, f"The metadata of {name}", PARAMETER)
