"""``transfers``: unfinished uploads and downloads of this machine."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import Any

from .._show.console import complain
from .._show.units import several
from ..errors import ViNotFoundError
from . import exits, options, output, refusals
from .output import Columns, show_items


def _cells(transfer: Any) -> tuple[str, ...]:
    return (
        transfer.id,
        transfer.dataset_id,
        transfer.direction,
        "running" if transfer.running else "unfinished",
        output.when(dt.datetime.fromtimestamp(transfer.began, dt.UTC)),
        *(
            (str(transfer.files_sent), str(transfer.multipart_uploads))
            if transfer.direction == "up"
            else ("-", str(transfer.files_begun))
        ),
        transfer.endpoint if transfer.direction == "up" else transfer.folder,
    )


NONE = "There are no unfinished transfers."

COLUMNS = Columns(
    ("TRANSFER", "DATASET", "WAY", "STATE", "BEGAN (UTC)", "FILES SENT", "IN PARTS", "SERVICE OR FOLDER"),
    _cells,
    lambda transfer: str(transfer.id),
    frozenset({5, 6}),
    output.fields_of,
)


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verbs to the parser."""
    group = options.add_group(verbs, "transfers", "list or discard interrupted uploads and downloads")

    parser = options.add_verb(
        group,
        "ls",
        "list unfinished transfers",
        "  vi-sdk transfers ls\n",
        description="List unfinished uploads and downloads. Run the original command again to resume.",
    )
    options.finish(parser, ls, connects=False)

    parser = options.add_verb(
        group,
        "forget",
        "forget unfinished transfers",
        "  vi-sdk transfers forget --all --yes\n",
        description="Forget unfinished uploads and downloads: the next run starts over.",
    )
    parser.add_argument("transfers", nargs="*", metavar="TRANSFER", help="id of a transfer")
    parser.add_argument("--all", action="store_true", help="all that are not running")
    options.add_consent(parser)
    options.finish(parser, forget, connects=False)


def ls(given: argparse.Namespace) -> int:
    """List what was left unfinished."""
    import vi.transfers

    show_items(given, vi.transfers.unfinished(), COLUMNS, none=NONE)
    return exits.DONE


def forget(given: argparse.Namespace) -> int:
    """Forget by id, or all."""
    import vi.transfers

    if bool(given.transfers) == given.all:
        raise exits.WrongUseError("forget needs ids of transfers, or --all")
    known = {transfer.id: transfer for transfer in vi.transfers.unfinished()}
    code = exits.DONE
    chosen = []
    for transfer_id in given.transfers or known:
        transfer = known.get(transfer_id)
        if transfer is not None and not transfer.running:
            chosen.append(transfer)
        elif not given.all:
            why = "is running" if transfer else "does not exist"
            problem = ViNotFoundError(
                f"The transfer {transfer_id} {why}.", suggestion="List them with: vi-sdk transfers ls"
            )
            code = exits.MISSING
            refusals.tell(problem, code, as_json=given.json)
    if given.dry_run:
        show_items(given, chosen, COLUMNS, none="Nothing would be forgotten.")
        return code
    if chosen and not options.confirm(f"Forget {several(len(chosen), 'unfinished transfer')}?", given):
        complain("Nothing was forgotten.")
        return exits.FAILED
    gone = [transfer for transfer in chosen if vi.transfers.forget(transfer.id)]
    if given.json or given.quiet:
        show_items(given, gone, COLUMNS, none="")
    elif gone:
        complain(f"Forgot {several(len(gone), 'unfinished transfer')}.")
    elif not code:
        complain(NONE)
    return code
