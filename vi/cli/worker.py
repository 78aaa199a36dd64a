"""``worker``: look at the files that the services of a folder receive."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._show.console import say
from .._show.text import printable
from . import options, service_options

EXAMPLE = "  vi-sdk worker --data ./vi-data --database $VI_DATABASE\n"


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verb to the parser."""
    parser = options.add_verb(
        verbs,
        "worker",
        "look at uploaded files for services with a PostgreSQL database, until Ctrl+C",
        EXAMPLE,
        description="Look at the files that the services of a folder and its PostgreSQL database receive, until SIGTERM "
        "or Ctrl+C. A worker listens on no port; services look at files as well.",
    )
    parser.add_argument(
        "--data", default="./vi-data", metavar="DIR", help="folder of the services (default: %(default)s)"
    )
    service_options.add_database(parser, "PostgreSQL database of the services (or VI_DATABASE, which hides a password)")
    service_options.add_store(parser)
    parser.add_argument(
        "--decoders",
        type=options.count,
        metavar="N",
        help="number of files to decode at once (default: one per processor)",
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Work."""
    from ..server import ServiceConfig, run_worker

    config = ServiceConfig(
        database=given.database,
        store=given.store,
        store_endpoint=given.store_endpoint,
        inspection_workers=given.decoders,
    )
    return run_worker(given.data, config, _ready)


def _ready(folder: Path) -> None:
    say(printable(f"Looking at the files of {folder}"))
