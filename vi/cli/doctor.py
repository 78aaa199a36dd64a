"""``doctor``: look at everything that transfers depend on, and say what to do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .._show.console import say
from .._show.text import aligned, printable, styled, wrapped
from .._show.writer import columns_of
from .._version import __version__
from ..errors import ViError
from . import contract, exits, options
from .account import source_of, variables
from .output import as_json, fields_of

if TYPE_CHECKING:
    from .checks import Check

NAMES = 17
"""How wide the names of the checks are: ``extra distributed`` is the longest."""

_COLOURS = {"ok": "green", "note": "bold", "warn": "yellow", "fail": "red"}


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verb to the parser."""
    parser = options.add_verb(
        verbs,
        "doctor",
        "check settings, service, clock, proxy, checksums, disk and limits, and say what to do",
        "  vi-sdk doctor\n  vi-sdk doctor --contract\n",
        description="Check what transfers depend on, and say what to do; exit code 1 if anything fails.",
    )
    contract.add_to(parser)
    options.finish(parser, run, ids="failures only")


def run(given: argparse.Namespace) -> int:
    """Check everything, showing each finding as it comes."""
    if contract.is_asked(given):
        return contract.run(given)
    failed = False
    for check in look(given):
        failed = failed or check.state == "fail"
        if given.json:
            say(as_json(fields_of(check)))
        elif not given.quiet or check.state == "fail":
            _show(check)
    return exits.FAILED if failed else exits.DONE


def _show(check: Check) -> None:
    columns = columns_of(sys.stdout)
    begin = len(check.state.ljust(4)) + 2 + NAMES + 2
    hang = begin if columns is None or columns >= 2 * begin else 6
    (line,) = aligned([(f"{check.state:<4}", check.name, check.found)], left={0, 1, 2}, widths=[4, NAMES, 0])
    first, *rest = wrapped(line, columns, hang=hang)
    say("\n".join([styled(first[:4], _COLOURS[check.state], sys.stdout) + first[4:], *rest]))
    if check.advice and check.state != "ok":
        say("\n".join(wrapped(" " * hang + printable(check.advice), columns, hang=hang)))


def look(given: argparse.Namespace) -> Iterator[Check]:
    """Do every check."""
    import platform
    from pathlib import Path

    import vi
    import vi.transfers

    from .._paths import current_folder
    from ..config import RetryPolicy, Timeouts, default_config_path, find_settings
    from . import checks
    from .checks import Check

    yield Check("version", "ok", f"vi {__version__}, Python {platform.python_version()}, {platform.platform()}")
    try:
        found = find_settings(
            organization_id=given.organization, endpoint=given.endpoint, config_file=given.config, profile=given.profile
        )
        client = vi.Client(
            organization_id=given.organization,
            endpoint=given.endpoint,
            config_file=given.config,
            profile=given.profile,
            retries=RetryPolicy(max_attempts=2, connect_patience=2.0, retry_after_max=2.0),
            timeouts=Timeouts(request=checks.PATIENCE),
        )
    except ViError as error:
        yield Check("settings", "fail", error.message, f"Run vi-sdk login, or set {', '.join(variables().values())}.")
    else:
        yield Check("settings", "ok", f"key from {source_of('secret_key', found['secret_key'].source)}")
        with client:
            yield from checks.service(client)
    yield from checks.private("settings file", Path(given.config) if given.config else default_config_path())
    yield from checks.private("cache", vi.transfers.folder(), written=True)
    yield checks.crc()
    yield checks.extensions()
    yield checks.folder("cache", vi.transfers.folder(), "Set VI_CACHE_DIR: without it, interrupted uploads start over.")
    place = current_folder()
    if place is None:
        yield Check("this folder", "fail", "the current folder was deleted", "Change to another folder.")
    else:
        yield checks.folder("this folder", Path(place), "Change to another folder for downloads.")
    yield checks.open_files()
    yield from checks.decoders()
    yield from checks.extras()
    yield from checks.others()
