"""What a document or a result says about itself, as data: the renderers draw sheets, and know nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

T = TypeVar("T")

Rows = Sequence[tuple[str, str]]
"""Names and values."""

Counts = Sequence[tuple[int, str]]
"""How many files ended in which way, in the order in which a reader wants to know it."""

LISTED = 60
"""How many rows a sheet holds at most; a table knows how many there would be."""


@attrs.frozen
class Table:
    """Rows of text under heads. *numbers* are the columns that are set to the right, *where* says who has every row."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: int
    numbers: frozenset[int] = frozenset()
    where: str = ""

    @classmethod
    def of(
        cls,
        heads: Sequence[str],
        items: Sequence[T],
        row: Callable[[T], Sequence[str]],
        *,
        numbers: frozenset[int] = frozenset(),
        where: str = "",
    ) -> Table:
        """Make the rows of the first *items*."""
        return cls(heads, [row(item) for item in items[:LISTED]], len(items), numbers, where)


@attrs.frozen
class Tile:
    """A picture with its name and a line of facts; *instead* is a word for where the picture cannot be shown."""

    name: str
    facts: str
    picture: bytes | None
    instead: str


@attrs.frozen
class Sheet:
    """A headline, names and values, rows, pictures, what failed by name, and notes; each may be missing.

    *counts* are in the headline as words; *tiles* show the rows of *table* as pictures, and *hint* tells how to get
    them.
    """

    headline: str = ""
    counts: Counts = ()
    facts: Rows = ()
    picture: Tile | None = None
    table: Table | None = None
    tiles: Sequence[Tile] = ()
    details: Table | None = None
    notes: Sequence[str] = ()
    hint: str = ""
