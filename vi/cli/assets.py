"""``assets``: what does not move files. List, show, count, rename, delete, and wait for uploads."""

from __future__ import annotations

import argparse
from typing import Any

from .._paths import as_path
from .._show.console import complain, say
from .._show.text import printable
from .._show.units import several
from ..errors import ViNotFoundError
from . import exits, options, output, refusals
from .output import Columns, show_document, show_items

SORTS = {"id": "assetId", "name": "filename", "size": "metadata.fileSize", "modified": "lastModified.contents"}


def _cells(asset: Any) -> tuple[str, ...]:
    metadata = asset.metadata
    return (
        asset.asset_id,
        asset.filename,
        output.size(metadata.file_size),
        f"{metadata.width}x{metadata.height}",
        metadata.status,
        output.when(metadata.created_at),
    )


COLUMNS = Columns(
    ("ASSET", "NAME", "SIZE", "PIXELS", "STATUS", "CREATED (UTC)"),
    _cells,
    lambda asset: str(asset.asset_id),
    frozenset({2, 3}),
)


def _session_cells(session: Any) -> tuple[str, ...]:
    count = session.status.progressCount
    state = "failed" if session.status.failed else "finished"
    return session.asset_ingestion_session_id, state, str(count.succeeded), str(count.errored), str(count.total)


def _session_document(session: Any) -> dict[str, Any]:
    count = session.status.progressCount
    return {
        "session_id": session.asset_ingestion_session_id,
        "dataset_id": session.dataset_id,
        "status": "failed" if session.status.failed else "finished",
        "reason": session.status.reason,
        "succeeded": count.succeeded,
        "failed": count.errored,
        "total": count.total,
        "errors": {name: str(code) for name, code in session.status.errors.items()},
    }


SESSION_COLUMNS = Columns(
    ("SESSION", "STATUS", "SUCCEEDED", "FAILED", "FILES"),
    _session_cells,
    lambda session: str(session.asset_ingestion_session_id),
    frozenset({2, 3, 4}),
    _session_document,
)


def add_to(group: options.Verbs[options.VerbParser]) -> None:
    """Add the verbs to the group."""
    parser = _verb(
        group,
        "ls",
        "list the assets of a dataset",
        """  vi-sdk assets ls \"$DATASET\" --sort size --desc --limit 5
  vi-sdk assets ls "$DATASET" --filter metadata.mimeType=image/png --json
""",
    )
    parser.add_argument("--sort", choices=SORTS, help="sort by")
    parser.add_argument("--desc", action="store_true", help="sort in descending order")
    parser.add_argument("--limit", type=options.count, metavar="N", help="take at most N")
    options.add_selection(parser)
    options.finish(parser, ls)

    parser = _verb(group, "show", "show assets", '  vi-sdk assets show "$DATASET" $ASSET\n')
    parser.add_argument("assets", nargs="+", metavar="ASSET", help="id of an asset")
    options.finish(parser, show)

    parser = _verb(
        group,
        "count",
        "count the assets of a dataset",
        '  vi-sdk assets count "$DATASET"\n  vi-sdk assets count "$DATASET" --query \'camera == "north"\'\n',
    )
    options.add_selection(parser)
    options.finish(parser, count, ids=None)

    parser = _verb(
        group,
        "rename",
        "rename an asset",
        '  vi-sdk assets rename "$DATASET" $ASSET north.png\n'
        '  vi-sdk assets rename "$DATASET" --filename north.png south.png\n',
    )
    parser.usage = f"{parser.prog} [options] DATASET ASSET NEW_NAME\n       {parser.prog} [options] DATASET --filename OLD_NAME NEW_NAME"
    parser.add_argument("names", nargs="+", metavar="NEW_NAME", help="id of the asset, and its new name")
    parser.add_argument("--filename", metavar="OLD_NAME", help="find the asset by its name instead of its id")
    parser.add_argument("--dry-run", action="store_true", help="show the asset, and rename nothing")
    options.finish(parser, rename)

    parser = _verb(
        group,
        "set-metadata",
        "change custom metadata of assets from a table",
        """  vi-sdk assets set-metadata \"$DATASET\" labels.csv --dry-run
  vi-sdk assets set-metadata "$DATASET" labels.csv --remove lot --json
""",
    )
    parser.add_argument(
        "file", metavar="FILE", help="table with a column filename: .csv, .tsv, .jsonl, .parquet or .json"
    )
    parser.add_argument(
        "--remove", action="append", default=[], metavar="KEY", help="remove a key from the assets; repeatable"
    )
    parser.add_argument("--dry-run", action="store_true", help="count what would change, and change nothing")
    options.add_unmatched(parser)
    parser.add_argument("--timeout", type=options.seconds, metavar="SECONDS", help="cancel after this time")
    options.finish(parser, set_metadata, ids="names of the table that no asset has")

    parser = _verb(
        group,
        "rm",
        "delete assets and their annotations permanently",
        """  vi-sdk assets rm \"$DATASET\" $ASSET --yes
  vi-sdk assets rm "$DATASET" --query 'camera == "north"' --dry-run
""",
    )
    parser.add_argument("assets", nargs="*", metavar="ASSET", help="id of an asset")
    parser.add_argument("--all", action="store_true", help="every asset of the dataset")
    parser.add_argument("--missing-ok", action="store_true", help="ignore assets that do not exist")
    parser.add_argument("--timeout", type=options.seconds, metavar="SECONDS", help="give up waiting after this time")
    options.add_selection(parser)
    options.add_consent(parser)
    options.finish(parser, rm)

    parser = _verb(
        group,
        "wait",
        "wait until upload sessions have finished",
        """  SESSION=$(vi-sdk assets upload \"$DATASET\" ./images --no-wait --quiet)
  vi-sdk assets wait "$DATASET" $SESSION --timeout 600
""",
    )
    parser.add_argument("sessions", nargs="+", metavar="SESSION", help="id of an upload session")
    parser.add_argument("--timeout", type=options.seconds, metavar="SECONDS", help="stop waiting after this time")
    options.finish(parser, wait)


