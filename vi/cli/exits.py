"""The exit codes, in one table: what `--help` prints, what errors and failed files become."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import codes
from ..errors import (
    ViAuthenticationError,
    ViConfigurationError,
    ViDownloadError,
    ViError,
    ViErrorCode,
    ViNotFoundError,
    ViPermissionError,
    ViUploadError,
    ViValidationError,
)

if TYPE_CHECKING:
    from ..api.resources.datasets.assets.results import FileFailure

DONE = 0
FAILED = 1
WRONG_USE = 2
DENIED = 3
MISSING = 4
TEMPORARY = 5
FATAL = 7
NOTHING = 9
INTERRUPTED = 130

TABLE: tuple[tuple[int, str], ...] = (
    (DONE, "all done"),
    (FAILED, "at least one file failed, differed or was left in place, or you answered no"),
    (WRONG_USE, "usage error: invalid arguments or settings"),
    (DENIED, "authentication or permission"),
    (MISSING, "not found"),
    (TEMPORARY, "temporary failure, retry later (also if every failed file failed temporarily)"),
    (FATAL, "fatal: another run will not help"),
    (NOTHING, "nothing to do (only with --fail-if-nothing)"),
    (INTERRUPTED, "interrupted by Ctrl+C"),
)

TEXT = "exit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in TABLE)


class WrongUseError(Exception):
    """Arguments that are wrong or do not go together; *see* is the command that shows the usage."""

    def __init__(self, message: str, *, see: str | None = None) -> None:
        super().__init__(message)
        self.see = see


def of_error(error: ViError) -> int:
    """Return the exit code that tells a script what kind of failure this is."""
    if isinstance(error, (ViAuthenticationError, ViPermissionError)):
        return DENIED
    if isinstance(error, ViNotFoundError):
        return MISSING
    if _is_temporary(error.error_code):
        return TEMPORARY
    if isinstance(error, ViDownloadError) and error.error_code in codes.OF_THE_DISK:
        return FATAL
    if isinstance(error, (ViUploadError, ViDownloadError)):
        return FAILED
    if isinstance(error, (ViValidationError, ViConfigurationError)):
        return WRONG_USE
    return FATAL


def of_failures(failures: Iterable[FileFailure]) -> int:
    """Return the exit code for files that failed by name."""
    codes = {failure.code for failure in failures}
    if not codes:
        return DONE
    return TEMPORARY if all(map(_is_temporary, codes)) else FAILED


def _is_temporary(code: ViErrorCode | str) -> bool:
    return code in codes.TEMPORARY or ViError("", error_code=_known(code)).is_retryable()


def _known(code: ViErrorCode | str) -> ViErrorCode | str:
    return ViErrorCode(code) if code in ViErrorCode._value2member_map_ else code
