"""What went wrong, in the words of the command line: options and commands for the parameters of Python."""

from __future__ import annotations

import re
from typing import Any

from ..errors import ViConfigurationError, ViError, ViErrorCode
from . import exits

LOGIN = "Run vi-sdk login, set DATATURE_VI_SECRET_KEY, or start a local service with vi-sdk serve."

PHRASES: tuple[tuple[str, str], ...] = (
    (
        "client.datasets.list() and client.assets.list(dataset_id) show those there are",
        "vi-sdk datasets ls and vi-sdk assets ls DATASET list them",
    ),
    ("client.datasets.list()", "vi-sdk datasets ls"),
    ("client.assets.list(dataset_id)", "vi-sdk assets ls DATASET"),
    ("failure_mode='FailAfterAll' tries every file", "leave out --fail-fast to try every file"),
    (
        "Pass a function as names that tells them apart",
        "Rename them, or give the folder above them with --names relative",
    ),
    ("names='relative'", "--names relative"),
    ('names="relative"', "--names relative"),
    ("names='basename'", "--names basename"),
    ("detect='content'", "--detect content"),
    ('detect="content"', "--detect content"),
    ("direction='up'", "--direction up"),
    ("direction='down'", "--direction down"),
    ("overwrite=True", "--overwrite"),
    ("dry_run=True", "--dry-run"),
    ("skip_existing=True", "--skip-existing"),
    ("missing_ok=True", "--missing-ok"),
    ("follow_links=True", "--follow-links"),
    ("as save_dir", "as DIR"),
    ("another save_dir", "another folder"),
    ("Make the same call again", "Run the same command again"),
    ("make the same call again", "run the same command again"),
    ("vi.transfers lists", "vi-sdk transfers ls lists"),
    ("or config_file=", "or --config"),
    ("pass organization_id=", "give --organization"),
    (
        "pass secret_key=, or use Client.local() for the local service",
        "or run vi-sdk login; vi-sdk serve runs a local service",
    ),
    ("; Client.local() needs none", ""),
)
"""Python's words for what a command line says otherwise."""

PARAMETERS = {
    "custom_metadata": "--metadata",
    "dataset_id": "DATASET",
    "failure_mode": "--fail-fast",
    "filter_criteria": "--filter",
    "follow_links": "--follow-links",
    "max_concurrency": "--concurrency",
    "max_delete": "--max-delete",
    "metadata_query": "--query",
    "organization_id": "--organization",
    "save_dir": "DIR",
    "strict_query": "--strict",
}
"""Parameters, by the options or arguments that give them."""

_PARAMETER = re.compile(rf"(?<![\w.'\"-])(?:{'|'.join(PARAMETERS)})(?![\w'\"])")


def in_words_of_the_command_line(text: str) -> str:
    """Return a text of the library as the command line says it."""
    for python, ours in PHRASES:
        text = text.replace(python, ours)
    return _PARAMETER.sub(lambda found: PARAMETERS[found[0]], text)


def text_of(error: ViError | exits.WrongUseError) -> str:
    """Return what to print of an error."""
    if isinstance(error, exits.WrongUseError):
        return str(error)
    if _is_unset(error):
        return f"{error.message} {LOGIN}"
    return in_words_of_the_command_line(str(error))


def document_of(error: BaseException, code: int) -> dict[str, Any]:
    """Return what ``--json`` prints of an error; *code* is the exit code."""
    if isinstance(error, ViError):
        inner = error.to_dict()
        inner["message"] = in_words_of_the_command_line(error.message)
        if error.suggestion:
            inner["suggestion"] = LOGIN if _is_unset(error) else in_words_of_the_command_line(error.suggestion)
    elif isinstance(error, exits.WrongUseError):
        inner = {"type": "UsageError", "message": str(error)}
        if error.see:
            inner["suggestion"] = f"See: {error.see}"
    else:
        inner = {"type": type(error).__name__, "message": str(error)}
    return {"error": {**inner, "exit_code": code}}


def _is_unset(error: ViError) -> bool:
    return isinstance(error, ViConfigurationError) and error.error_code == ViErrorCode.MISSING_REQUIRED_FIELD
