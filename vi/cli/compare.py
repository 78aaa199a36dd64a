"""``assets sync`` and ``assets verify``: a folder beside a dataset."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

from .._show.console import complain, say
from .._show.text import printable
from .._signals import ENDING
from . import exits, options, output, plans
from .output import show_document


def add_to(group: options.Verbs[options.VerbParser]) -> None:
    """Add the verbs to the group."""
    parser = options.add_verb(
        group,
        "sync",
        "make a dataset equal to a folder, or the folder equal to the dataset",
        """  vi-sdk assets sync \"$DATASET\" ./images --dry-run
  vi-sdk assets sync "$DATASET" ./images --delete --max-delete 10 --yes
  vi-sdk assets sync "$DATASET" ./copy --direction down
""",
        description="Make a dataset equal to a folder, or the folder equal to the dataset; only the difference is transferred.",
    )
    options.add_dataset(parser)
    parser.add_argument("folder", metavar="DIR", help="the folder, or an address such as s3://bucket/folder")
    parser.add_argument(
        "--direction", choices=("up", "down"), default="up", help="up to the dataset, or down (default: %(default)s)"
    )
    parser.add_argument("--delete", action="store_true", help="delete what the other side does not have")
    parser.add_argument(
        "--max-delete",
        type=options.count,
        default=100,
        metavar="N",
        help="stop before any change if more would be deleted (default: %(default)s)",
    )
    parser.add_argument(
        "--checksum", action="store_true", help="also read files that have not changed since an earlier sync"
    )
    options.add_consent(parser, of_deletions=False)
    options.add_moving(parser)
    options.add_patterns(parser)
    options.add_naming(parser)
    options.add_metadata(parser)
    options.add_retention(parser)
    plans.add_to(parser)
    options.finish(parser, sync, ids="print only failures")

    parser = options.add_verb(
        group,
        "verify",
        "compare a folder with a dataset",
        '  vi-sdk assets verify "$DATASET" ./images\n',
        description=f"Compare a folder with a dataset. Nothing is transferred. Exit code {exits.FAILED} if they differ.",
    )
    options.add_dataset(parser)
    parser.add_argument("folder", metavar="DIR", help="the folder, or an address such as s3://bucket/folder")
    parser.add_argument("--timeout", type=options.seconds, metavar="SECONDS", help="cancel after this time")
    options.add_patterns(parser)
    options.add_naming(parser)
    options.finish(parser, verify, ids="print nothing; the exit code tells")

    parser = options.add_verb(
        group,
        "watch",
        "upload the files of a folder as they are written",
        """  vi-sdk assets watch \"$DATASET\" ./camera --names relative --json
  vi-sdk assets watch "$DATASET" ./inbox --move-to ./done
""",
        description="Upload each file of a folder once it is written, until SIGTERM or Ctrl+C; uploads that have started are finished.",
    )
    options.add_dataset(parser)
    parser.add_argument("folder", metavar="DIR", help="local folder")
    parser.add_argument(
        "--settle",
        type=options.seconds,
        default=2.0,
        metavar="SECONDS",
        help="take a file that has not changed for this time (default: %(default)s)",
    )
    parser.add_argument("--move-to", metavar="DIR", help="move files there once the service confirms their digest")
    options.add_patterns(parser)
    options.add_naming(parser)
    options.add_retention(parser)
    options.finish(parser, watch, ids="print only failures")


def watch(given: argparse.Namespace) -> int:
    """Watch until a signal; the second one interrupts."""
    failed = False
    with options.open_client(given) as client:
        watching = client.assets.watch(
            given.dataset,
            given.folder,
            given.settle,
            move_to=given.move_to,
            on_asset_overwritten=options.retention(given),
            **_files(given),
        )
        with stopped_by_signals(watching.stop), watching:
            for event in watching:
                failed = failed or event.kind == "failed"
                if given.json:
                    say(json.dumps(event.to_dict()))
                elif not given.quiet or event.kind == "failed":
                    say(printable(f"{event.kind}  {event.path}  {event.message}".rstrip()))
    return exits.FAILED if failed else exits.DONE


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call *stop* at a signal that ends programs; a second one ends the program as usual."""
    before = {number: signal.getsignal(number) for number in ENDING}

    def hear(*_: object) -> None:
        stop()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _files(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "names": given.names,
        "include": given.include,
        "exclude": given.exclude,
        "follow_links": given.follow_links,
    }


def sync(given: argparse.Namespace) -> int:
    """Plan the whole sync, ask if it deletes, then do it."""
    with options.open_client(given) as client:
        return plans.carry_out(
            given,
            client,
            given.direction,
            lambda: (
                client.assets.sync(
                    given.dataset,
                    given.folder,
                    given.direction,
                    given.delete,
                    max_delete=given.max_delete,
                    checksum=given.checksum,
                    dry_run=True,
                    on_asset_overwritten=options.retention(given),
                    custom_metadata=options.custom_metadata(given),
                    on_unmatched=given.on_unmatched,
                    **_files(given),
                ).plan
            ),
        )


def verify(given: argparse.Namespace) -> int:
    """Compare, and show the differences."""
    with options.open_client(given) as client:
        result = client.assets.verify(given.dataset, given.folder, timeout=given.timeout, **_files(given))
    if given.json:
        show_document(result.to_dict())
    elif not given.quiet:
        rows = [
            (word, name)
            for word, names in (
                ("differs", result.different),
                ("only in the folder", result.only_local),
                ("only in the dataset", result.only_remote),
                ("not compared", result.uncompared),
            )
            for name in names
        ]
        if rows:
            output.show_rows(rows)
        complain(printable(str(result)))
        output.tell_notes(result.notes)
    output.tell_failures(result.failures)
    return exits.DONE if result.ok else exits.FAILED
