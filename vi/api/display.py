"""How results and documents show themselves: HTML in a notebook, a few lines in IPython's terminal.

Showing never sends a request: what is shown is what the object holds.
"""

from __future__ import annotations

from typing import Any


class Displayed:
    """Base of what a notebook shows as more than its repr; `vi._show.html` knows how."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # IPython takes the first class that has either of the two, and attrs writes a __repr__ into each.
        cls._repr_pretty_ = Displayed._repr_pretty_  # type: ignore[method-assign]

    def _repr_html_(self) -> str:
        from .._show import html as _html

        return _html.shown(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from .._show import console as _terminal

        alone = len(getattr(printer, "stack", ())) <= 1
        printer.text(_terminal.described(self) if alone and not cycle else repr(self))
