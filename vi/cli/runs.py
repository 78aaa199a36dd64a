"""``plan split``, ``run``, ``status`` and ``finish``: a plan in shards, for many machines."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from .._redact import brief
from .._show.console import complain, say
from .._show.units import several
from ..errors import ViOperationError
from . import exits, options, output, refusals

if TYPE_CHECKING:
    from ..runs import RunStatus, ShardReport

ARRAYS = ("SLURM_ARRAY_TASK_ID", "AWS_BATCH_JOB_ARRAY_INDEX", "JOB_COMPLETION_INDEX")
"""Variables in which a batch system tells a task its number."""


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verbs to the parser."""
    group = options.add_group(verbs, "plan", "upload, download or sync in shards on many machines")
    _add_split(group)

    parser = options.add_verb(
        group,
        "run",
        "carry out a shard, or all that are left",
        """  vi-sdk plan split ./run "$DATASET" ./images --shards 4
  vi-sdk plan run ./run --shard 0
  vi-sdk plan run ./run --processes 2
""",
        description="Carry out one shard of a run, or with --processes all that are left. The number of the shard, from "
        f"0, is --shard or that of the task of an array: {', '.join(ARRAYS)}.",
    )
    _add_run(parser)
    parser.add_argument("--shard", type=index, metavar="I", help="number of the shard, from 0")
    parser.add_argument(
        "--offset", type=index, default=0, metavar="K", help="add K to the number, for arrays that must be short"
    )
    parser.add_argument("--processes", type=options.count, metavar="N", help="carry out all shards, N at once")
    options.finish(parser, run, ids="print only failures", connects=False)

    parser = options.add_verb(
        group,
        "status",
        "show which shards are done, failed and missing",
        """  vi-sdk plan split ./run "$DATASET" ./images --shards 4
  vi-sdk plan run ./run --processes 2
  vi-sdk plan status ./run --quiet
""",
        description=f"Show how far a run is. Exit code {exits.FAILED} if a shard is left.",
    )
    _add_run(parser)
    options.finish(parser, status, ids="print only the shards that are left, such as 3,7-9", connects=False)

    parser = options.add_verb(
        group,
        "finish",
        "delete what a run has planned to delete",
        """  vi-sdk plan split ./run "$DATASET" ./images --delete --shards 4
  vi-sdk plan run ./run --processes 2
  vi-sdk plan finish ./run --yes
""",
        description="Delete what a run has planned to delete, once every shard is done, and show the result of the whole.",
    )
    _add_run(parser)
    options.add_consent(parser, of_deletions=False)
    options.finish(parser, finish, ids="print only failures", connects=False)


def _add_split(group: options.Verbs[options.VerbParser]) -> None:
    parser = options.add_verb(
        group,
        "split",
        "write an upload, a download or a sync as a run",
        """  vi-sdk plan split ./run "$DATASET" ./images --shards 8
  vi-sdk plan split ./copies "$DATASET" ./copy --down
""",
        description="Write an upload as a run: a folder of shards that any machine can carry out. With --down it is a "
        "download, with --delete a sync. Nothing is transferred.",
    )
    _add_run(parser)
    options.add_dataset(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="file, folder or address such as s3://bucket/folder")
    parser.add_argument("--shards", type=options.count, metavar="N", help="in how many shards")
    parser.add_argument("--down", action="store_true", help="download into the folder")
    parser.add_argument("--overwrite", action="store_true", help="with --down, replace files with other content")
    parser.add_argument("--delete", action="store_true", help="plan to delete what the other side does not have")
    parser.add_argument(
        "--max-delete",
        type=options.count,
        default=100,
        metavar="N",
        help="refuse to delete more (default: %(default)s)",
    )
    options.add_patterns(parser)
    options.add_naming(parser)
    options.add_metadata(parser)
    options.add_retention(parser)
    options.finish(parser, split, ids="print only the number of shards")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="folder of the run, or its address such as s3://bucket/run")


