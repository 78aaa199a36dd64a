"""``assets upload`` and ``assets download``."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._show.console import complain, say
from .._show.text import printable
from . import exits, options, output, plans, refusals
from .output import show_document

if TYPE_CHECKING:
    from ..api.resources.datasets.assets.plans import TransferPlan


def add_to(group: options.Verbs[options.VerbParser]) -> None:
    """Add the verbs to the group."""
    _add_upload(group)
    _add_download(group)


def _add_upload(group: options.Verbs[options.VerbParser]) -> None:
    parser = options.add_verb(
        group,
        "upload",
        "upload files and folders to a dataset",
        """  vi-sdk assets upload \"$DATASET\" ./images --exclude '*.gif' --metadata camera=north
  vi-sdk assets upload "$DATASET" ./images --skip-existing --dry-run
  vi-sdk assets upload "$DATASET" ./images --plan plan.jsonl
  vi-sdk assets upload "$DATASET" --apply plan.jsonl --shard 1/4
""",
        description="Upload files and folders to a dataset. Every file is tried; a failure does not stop the others.",
    )
    options.add_dataset(parser)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="file or folder")
    parser.add_argument("--skip-existing", action="store_true", help="skip files that the dataset already has")
    parser.add_argument("--fail-fast", action="store_true", help="stop at the first file that fails")
    parser.add_argument("--no-wait", action="store_true", help="return once the bytes are accepted; see assets wait")
    options.add_retention(parser)
    parser.add_argument("--concurrency", type=options.count, metavar="N", help="upper limit of concurrent transfers")
    options.add_moving(parser)
    options.add_patterns(parser)
    options.add_naming(parser)
    parser.add_argument(
        "--detect",
        choices=("extension", "content"),
        default="extension",
        help="what tells the type of an image: its extension, or its first bytes (default: %(default)s)",
    )
    options.add_metadata(parser)
    plans.add_to(parser)
    options.finish(parser, upload, ids="ids of the upload sessions only")


def _add_download(group: options.Verbs[options.VerbParser]) -> None:
    parser = options.add_verb(
        group,
        "download",
        "download assets of a dataset into a folder",
        """  vi-sdk assets download \"$DATASET\" ./copy
  vi-sdk assets download "$DATASET" ./copy --include '*.png' --overwrite --dry-run
