"""Data for stdout: tables for people, JSON for programs, bare ids for shells."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .._routes import is_identifier
from .._show.console import complain, say
from .._show.text import aligned, details, named, printable
from .._show.units import size as size
from .._show.writer import columns_of
from ..errors import ViOperationError
from .exits import DONE, FAILED
from .refusals import in_words_of_the_command_line

if TYPE_CHECKING:
    from .._show.sheet import Sheet, Table
    from ..api.display import Report
    from ..api.resources.datasets.assets.results import FileFailure

T = TypeVar("T")

BLOCK = 1000
LISTED = 20


class Columns(NamedTuple):
    """How items of one kind are shown: the heads of the table, an item's cells, its id and its JSON."""

    heads: Sequence[str]
    cells: Callable[[Any], Sequence[str]]
    id_of: Callable[[Any], str]
    numbers: frozenset[int] = frozenset()
    document: Callable[[Any], dict[str, Any]] = lambda item: item.to_dict()


def show_items(given: argparse.Namespace, items: Iterable[T], columns: Columns, *, none: str) -> int:
    """Print items as they come, and return how many there were; a table goes out in blocks of a thousand."""
    shown = 0
    rest = iter(items)
    widths: list[int] = []
    room = columns_of(sys.stdout)
    while block := list(islice(rest, BLOCK)):
        if given.json:
            taken = say("\n".join(as_json(columns.document(item)) for item in block))
        elif given.quiet:
            taken = say("\n".join(_for_shells(columns.id_of(item)) for item in block))
        else:
            rows = [list(columns.cells(item)) for item in block]
            left = set(range(len(columns.heads))) - columns.numbers
            table = rows if shown else [columns.heads, *rows]
            taken = say("\n".join(aligned(table, left=left, widths=widths, columns=room)))
        shown += len(block)
        if not taken:  # whoever read has enough
            break
    if none and not shown and not given.json and not given.quiet:
        complain(none)
    return shown


def _for_shells(value: str) -> str:
    """Return an id as shells get it; raises `ViOperationError` for one that every command takes for an option."""
    if value.startswith("-") and is_identifier(value):
        raise ViOperationError(
            f"The id {value[:60]!r} looks like an option.", suggestion="Take it from --json instead."
        )
    return printable(value)


def show_document(document: dict[str, Any]) -> None:
    """Print one JSON object on one line."""
    say(as_json(document))


def show_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values below each other."""
    say("\n".join(named(list(rows), columns_of(sys.stdout))))


def fields_of(item: Any) -> dict[str, Any]:
    """Return what *item* says, as JSON; what it leaves out is left out."""
    import attrs

    return attrs.asdict(item)


def as_json(document: Any) -> str:
    """Return JSON in ASCII, so that no name can carry a control code or break an encoding."""
    return json.dumps(document, default=str)


def when(moment: dt.datetime | None) -> str:
    """Return a time for people."""
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""


def tell_failures(failures: Sequence[FileFailure]) -> None:
    """Say on stderr which files failed, and why."""
    from .._show.sheet import Table

    tell_details(Table.of((), failures, lambda failure: (failure.path, failure.code, failure.message)))


def tell_details(table: Table | None) -> None:
    """Say on stderr, by name, what did not go as asked."""
    if table is None:
        return
    for line in details(table, LISTED, in_words_of_the_command_line):
        complain(line)
    if table.total > LISTED:
        complain(f"  and {table.total - LISTED:,} more; --json lists them all")


def tell_counts(given: argparse.Namespace, sheet: Sheet, notes: Iterable[str] = ()) -> None:
    """Say on stderr what was done, to people."""
    if given.json or given.quiet:
        return
    complain(printable(sheet.headline))
    for note in notes:
        complain(printable(f"  {in_words_of_the_command_line(note)}"))


def tell_result(given: argparse.Namespace, result: Report) -> None:
    """Print a result as JSON, or say on stderr what it comes to and, by name, what did not go as asked."""
    if given.json:
        show_document(result.to_dict())
    sheet = result._sheet()
    tell_counts(given, sheet, sheet.notes)
    tell_details(sheet.details)


def tell_notes(notes: Sequence[str]) -> None:
    """Say on stderr what is to be told beside the counts."""
    for note in notes[:LISTED]:
        complain(printable(f"  note: {in_words_of_the_command_line(note)}"))


class Listing:
    """The items of a listing, at most *limit*; what cannot be read is said on stderr, and makes its command fail."""

    def __init__(self, response: Any, limit: int | None = None) -> None:
        self._response = response
        self._limit = limit
        self.unread: int = 0

    def show(self, given: argparse.Namespace, columns: Columns, *, none: str) -> int:
        """Print the items, and return how many there were."""
        shown = show_items(given, islice(self._items(), self._limit), columns, none="")
        if self.unread:
            items = "1 item was" if self.unread == 1 else f"{self.unread:,} items were"
            complain(f"{items} left out: the service sends what this vi-sdk cannot read; try a newer one.")
        elif none and not shown and not given.json and not given.quiet:
            complain(none)
        return shown

    @property
    def code(self) -> int:
        """The exit code of a command that has shown the items."""
        return FAILED if self.unread else DONE

    def _items(self) -> Iterator[Any]:
        for page in self._response:
            for bad in page.bad_items:
                self.unread += 1
                if self.unread <= LISTED:
                    complain(printable(f"an item of the listing cannot be read: {bad.problem}"))
            yield from page.items
