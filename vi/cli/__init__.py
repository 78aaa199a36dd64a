"""The command line, ``vi-sdk`` and ``python -m vi``: thin verbs over the public API.

Data goes to stdout, everything else to stderr. The exit codes are in `exits`.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from .._redact import redact
from .._show.console import complain, log_as_asked, report
from .._version import __version__
from ..errors import ViError
from . import exits, refusals
from .options import VerbParser, add_commands, add_group, add_verb, commands_within, groups_of

EXAMPLE = """example:
  vi-sdk serve --data ./vi-data --env-file ./vi-data/.env --detach     # a service of your own
  set -a; . ./vi-data/.env
  vi-sdk datasets create "street signs"
  vi-sdk assets upload "street signs" ./images
  vi-sdk assets download "street signs" ./copy
"""

ENVIRONMENT = """environment:
  DATATURE_VI_SECRET_KEY, DATATURE_VI_ORGANIZATION_ID, DATATURE_VI_API_ENDPOINT   the service (or: vi-sdk login)
  VI_CONFIG, VI_PROFILE, VI_CACHE_DIR    settings file, profile, folder of unfinished transfers
  VI_RETRIES=N                           retries of a failed request, 0 for none
  VI_LOG=info|debug, VI_PROGRESS=0       log on stderr, no progress; NO_COLOR, FORCE_COLOR and CI are honoured
"""


_OF_ASSETS = ("assets", "moves", "compare")
_MODULES = {
    "datasets": "datasets",
    "assets": None,
    "plan": "runs",
    "transfers": "transfers",
    "login": "account",
    "whoami": "account",
    "config": "config",
    "doctor": "doctor",
    "serve": "serve",
    "server": "server",
    "worker": "worker",
    "demo": "demo",
    "completion": "completion",
}
"""The module of each command; those of assets have several."""
_ABOUT_ALL = ("completion", "help")


def build_parser(command: str | None = None) -> VerbParser:
    """Return the parser with every command, or what reads the words of one *command* alone, which is made sooner."""
    parser = VerbParser(
        prog="vi-sdk",
        description="Move image datasets to and from a Vi dataset service.",
        epilog=f"{EXAMPLE}\n{exits.TEXT}\n\n{ENVIRONMENT}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"vi-sdk {__version__}")
    verbs = add_commands(parser)
    alone = command in _MODULES and command not in _ABOUT_ALL
    for module in dict.fromkeys([_MODULES[command]] if alone and command is not None else _MODULES.values()):
        group = verbs if module else add_group(verbs, "assets", "list, upload, download, compare and delete assets")
        for name in (module,) if module else _OF_ASSETS:
            importlib.import_module(f".{name}", __name__).add_to(group)
    about = add_verb(verbs, "help", "show the help of a command", "  vi-sdk help assets upload\n")
    about.add_argument("words", nargs="*", metavar="COMMAND", help="the command")
    about.set_defaults(run=lambda given: parser.parse_args([*_whole(parser, given.words), "--help"]))
    parser.set_defaults(whole=parser)  # completion describes it
    return parser


def _whole(parser: VerbParser, words: Sequence[str]) -> list[str]:
    """Return the words of a command with its group, if they leave it out and one group alone has the command."""
    for commands in groups_of(parser) if words else ():
        if words[0] not in commands.choices and len(found := commands_within(commands, words[0])) == 1:
            return [*found[0], *words[1:]]
    return list(words)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if argv is None:
        atexit.register(gc.freeze)  # to search all that was imported for garbage would be a tenth of a short command
    _hold_standard_descriptors()
    _let_anything_be_printed()
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    try:
        given = build_parser(words[0] if words else None).parse_args(words)
        log_as_asked()
        code: int = given.run(given)
    except KeyboardInterrupt as error:
        result = getattr(error, "partial_result", None)
        reached = "." if result is None else f": {result._reached()}. Run the same command again to resume."
        complain(f"Interrupted{reached}")
        return exits.INTERRUPTED
    except exits.WrongUseError as error:
        refusals.tell(error, exits.WRONG_USE, as_json=as_json)
        if error.see and not as_json:
            complain(f"See: {error.see}")
        return exits.WRONG_USE
    except ViError as error:
        code = exits.of_error(error)
        refusals.tell(error, code, as_json=as_json)
        if getattr(error.partial_result, "total_files", error.partial_result) and not as_json:
            complain(error.partial_result.summary())
        return code
    except OSError as error:
        refusals.tell(error, exits.FATAL, as_json=as_json)
        return exits.FATAL
    except Exception:  # noqa: BLE001 - whatever it is, its text may hold a secret, and a script needs an exit code
        report("a defect of vi-sdk; please report it with these lines:")
        complain(redact(traceback.format_exc()), whole=True)
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
