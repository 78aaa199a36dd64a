"""The command line, ``vi-sdk`` and ``python -m vi``: thin verbs over the public API.

Data goes to stdout, everything else to stderr. The exit codes are in `exits`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from .._redact import redact
from .._show.console import complain, log_as_asked, report
from .._version import __version__
from ..errors import ViConfigurationError, ViError, ViErrorCode
from . import account, assets, compare, completion, config, datasets, demo, doctor, exits, moves, serve, transfers
from .options import VerbParser, add_group

EXAMPLE = """example:
  vi-sdk serve --data ./vi-data --env-file vi.env &     # a service of your own; then: set -a; . ./vi.env
  DATASET=$(vi-sdk datasets create "street signs" --quiet)
  vi-sdk assets upload "$DATASET" ./images
  vi-sdk assets download "$DATASET" ./copy
"""

ENVIRONMENT = """environment:
  DATATURE_VI_SECRET_KEY, DATATURE_VI_ORGANIZATION_ID, DATATURE_VI_API_ENDPOINT   the service (or: vi-sdk login)
  VI_CONFIG, VI_PROFILE, VI_CACHE_DIR    settings file, profile, folder of unfinished transfers
  VI_LOG=info|debug, VI_PROGRESS=0       log on stderr, no progress; NO_COLOR, FORCE_COLOR and CI are honoured
"""

LOGIN = "Run vi-sdk login, set DATATURE_VI_SECRET_KEY, or start a local service with vi-sdk serve."


def build_parser() -> VerbParser:
    """Return the parser with every verb."""
    parser = VerbParser(
        prog="vi-sdk",
        description="Move image datasets to and from a Vi dataset service.",
        epilog=f"{EXAMPLE}\n{exits.TEXT}\n\n{ENVIRONMENT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vi-sdk {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    datasets.add_to(verbs)
    group = add_group(verbs, "assets", "list, upload, download, compare and delete assets")
    for module in (assets, moves, compare):
        module.add_to(group)
    for module in (transfers, account, config, doctor, serve, demo, completion):
        module.add_to(verbs)
    parser.set_defaults(whole=parser)  # completion describes it
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _hold_standard_descriptors()
    _let_anything_be_printed()
    given = build_parser().parse_args(argv)
    try:
        log_as_asked()
        code: int = given.run(given)
    except KeyboardInterrupt:
        complain("interrupted")
        if hint := getattr(given, "hint", None):
            complain(hint(given))
        return exits.INTERRUPTED
    except exits.WrongUseError as error:
        report(str(error))
        return exits.WRONG_USE
    except ViError as error:
        unset = isinstance(error, ViConfigurationError) and error.error_code == ViErrorCode.MISSING_REQUIRED_FIELD
        report(f"{error.message} {LOGIN}" if unset else str(error))
        if error.partial_result is not None:
            complain(error.partial_result.summary())
        return exits.of_error(error)
    except OSError as error:
        report(f"{error.filename or 'the system'}: {error.strerror or error}")
        return exits.FATAL
    except Exception:  # noqa: BLE001 - whatever it is, its text may hold a secret, and a script needs an exit code
        report("a defect of vi-sdk; please report it with these lines:")
        complain(redact(traceback.format_exc()))
        return exits.FATAL
    return code


def _let_anything_be_printed() -> None:
    stream: Any
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")


def _hold_standard_descriptors() -> None:
    """Open what was closed from the start: a connection must not get the number that others take for their output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
