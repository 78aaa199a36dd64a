"""How results and documents show themselves: HTML in a notebook, a few lines in IPython's terminal.

Each says what there is to show as a sheet of its own; showing never sends a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .._schema import shown_fields
from .._show import text
from .._show.sheet import Sheet, Tile
from .document import Serialized, plain_value


class Displayed:
    """Base of what a notebook shows as more than its repr."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # IPython takes the first class that has either of the two, and attrs writes a __repr__ into each.
        cls._repr_pretty_ = Displayed._repr_pretty_  # type: ignore[method-assign]

    def _sheet(self) -> Sheet:
        """Return what there is to show."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        from .._show import html

        return html.drawn(self._sheet())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        alone = len(getattr(printer, "stack", ())) <= 1
        printer.text(text.described(self._sheet()) if alone and not cycle else repr(self))


class Listed(Displayed):
    """Base of what a page shows as a row of its table; with *_tile* also as a picture."""

    __slots__ = ()

    _noun: ClassVar[str]
    _heads: ClassVar[Sequence[str]]
    _numbers: ClassVar[frozenset[int]] = frozenset()

    def info(self) -> None:
        """Print a summary."""
        from .._show import console

        console.show(self._sheet())

    def _cells(self) -> Sequence[str]:
        """Return the row, below *_heads*."""
        raise NotImplementedError

    def _tile(self) -> Tile | None:
        """Return the picture, or where it would be; None for what has none."""
        return None


class Report(Serialized, Displayed):
    """Base of results: a headline, and what did not go as asked."""

    __slots__ = ()

    _in_json: ClassVar[Sequence[str]] = ()
    """The attributes that `to_dict` gives, in order; by default those that the result is made with."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready data."""
        names = self._in_json or [field.name for field in shown_fields(type(self))]
        return {name: plain_value(getattr(self, name)) for name in names}

    def summary(self) -> str:
        """Describe the result in a few lines."""
        return text.summary(self._sheet())

    def __str__(self) -> str:
        return self._sheet().headline
