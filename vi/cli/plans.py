"""``--dry-run``, ``--plan``, ``--apply`` and ``--shard``: a transfer as a plan that is shown, saved, cut or done."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._redact import brief
from .._show.console import complain
from .._show.text import printable
from .._show.units import several
from ..errors import ViOperationError
from . import exits, options, output, refusals
from .output import Columns, show_items

if TYPE_CHECKING:
    from ..api.resources.datasets.assets.plans import TransferPlan
    from ..api.resources.datasets.assets.sync.run import SyncResult
    from ..client import Client

COLUMNS = Columns(
    ("ACTION", "NAME", "SIZE", "REASON"),
    lambda entry: (entry.action.replace("_", " "), entry.filename, output.size(entry.size), entry.reason),
    lambda entry: str(entry.asset_id or entry.filename),
    frozenset({2}),
    lambda entry: {name: value for name, value in output.fields_of(entry).items() if value is not None},
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("plan")
    group.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    group.add_argument("--plan", metavar="FILE", help="save what would be done, and do nothing")
    group.add_argument("--apply", metavar="FILE", help="carry out a saved plan, in the folder that is named here")
    group.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="do only part I of N, counted from 1; each name is in one part, deletions are in none",
    )


def shard(text: str) -> tuple[int, int]:
    """Read ``I/N``."""
    first, sign, second = text.partition("/")
    if not (sign and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, got {brief(text)}")
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
    check_places(plan, given)
    return plan


def check_places(plan: TransferPlan, given: argparse.Namespace) -> None:
    """Refuse a plan that would touch anything outside the folder of the command line: the command line decides."""
    named = getattr(given, "paths", None) or [getattr(given, "folder", ".")]
    roots = [Path(path).resolve() for path in named]
    if plan.folder and hasattr(given, "folder") and Path(plan.folder).resolve() not in roots:
        raise exits.WrongUseError(f"{given.apply} is a plan for the folder {plan.folder}, not {given.folder}")
    for entry in plan:
        if entry.action == "delete_asset" or not entry.path:
            continue
        path = Path(entry.path)
        # A link is followed where that was asked for, and its own place counts then.
        place = Path(os.path.abspath(path)) if getattr(given, "follow_links", False) else path.resolve()  # noqa: PTH100
        if not any(place.is_relative_to(root) for root in roots):
            where = ", ".join(str(path) for path in named)
            hint = "; name its folder: upload DATASET PATH --apply FILE" if not hasattr(given, "folder") else ""
            raise exits.WrongUseError(f"{given.apply} names {entry.path}, which is not below {where}{hint}")
    replaced = sum(entry.action == "download" and entry.mtime_ns is not None for entry in plan)
    if replaced and not getattr(given, "overwrite", True):
        raise exits.WrongUseError(f"{given.apply} replaces {several(replaced, 'local file')}: add --overwrite")


def carry_out(
    given: argparse.Namespace,
    client: Client,
    direction: str,
    make: Callable[[], TransferPlan],
) -> int:
    """Show, save or do a plan, as the options ask."""
    # A plan that was just made holds what the options say of annotations and metadata.
    how: dict[str, Any] = {}
    if given.apply and direction == "up":
        how["on_asset_overwritten"] = options.retention(given) if given.keep_annotations else None
        how["custom_metadata"] = options.custom_metadata(given)
        how["on_unmatched"] = given.on_unmatched
    plan = load(given, direction) if given.apply else make()
    if given.shard:
        index, parts = given.shard
        plan = plan.shard(index - 1, parts)
    if given.plan:
        plan.save(given.plan)
        if not given.quiet:
            complain(printable(f"Saved to {given.plan}: {plan}. Nothing was changed."))
            output.tell_notes(plan.notes)
        return nothing(given, len(plan) == plan.counts.get("keep", 0))
    if given.dry_run:
        show_items(given, plan, COLUMNS, none="")
        if not given.json and not given.quiet:
            complain(printable(f"{plan}. Dry run: nothing was changed."))
            output.tell_notes(plan.notes)
        return nothing(given, len(plan) == plan.counts.get("keep", 0))
    if plan.deletions:
        if not hasattr(given, "max_delete"):
            raise exits.WrongUseError(f"the plan deletes {plan.deletions}: use assets sync --apply")
        if plan.deletions > given.max_delete:
            problem = ViOperationError(
                f"{plan.deletions} would be deleted, more than --max-delete {given.max_delete}; nothing was changed."
            )
            refusals.tell(problem, exits.FATAL, as_json=given.json)
            return exits.FATAL
        if not options.confirm(_question(plan), given):
            complain("Nothing was changed.")
            return exits.FAILED
    result = client.assets.apply(
        plan, timeout=given.timeout, show_progress=not (given.no_progress or given.quiet), **how
    )
    return tell(given, result)


def _question(plan: TransferPlan) -> str:
    what = ("asset", "the dataset") if plan.direction == "up" else ("file", "the folder")
    return f"Delete {several(plan.deletions, what[0])} of {what[1]} permanently?"


def tell(given: argparse.Namespace, result: SyncResult) -> int:
    """Report what became of a plan."""
    output.tell_result(given, result)
    code = exits.of_failures(result.all_failures)
    if code == exits.DONE and not result.ok:
        return exits.FAILED
    return code or nothing(given, len(result.plan) == 0)


def nothing(given: argparse.Namespace, there_was_nothing: bool) -> int:
    """Return the exit code of a transfer without failures."""
    return exits.NOTHING if there_was_nothing and given.fail_if_nothing else exits.DONE
