"""``--dry-run``, ``--plan``, ``--apply`` and ``--shard``: a transfer as a plan that is shown, saved, cut or done."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from .._show.console import complain, printable, report
from . import exits, options, output
from .output import Columns, show_document, show_items

if TYPE_CHECKING:
    from ..api.resources.datasets.assets.plans import TransferPlan
    from ..api.resources.datasets.assets.sync.run import SyncResult
    from ..client import Client

COLUMNS = Columns(
    ("ACTION", "NAME", "SIZE", "REASON"),
    lambda entry: (entry.action, entry.filename, output.size(entry.size), entry.reason),
    lambda entry: str(entry.asset_id or entry.filename),
    frozenset({2}),
    lambda entry: attrs.asdict(entry, filter=lambda _, value: value is not None),
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("plan")
    group.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    group.add_argument("--plan", metavar="FILE", help="save what would be done, and do nothing")
    group.add_argument("--apply", metavar="FILE", help="do what a saved plan says")
    group.add_argument(
        "--shard", type=shard, metavar="I/N", help="do only part I of N, counted from 1; each name is in one part"
    )


def shard(text: str) -> tuple[int, int]:
    """Read ``I/N``."""
    first, sign, second = text.partition("/")
    if not (sign and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, got {text!r}")
    return int(first), int(second)


def is_asked(given: argparse.Namespace) -> bool:
    """Tell whether a plan is needed."""
    return bool(given.dry_run or given.plan or given.apply or given.shard)


def load(given: argparse.Namespace, direction: str) -> TransferPlan:
    """Read the saved plan, and refuse one that is for something else."""
    from ..api.resources.datasets.assets.plans import TransferPlan

    plan = TransferPlan.load(given.apply)
    if plan.dataset_id != given.dataset:
        raise exits.WrongUseError(f"{given.apply} is a plan for dataset {plan.dataset_id}, not {given.dataset}")
    if plan.direction != direction:
        raise exits.WrongUseError(f"{given.apply} is a plan to transfer {plan.direction}, not {direction}")
    return plan


def carry_out(
    given: argparse.Namespace,
    client: Client,
    direction: str,
    make: Callable[[], TransferPlan],
    **how: Any,
) -> int:
    """Show, save or do a plan, as the options ask."""
    plan = load(given, direction) if given.apply else make()
    if given.shard:
        index, parts = given.shard
        plan = plan.shard(index - 1, parts)
    if given.plan:
        plan.save(given.plan)
        if not given.quiet:
            complain(printable(f"Saved to {given.plan}: {headline(plan)}. Nothing was done."))
            output.tell_notes(plan.notes)
        return nothing(given, len(plan) == plan.counts.get("keep", 0))
    if given.dry_run:
        show_items(given, plan, COLUMNS, none="")
        if not given.json and not given.quiet:
            complain(f"{headline(plan)}. Nothing was done.")
            output.tell_notes(plan.notes)
        return nothing(given, len(plan) == plan.counts.get("keep", 0))
    if plan.deletions:
        if not hasattr(given, "max_delete"):
            raise exits.WrongUseError(f"the plan deletes {plan.deletions}: use assets sync --apply")
        if plan.deletions > given.max_delete:
            report(f"{plan.deletions} would be deleted, more than --max-delete {given.max_delete}; nothing was done.")
            return exits.FATAL
        if not options.confirm(_question(plan), given):
            complain("Nothing was done.")
            return exits.FAILED
    result = client.assets.apply(
        plan, timeout=given.timeout, show_progress=not (given.no_progress or given.quiet), **how
    )
    return tell(given, result)


def headline(plan: TransferPlan) -> str:
    """Return the sums of a plan on one line."""
    return plan.summary().split("\n", 1)[0]


def _question(plan: TransferPlan) -> str:
    what = "assets of the dataset" if plan.direction == "up" else "files of the folder"
    return f"Delete {plan.deletions} {what}, for good?"


def tell(given: argparse.Namespace, result: SyncResult) -> int:
    """Report what became of a plan."""
    if given.json:
        show_document(result.to_dict())
    moved = [part for part in (result.upload, result.download) if part is not None]
    if not given.quiet and not given.json:
        complain(f"{result.plan.existing} files were the same on both sides.")
        for part in moved:
            complain(printable(part.summary().split("\n", 1)[0]))
        output.tell_notes(result.plan.notes)
        if result.deleted:
            complain(f"{result.deleted} deleted.")
    kept = [entry for entry in result.plan if entry.action == "keep"]
    for entry in kept[: output.LISTED]:
        complain(printable(f"  {entry.path or entry.filename}: left alone: {entry.reason}"))
    failures = [failure for part in moved for failure in part.failures] + result.failures
    output.tell_failures(failures)
    code = exits.of_failures(failures)
    if code == exits.DONE and (kept or not result.ok):
        return exits.FAILED
    return code or nothing(given, len(result.plan) == 0)


def nothing(given: argparse.Namespace, there_was_nothing: bool) -> int:
    """Return the exit code of a transfer without failures."""
    return exits.NOTHING if there_was_nothing and given.fail_if_nothing else exits.DONE