def _verb(group: options.Verbs[options.VerbParser], name: str, about: str, example: str) -> options.VerbParser:
    parser = options.add_verb(group, name, about, example)
    options.add_dataset(parser)
    return parser


def ls(given: argparse.Namespace) -> int:
    """List assets."""
    with options.open_client(given) as client:
        listing = _listed(client, given)
        listing.show(given, COLUMNS, none="No assets found.")
    return listing.code


def _listed(client: Any, given: argparse.Namespace) -> output.Listing:
    from ..api.resources.datasets.assets.types import AssetSortCriterion, SortCriterion, SortOrder
    from ..api.types import MAX_PAGE_SIZE, PaginationParams

    limit, sort = getattr(given, "limit", None), getattr(given, "sort", None)
    order = SortOrder.DESC if getattr(given, "desc", False) else SortOrder.ASC
    response = client.assets.list(
        given.dataset,
        PaginationParams(page_size=min(limit or MAX_PAGE_SIZE, MAX_PAGE_SIZE)),
        sort_by=AssetSortCriterion(SortCriterion(SORTS[sort]) if sort else SortCriterion.DEFAULT, order),
        **options.selection(given),
    )
    return output.Listing(response, limit)


def show(given: argparse.Namespace) -> int:
    """Show assets."""
    with options.open_client(given) as client:
        for number, asset_id in enumerate(given.assets):
            asset = client.assets.get(given.dataset, asset_id)
            if given.json or given.quiet:
                show_items(given, [asset], COLUMNS, none="")
            else:
                if number:
                    say("")
                asset.info()
    return exits.DONE


def count(given: argparse.Namespace) -> int:
    """Count assets."""
    with options.open_client(given) as client:
        number = client.assets.count(given.dataset, **options.selection(given))
    if given.json:
        show_document({"count": number})
    else:
        say(str(number))
    return exits.DONE


