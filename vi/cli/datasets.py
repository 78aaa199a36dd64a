"""``datasets``: list, create, show and delete datasets."""

from __future__ import annotations

import argparse
from typing import Any

from .._show.console import complain
from .._show.text import printable
from .._show.units import several
from ..errors import ViNotFoundError
from . import exits, options, output, refusals
from .output import Columns, show_items


def _cells(dataset: Any) -> tuple[str, ...]:
    return (
        dataset.dataset_id,
        dataset.name,
        str(dataset.type),
        str(dataset.statistic.asset_total),
        str(dataset.statistic.annotation_total),
        output.when(dataset.created_at),
    )


COLUMNS = Columns(
    ("DATASET", "NAME", "TYPE", "ASSETS", "ANNOTATIONS", "CREATED (UTC)"),
    _cells,
    lambda dataset: str(dataset.dataset_id),
    frozenset({3, 4}),
)


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verbs to the parser."""
    group = options.add_group(verbs, "datasets", "list, create, show and delete datasets")

    parser = options.add_verb(group, "ls", "list the datasets", "  vi-sdk datasets ls\n  vi-sdk datasets ls --json\n")
    parser.add_argument("--limit", type=options.count, metavar="N", help="take at most N")
    options.finish(parser, ls)

    parser = options.add_verb(
        group,
        "create",
        "create a dataset",
        """  vi-sdk datasets create "street signs" --description "from the north camera"
  DATASET=$(vi-sdk datasets create "street signs" --quiet)
""",
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--type",
        choices=("phrase-grounding", "vqa", "freeform"),
        default="phrase-grounding",
        help="what it is labelled for (default: %(default)s)",
    )
    parser.add_argument("--description", default="", metavar="TEXT")
    parser.add_argument(
        "--metadata", action="append", default=[], type=options.pair, metavar="KEY=VALUE", help="attribute; repeatable"
    )
    options.finish(parser, create)

    parser = options.add_verb(group, "show", "show datasets", '  vi-sdk datasets show "$DATASET"\n')
    options.add_dataset(parser, several=True)
    options.finish(parser, show)

    parser = options.add_verb(
        group,
        "rm",
        "delete datasets and all their assets permanently",
        '  vi-sdk datasets rm "$DATASET" --dry-run\n  vi-sdk datasets rm "$DATASET" --yes\n',
    )
    options.add_dataset(parser, several=True)
    parser.add_argument("--missing-ok", action="store_true", help="ignore datasets that do not exist")
    options.add_consent(parser)
    options.finish(parser, rm)


def ls(given: argparse.Namespace) -> int:
    """List datasets."""
    from ..api.types import MAX_PAGE_SIZE, PaginationParams

    with options.open_client(given) as client:
        page = PaginationParams(page_size=min(given.limit or MAX_PAGE_SIZE, MAX_PAGE_SIZE))
        listing = output.Listing(client.datasets.list(page), given.limit)
        listing.show(given, COLUMNS, none="There are no datasets.")
    return listing.code


def create(given: argparse.Namespace) -> int:
    """Create a dataset."""
    metadata = {key: value if isinstance(value, str) else str(value) for key, value in given.metadata}
    with options.open_client(given) as client:
        dataset = client.datasets.create(
            given.name, dataset_type=given.type, description=given.description, metadata=metadata or None
        )
    show_items(given, [dataset], COLUMNS, none="")
    return exits.DONE


def show(given: argparse.Namespace) -> int:
    """Show datasets."""
    with options.open_client(given) as client:
        for text in given.datasets:
            dataset = client.datasets.get(options.dataset_id(client, text))
            if given.json or given.quiet:
                show_items(given, [dataset], COLUMNS, none="")
            else:
                dataset.info()
    return exits.DONE


def rm(given: argparse.Namespace) -> int:
    """Delete datasets, after a look at all of them."""
    code = exits.DONE
    found = []
    with options.open_client(given) as client:
        for text in given.datasets:
            try:
                found.append(client.datasets.get(options.dataset_id(client, text)))
            except ViNotFoundError as error:
                if not given.missing_ok:
                    code = exits.MISSING
                    refusals.tell(error, code, as_json=given.json)
        if given.dry_run:
            show_items(given, found, COLUMNS, none="Nothing would be deleted.")
            return code
        if found and not options.confirm(_question(found), given):
            complain("Nothing was deleted.")
            return exits.FAILED
        for dataset in found:
            client.datasets.delete(dataset.dataset_id)
            if given.json or given.quiet:
                show_items(given, [dataset], COLUMNS, none="")
            else:
                complain(printable(f"Deleted {dataset.dataset_id} ({dataset.name})."))
    return code


def _question(datasets: list[Any]) -> str:
    named = ", ".join(f"{dataset.dataset_id} ({dataset.name})" for dataset in datasets[:5])
    more = f" and {len(datasets) - 5} more" if len(datasets) > 5 else ""
    assets = sum(dataset.statistic.asset_total for dataset in datasets)
    return f"Delete {named}{more} with {several(assets, 'asset')} permanently?"
