"""What went wrong, in the words of the command line: options and commands for the parameters of Python."""

from __future__ import annotations

import json
import re
from typing import Any

from .._show.console import complain, report
from .._show.text import printable
from ..errors import ViConfigurationError, ViError, ViErrorCode
from . import exits

LOGIN = "Run vi-sdk login, set DATATURE_VI_SECRET_KEY, or start a local service with vi-sdk serve."

PHRASES: tuple[tuple[str, str], ...] = (
    ("client.datasets.list()", "vi-sdk datasets ls"),
    ("client.assets.list(dataset_id)", "vi-sdk assets ls DATASET"),
    ("failure_mode='FailAfterAll' tries every file", "leave out --fail-fast to try every file"),
    ("names='relative', or pass a function as names", "--names relative"),
    ("on_asset_overwritten='KeepLinkedResource'", "--keep-annotations"),
    ("table names files", "FILE names files"),
    (
        "follow_links and a function as names apply to uploads only; leave them out for direction='down'",
        "--follow-links applies to uploads only; leave it out with --direction down",
    ),
    (", or pass allow_http=True if the network is your own", ""),
    ("Give asset_ids or a filter", "Give --asset or a selection (--filter, --query)"),
    ("as save_dir", "as DIR"),
    ("another save_dir", "another folder"),
    ("Make the same call again", "Run the same command again"),
    ("make the same call again", "run the same command again"),
    ("vi.transfers lists", "vi-sdk transfers ls lists"),
    ("Make one with upload, download or sync and plan=", "Make one with: vi-sdk plan split"),
    ("RunStatus.of(run).left lists what is to be run", "vi-sdk plan status lists what is to be run"),
    ("RunStatus.of(run) tells what failed", "vi-sdk plan status tells what failed"),
    ("shard must be", "--shard must be"),
    ("plan takes files and addresses only", "RUN takes files and addresses only"),
    ("Save it as a file first, or upload it without plan", "Save it as a file first"),
    ("or config_file=", "or --config"),
    ("with config_file=", "with --config"),
    (
        "Check DATATURE_VI_SECRET_KEY or the secret_key argument; the key may be revoked",
        "Run vi-sdk login, or check DATATURE_VI_SECRET_KEY; the key may be revoked",
    ),
    ("Give another port; 0 takes a free one", "Give another --port; 0 takes a free one"),
    ("pass organization_id=", "give --organization"),
    (
        "pass secret_key=, or use Client.local() for the local service",
        "or run vi-sdk login; vi-sdk serve runs a local service",
    ),
    ("; Client.local() needs none", ""),
)
"""Python's words for what a command line says otherwise."""

SERVICE = (("filter: The filter", "--filter: the filter"), ("metadataQuery: Column", "--query, column"))
"""The service's names of its parameters."""

PARAMETERS = {
    "asset_id": "ASSET",
    "asset_ids": "--asset",
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

ADVICE = re.compile(r"""\b([a-z]+(?:_[a-z]+)*)=(?:(['"])([\w-]+)\2|True\b)""")
"""A parameter with its value, as Python gives it."""

_PARAMETER = re.compile(rf"(?<![\w.'\"-])(?:{'|'.join(PARAMETERS)})(?![\w'\"])")


def in_words_of_the_command_line(text: str) -> str:
    """Return a text of the library as the command line says it."""
    for python, ours in (*PHRASES, *SERVICE):
        text = text.replace(python, ours)
    text = ADVICE.sub(_as_option, text)
    return _PARAMETER.sub(lambda found: PARAMETERS[found[0]], text)


def _as_option(found: re.Match[str]) -> str:
    option = f"--{found[1].replace('_', '-')}"
    return f"{option} {found[3]}" if found[3] else option


def tell(error: BaseException, code: int, *, as_json: bool) -> None:
    """Say on stderr what went wrong, as JSON if that was asked for; *code* is the exit code."""
    if as_json:
        complain(json.dumps(document_of(error, code), default=str), whole=True)
    elif isinstance(error, ViError):
        report(text_of(error))
    elif isinstance(error, OSError):
        report(printable(f"{error.filename or 'the system'}: {error.strerror or error}"))
    else:
        report(printable(str(error)))


def text_of(error: ViError) -> str:
    """Return what to print of an error."""
    if _is_unset(error):
        return f"{error.message} {_login(error)}"
    if error.status_code is not None and error.status_code < 500:
        # What is wrong is in the message; the id of the request is in the log and under --json.
        stop = "" if error.message.endswith((".", "?", "!")) else "."
        return in_words_of_the_command_line(f"{error.message}{stop} {error.suggestion or ''}".rstrip())
    return in_words_of_the_command_line(str(error))


def document_of(error: BaseException, code: int) -> dict[str, Any]:
    """Return what ``--json`` prints of an error; *code* is the exit code."""
    if isinstance(error, ViError):
        inner = error.to_dict()
        inner["message"] = in_words_of_the_command_line(error.message)
        if error.suggestion:
            inner["suggestion"] = _login(error) if _is_unset(error) else in_words_of_the_command_line(error.suggestion)
    elif isinstance(error, exits.WrongUseError):
        inner = {"type": "UsageError", "message": str(error)}
        if error.see:
            inner["suggestion"] = f"See: {error.see}"
    else:
        inner = {"type": type(error).__name__, "message": str(error)}
    return {"error": {**inner, "exit_code": code}}


def _login(error: ViError) -> str:
    return LOGIN.replace("SECRET_KEY", "ORGANIZATION_ID") if "organization" in error.message else LOGIN


def _is_unset(error: ViError) -> bool:
    return isinstance(error, ViConfigurationError) and error.error_code == ViErrorCode.MISSING_REQUIRED_FIELD