""",
    )
    options.add_dataset(parser)
    parser.add_argument("folder", metavar="DIR", help="folder to save in")
    parser.add_argument("--overwrite", action="store_true", help="replace local files with other content")
    parser.add_argument("--asset", action="append", metavar="ASSET", help="id of an asset to take; repeatable")
    parser.add_argument("--limit", type=options.count, metavar="N", help="take at most N")
    parser.add_argument("--concurrency", type=options.count, metavar="N", help="upper limit of concurrent transfers")
    options.add_moving(parser)
    options.add_selection(parser)
    options.add_patterns(parser)
    plans.add_to(parser)
    options.finish(parser, download, ids="print only failures")


def expand_patterns(paths: Sequence[str], *, system: str = sys.platform) -> list[str]:
    """Return *paths* with patterns replaced by what they match, which the shells of Windows do not do."""
    if system != "win32":
        return list(paths)
    found: list[str] = []
    for path in paths:
        pattern = not os.path.lexists(path) and glob.has_magic(path)
        found += sorted(glob.glob(path)) or [path] if pattern else [path]  # noqa: PTH207
    return found


def upload(given: argparse.Namespace) -> int:
    """Upload."""
    if not given.paths and not given.apply:
        raise exits.WrongUseError("upload needs PATH... or --apply FILE")
    given.paths = expand_patterns(given.paths)
    planned = plans.is_asked(given)
    for name in ("no_wait", "fail_fast", "concurrency") if planned else ():
        if getattr(given, name):
            raise exits.WrongUseError(f"--{name.replace('_', '-')} is not for plans and shards")
    if planned and given.detect != "extension":
        raise exits.WrongUseError("--detect is not for plans and shards")
    what: dict[str, Any] = {
        "names": given.names,
        "include": given.include,
        "exclude": given.exclude,
        "follow_links": given.follow_links,
        "skip_existing": given.skip_existing,
        "custom_metadata": options.custom_metadata(given),
        "on_unmatched": given.on_unmatched,
        "on_asset_overwritten": options.retention(given),
        "failure_mode": "FailAfterOne" if given.fail_fast else "FailAfterAll",
    }
    with options.open_client(given) as client:
        if planned:

            def make() -> TransferPlan:
                plan = client.assets.upload(given.dataset, given.paths, dry_run=True, **what).plan
                assert plan is not None
                return plan

            return plans.carry_out(given, client, "up", make)
        result = client.assets.upload(
            given.dataset,
            given.paths,
            wait_until_done=not given.no_wait,
            detect=given.detect,
            max_concurrency=given.concurrency,
            timeout=given.timeout,
            show_progress=not (given.no_progress or given.quiet),
            **what,
        )
    return tell_upload(given, result)


def tell_upload(given: argparse.Namespace, result: Any) -> int:
    """Report an upload."""
    sheet = result._sheet()
    if not result.total_files and not given.fail_if_nothing:
        problem = exits.WrongUseError(
            f"No images or videos to upload in {', '.join(given.paths[:5])}. See what was left out:"
        )
        refusals.tell(problem, exits.WRONG_USE, as_json=given.json)
        for note in sheet.notes:
            complain(f"  {note}")
        if given.json:
            show_document(result.to_dict())
        return exits.WRONG_USE
    output.tell_counts(given, sheet, sheet.notes)
    if given.json:
        show_document(result.to_dict())
    elif given.quiet:
        if result.session_ids:
            say("\n".join(map(printable, result.session_ids)))
    elif given.no_wait:
        for session_id in result.session_ids:
            complain(f"  not waited for: vi-sdk assets wait {given.dataset} {session_id}")
    output.tell_failures(result.failures)
    if result.failures or result.total_cancelled:
        return exits.of_failures(result.failures) or exits.FAILED
    return plans.nothing(given, not result.total_succeeded)


def download(given: argparse.Namespace) -> int:
    """Download."""
    if given.apply and (given.asset or given.filter or given.query or given.include or given.exclude or given.limit):
        raise exits.WrongUseError("a selection is not for --apply: the plan has one")
    what: dict[str, Any] = {
        "overwrite": given.overwrite,
        "asset_ids": given.asset,
        "include": given.include,
        "exclude": given.exclude,
        "limit": given.limit,
        **options.selection(given),
    }
    with options.open_client(given) as client:
        if plans.is_asked(given):

            def make() -> TransferPlan:
                plan = client.assets.download(given.dataset, given.folder, dry_run=True, **what).plan
                assert plan is not None
                return plan

            return plans.carry_out(given, client, "down", make)
        result = client.assets.download(
            given.dataset,
            given.folder,
            max_concurrency=given.concurrency,
            timeout=given.timeout,
            show_progress=not (given.no_progress or given.quiet),
            raise_on_failure=False,
            **what,
        )
    return tell_download(given, result)


def tell_download(given: argparse.Namespace, result: Any) -> int:
    """Report a download."""
    output.tell_counts(given, result._sheet())
    if given.json:
        show_document(result.to_dict())
    elif not given.quiet:
        if result.renamed:
            complain(f"  {len(result.renamed):,} saved under another name")
        output.tell_notes(result.notes)
    different, blocked = result._conflicts_by_kind
    if different:
        complain("  Local files with other content were kept; --overwrite replaces them:")
        output.tell_failures(different)
    if blocked:
        complain("  Not saved, because something else has the name or the folder; move it, or save to another folder:")
        output.tell_failures(blocked)
    output.tell_failures(result.failures)
    if result.failures or result.conflicts or result.total_cancelled:
        return exits.of_failures(result.failures) or exits.FAILED
    return plans.nothing(given, not result.total_downloaded)
