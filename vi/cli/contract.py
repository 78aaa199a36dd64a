"""``doctor --contract``: hold a service against the wire contract, row by row."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .._show.console import complain, say
from .._show.text import aligned, styled, wrapped
from .._show.writer import columns_of
from . import exits, options
from .output import as_json

if TYPE_CHECKING:
    from ..contract import Finding, Report

_COLOURS = {"holds": "green", "handled": "yellow", "risk": "red"}
_WIDTHS = [24, 0]


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``doctor``."""
    group = parser.add_argument_group("contract")
    group.add_argument(
        "--contract",
        nargs="?",
        const="",
        metavar="DATASET",
        help="check every answer of the service against the wire contract, reading this dataset or the first",
    )
    group.add_argument("--write", action="store_true", help="with --contract: also write, in a dataset of its own")
    group.add_argument("--slow", action="store_true", help="with --write: wait until an upload URL has expired")
    group.add_argument(
        "--report", metavar="FILE", help="with --contract: write JSON lines to FILE, and a summary to FILE.md"
    )


def is_asked(given: argparse.Namespace) -> bool:
    """Tell whether the contract is to be checked; refuse options that need it."""
    if given.contract is not None:
        if given.slow and not given.write:
            raise exits.WrongUseError("--slow needs --write.")
        return True
    for option in ("write", "slow", "report"):
        if getattr(given, option):
            raise exits.WrongUseError(f"--{option} needs --contract.")
    return False


def run(given: argparse.Namespace) -> int:
    """Check the contract, showing each row as it comes."""
    import vi.contract

    def show(one: Finding) -> None:
        if given.json:
            say(as_json(one.to_dict()))
        elif not given.quiet or one.means == "risk":
            _show(one)

    with options.open_client(given) as client:
        report = vi.contract.check(client, given.contract or None, write=given.write, slow=given.slow, on_finding=show)
    if given.report:
        _save(report, Path(given.report).expanduser())
    if not given.quiet:
        complain(report.summary())
    if report.left:
        complain(report.left)
    return exits.DONE if report.ok else exits.FAILED


def _show(one: Finding) -> None:
    state = one.means if one.outcome == "differs" else one.outcome
    (line,) = aligned([(one.rule, one.came)], left={0, 1}, widths=_WIDTHS)
    columns = columns_of(sys.stdout)
    first, *rest = wrapped(f"{state:<8}  {line}", columns, hang=10)
    say("\n".join([styled(first[:8], _COLOURS.get(state, "bold"), sys.stdout) + first[8:], *rest]))
    if one.outcome == "differs":
        touches = f"; touches {one.feature}" if one.feature else ""
        begin = " " * (10 if columns and columns < 100 else 12 + _WIDTHS[0])
        told = f"{begin}{one.asked}: contract {one.section} says {one.expected}{touches}"
        say("\n".join(wrapped(told, columns)))


def _save(report: Report, path: Path) -> None:
    try:
        path.write_text("".join(f"{line}\n" for line in report.lines()), "utf-8")
        path.with_name(path.name + ".md").write_text(report.markdown(), "utf-8")
    except OSError as error:
        raise exits.WrongUseError(f"--report {path}: {error.strerror}.") from None
