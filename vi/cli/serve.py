"""``serve``: keep a local service running."""

from __future__ import annotations

import argparse

from .._show.console import say
from .._show.text import printable
from . import options

EXAMPLE = """  vi-sdk serve --data ./vi-data --port 0 --env-file vi.env
  set -a; . ./vi.env      # in another shell: now vi.Client() finds it
"""


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verb to the parser."""
    parser = options.add_verb(
        verbs,
        "serve",
        "run the local service until Ctrl+C",
        EXAMPLE,
        description="Run the local service over a folder until SIGTERM or Ctrl+C.",
    )
    parser.add_argument("--data", default="./vi-data", metavar="DIR", help="folder to serve (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8787, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--env-file", metavar="FILE", help="write the three DATATURE_VI_* settings here once ready")
    parser.add_argument("--public-url", metavar="URL", help="address that clients use, for signed URLs")
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="accept this host name too; repeatable"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Serve."""
    from ..server import ServiceConfig
    from ..server import run as serve

    config = ServiceConfig(public_url=given.public_url, allowed_hosts=given.allowed_host)
    return serve(given.data, given.host, given.port, given.env_file, _announce, config=config)


def _announce(line: str) -> None:
    say(printable(line))