def rename(given: argparse.Namespace) -> int:
    """Rename an asset."""
    *ids, new_name = given.names
    if len(ids) != (given.filename is None):
        raise exits.WrongUseError("rename needs ASSET NEW_NAME, or --filename OLD_NAME NEW_NAME")
    with options.open_client(given) as client:
        if given.dry_run:
            asset = client.assets.get(given.dataset, ids[0]) if ids else _named(client, given)
        else:
            asset = client.assets.rename(
                given.dataset, new_name, asset_id=ids[0] if ids else None, filename=given.filename
            )
    show_items(given, [asset], COLUMNS, none="")
    return exits.DONE


def _named(client: Any, given: argparse.Namespace) -> Any:
    found = client.assets.list(given.dataset, filter_criteria={"filename": given.filename}).items
    if not found:
        raise ViNotFoundError(f"No asset of dataset {given.dataset} is named {given.filename!r}.")
    return found[0]


def set_metadata(given: argparse.Namespace) -> int:
    """Change metadata."""
    with options.open_client(given) as client:
        result = client.assets.set_metadata(
            given.dataset,
            as_path(given.file, "FILE"),
            remove=given.remove,
            dry_run=given.dry_run,
            on_unmatched=given.on_unmatched,
            timeout=given.timeout,
        )
    sheet = result._sheet()
    output.tell_counts(given, sheet)
    if given.json:
        show_document(result.to_dict())
    elif given.quiet:
        show_items(given, result.unmatched, NAMES, none="")
    else:
        output.tell_details(sheet.details)
    return exits.DONE


def rm(given: argparse.Namespace) -> int:
    """Delete assets: by id, by a selection, or all; exactly one of these."""
    chosen = options.selection(given)
    selects = bool(chosen["filter_criteria"] or chosen["metadata_query"])
    if bool(given.assets) + selects + given.all != 1:
        raise exits.WrongUseError("choose what to delete: asset ids, a selection (--filter, --query), or --all")
    what: dict[str, Any] = {"asset_ids": given.assets} if given.assets else {**chosen, "all": given.all}
    with options.open_client(given) as client:
        found = client.assets.delete_many(given.dataset, **what, dry_run=True)
        missing = exits.DONE if given.missing_ok or not found.missing else exits.MISSING
        if missing:
            more = f" and {len(found.missing) - 5:,} more" if len(found.missing) > 5 else ""
            named = printable(", ".join(found.missing[:5]))
            problem = ViNotFoundError(
                f"No such asset: {named}{more}.", suggestion="List them with: vi-sdk assets ls DATASET"
            )
            refusals.tell(problem, missing, as_json=given.json)
        if given.dry_run:
            gone = set(found.missing)
            none = "Nothing would be deleted."
            if given.assets:
                there = (client.assets.get(given.dataset, one) for one in given.assets if one not in gone)
                shown = show_items(given, there, COLUMNS, none=none)
            else:
                listing = _listed(client, given)
                shown, missing = listing.show(given, COLUMNS, none=none), listing.code
            if shown and not given.json and not given.quiet:
                complain(f"Would delete {several(shown, 'asset')}. Dry run: nothing was changed.")
            return missing
        question = f"Delete {several(found.count, 'asset')} of dataset {given.dataset} permanently?"
        if found.count and not options.confirm(question, given):
            complain("Nothing was deleted.")
            return exits.FAILED
        result = client.assets.delete_many(given.dataset, **what, timeout=given.timeout)
    if given.json:
        show_document(result.to_dict())
    elif given.quiet and given.assets:
        show_items(given, [a for a in given.assets if a not in result.missing], IDS, none="")
    elif not given.quiet:
        complain(f"Deleted {several(result.deleted, 'asset')}.")
    return missing


NAMES = Columns(("NAME",), lambda name: (name,), str)
IDS = Columns(("ASSET",), lambda asset_id: (asset_id,), str)


def wait(given: argparse.Namespace) -> int:
    """Wait for sessions, and say how each ended."""
    ended = []
    with options.open_client(given) as client:
        for session_id in given.sessions:
            session = client.assets.wait_until_done(given.dataset, session_id, timeout=given.timeout)
            ended.append(session)
            for name, code in session.status.errors.items():
                complain(printable(f"  {name}: {code}"))
    show_items(given, ended, SESSION_COLUMNS, none="")
    good = not any(session.status.failed or session.status.progressCount.errored for session in ended)
    return exits.DONE if good else exits.FAILED