def index(text: str) -> int:
    """Read a number from 0."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {brief(text)}")
    return int(text)


def split(given: argparse.Namespace) -> int:
    """Write a run."""
    what: dict[str, Any] = {
        "include": given.include,
        "exclude": given.exclude,
        "plan": given.folder,
        "shards": given.shards,
        "show_progress": False,
    }
    going_up: dict[str, Any] = {
        "names": given.names,
        "follow_links": given.follow_links,
        "custom_metadata": options.custom_metadata(given),
        "on_unmatched": given.on_unmatched,
        "on_asset_overwritten": options.retention(given),
    }
    if (given.down or given.delete) and len(given.paths) > 1:
        raise exits.WrongUseError("--down and --delete take one folder")
    if given.overwrite and not given.down:
        raise exits.WrongUseError("--overwrite belongs to --down")
    with options.open_client(given) as client:
        result: Any
        if given.delete:
            how = {"names": given.names} if given.down else going_up
            result = client.assets.sync(
                given.dataset,
                given.paths[0],
                "down" if given.down else "up",
                delete=True,
                max_delete=given.max_delete,
                **how,
                **what,
            )
        elif given.down:
            result = client.assets.download(given.dataset, given.paths[0], overwrite=given.overwrite, **what)
        else:
            result = client.assets.upload(given.dataset, given.paths, **going_up, **what)
    made = result.run
    if given.json:
        output.show_document(made.to_dict())
    elif given.quiet:
        say(str(made.shards))
    sheet = made._sheet()
    output.tell_counts(given, sheet, sheet.notes)
    return exits.DONE


def run(given: argparse.Namespace) -> int:
    """Carry out a shard, or all."""
    from .. import runs

    if given.processes is not None:
        if given.shard is not None or given.offset:
            raise exits.WrongUseError("--processes carries out all shards: leave out --shard and --offset")
        return _tell(given, runs.run_shards(given.folder, processes=given.processes))
    number = given.shard if given.shard is not None else _number_of_task()
    if number is None:
        raise exits.WrongUseError(f"run needs --shard I, --processes N, or one of {', '.join(ARRAYS)}")
    return _tell(given, runs.run_shard(given.folder, number + given.offset))


def _number_of_task() -> int | None:
    for name in ARRAYS:
        if text := os.environ.get(name):
            try:
                return index(text)
            except argparse.ArgumentTypeError as error:
                raise exits.WrongUseError(f"{name}: {error}") from None
    return None


def _tell(given: argparse.Namespace, done: ShardReport | RunStatus) -> int:
    output.tell_result(given, done)
    return exits.DONE if done.ok else exits.of_failures(done.result.all_failures) or exits.FAILED


def status(given: argparse.Namespace) -> int:
    """Show how far a run is."""
    from .. import runs

    found = runs.RunStatus.of(given.folder)
    if given.quiet:
        say(found.array)
    else:
        output.tell_result(given, found)
    return exits.DONE if found.ok else exits.FAILED


def finish(given: argparse.Namespace) -> int:
    """Delete what is planned to be deleted."""
    from .. import runs

    found = runs.RunStatus.of(given.folder)
    plan = found.plan
    if not found.ok:
        problem = ViOperationError(
            f"Nothing was deleted: shards {found.array} of {found.shards} are not done.",
            suggestion="Run them again, then finish.",
        )
        refusals.tell(problem, exits.FAILED, as_json=given.json)
        if given.json:
            output.show_document(found.to_dict())
        return exits.FAILED
    if plan.deletions and not found.finished:
        what = "asset" if plan.direction == "up" else "file"
        if not options.confirm(f"Delete {several(plan.deletions, what)} permanently?", given):
            complain("Nothing was deleted.")
            return exits.FAILED
    result = runs.finish(given.folder)
    output.tell_result(given, result)
    return exits.DONE if result.ok else exits.of_failures(result.all_failures) or exits.FAILED
