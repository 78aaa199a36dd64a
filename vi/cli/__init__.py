"""The command line, ``vi-sdk`` and ``python -m vi``: thin verbs over the public API.

Exit codes: 0 all done, 1 some or all files failed, 2 wrong use, 3 authentication or permission, 4 not found,
5 temporary and worth another run, 7 will not get better by itself, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .. import __version__
from .._terminal import complain
from ..errors import (
    ViAuthenticationError,
    ViConfigurationError,
    ViDownloadError,
    ViError,
    ViNotFoundError,
    ViPermissionError,
    ViUploadError,
    ViValidationError,
)
from . import demo, serve

INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every verb."""
    parser = argparse.ArgumentParser(prog="vi-sdk", description="Move image datasets to and from a Vi dataset service.")
    parser.add_argument("--version", action="version", version=f"vi-sdk {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (serve, demo):
        group.add_to(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = build_parser().parse_args(argv)
    try:
        code: int = given.run(given)
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except ViError as error:
        complain(f"error: {error}")
        return exit_code(error)
    return code


def exit_code(error: ViError) -> int:
    """Return the exit code that tells a script what kind of failure this is."""
    if isinstance(error, (ViAuthenticationError, ViPermissionError)):
        return 3
    if isinstance(error, ViNotFoundError):
        return 4
    if error.is_retryable():
        return 5
    if isinstance(error, (ViUploadError, ViDownloadError)):
        return 1
    if isinstance(error, (ViValidationError, ViConfigurationError)):
        return 2
    return 7
