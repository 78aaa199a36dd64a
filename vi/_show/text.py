"""Sheets and tables as lines for a terminal, in columns and without anything that would control it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Container, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO

from .._redact import printable as printable
from .._redact import redact
from .writer import is_terminal

if TYPE_CHECKING:
    from .sheet import Sheet, Table

FAILURES = 5
BRIEF = 10
READABLE, NARROW = 20, 8
"""Columns that text keeps while others can be left out, and at the least."""

LEFT_OUT = "  …"
"""What follows the heads of a table of which columns are left out."""

_WORD = re.compile("(?<! )( *+)([^ ]++)")
_STYLES = {"bold": "1", "red": "31", "green": "32", "yellow": "33"}
_OFF = ("", "0", "false", "no")


def described(sheet: Sheet, columns: int | None = None) -> str:
    """Return a sheet in full, for an interactive Python; lines fit a terminal of so many *columns*."""
    from .sheet import LISTED

    return printable(redact("\n".join(_lines(sheet, LISTED, columns, heads=True))), keep="\n")


def summary(sheet: Sheet) -> str:
    """Return a sheet in a few lines."""
    return printable("\n".join(_lines(sheet, BRIEF, None, heads=False)), keep="\n")


def _lines(sheet: Sheet, listed: int, columns: int | None, *, heads: bool) -> Iterator[str]:
    if sheet.headline:
        yield from wrapped(sheet.headline, columns)
    indent = "  " if sheet.headline else ""
    yield from named(sheet.facts, columns, indent=indent)
    if sheet.table is not None and sheet.table.rows:
        rows = sheet.table.rows[:listed]
        left = set(range(len(sheet.table.heads))) - sheet.table.numbers
        room = columns and columns - len(indent)
        table = aligned([sheet.table.heads, *rows] if heads else rows, left=left, columns=room)
        yield from (indent + line for line in table)
        yield from more(sheet.table, len(rows))
    rest = [*details(sheet.details, FAILURES), *more(sheet.details, FAILURES)] if sheet.details is not None else []
    for line in (*rest, *(indent + note for note in sheet.notes)):
        yield from wrapped(line, columns)


def wrapped(line: str, columns: int | None, *, hang: int | None = None) -> list[str]:
    """Return a printable line as lines of at most *columns*, broken between words; a longer word, a path, stays whole.

    What follows is indented by *hang*, or by two more than the line.
    """
    if columns is None or _width(line) <= columns:
        return [line]
    if hang is None:
        hang = len(line) - len(line.lstrip(" ")) + 2
    lines = [""]
    for gap, word in _WORD.findall(line):
        if lines[-1].strip() and _width(lines[-1] + gap + word) > columns:
            lines.append(" " * hang + word)
        else:
            lines[-1] += gap + word
    return lines


def named(rows: Sequence[tuple[str, str]], columns: int | None, *, indent: str = "") -> Iterator[str]:
    """Yield names and values as lines; a long value continues below itself if there is room, or else further left."""
    begin = len(indent) + max((_width(printable(name)) for name, _ in rows), default=0) + 2
    for line, (_, value) in zip(aligned(rows, left=(0, 1)), rows, strict=True):
        longest = max(map(_width, printable(value).split()), default=0)
        fits = columns is not None and begin + longest <= columns
        yield from wrapped(indent + line, columns, hang=begin if fits else len(indent) + 2)


def details(table: Table, most: int, told: Callable[[str], str] = str) -> Iterator[str]:
    """Yield the first rows of what failed: the name once, then why, as *told* says it, and the code last."""
    for row in table.rows[:most]:
        name, code, why = (*row, "", "")[:3]
        start = next((start for start in (name, name.rpartition("/")[2]) if start and why.startswith(start)), None)
        why = told(why[len(start) :] if start else why)
        text = name + why if start else f"{name}: {why}" if name and why else name or why
        yield printable(f"  {text} [{code}]" if code else f"  {text}")


def more(table: Table, listed: int) -> Iterator[str]:
    """Yield where the rest of a table is, if it is known and there is a rest."""
    if table.where and table.total > listed:
        yield f"  and {table.total - listed:,} more, in {table.where}"


def aligned(
    rows: Sequence[Sequence[str]],
    *,
    left: Container[int] = (0,),
    widths: list[int] | None = None,
    columns: int | None = None,
) -> list[str]:
    """Return rows as lines with their cells below each other, made printable; the columns *left* are text.

    *widths* are kept from block to block of a table that is printed in several. On a terminal of so many *columns* long
    text is cut in its middle, and what still has no room is left out from the right: the first line ends with "…" then.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    needed = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    known = widths if widths is not None else []
    goes_on = bool(known)
    known[:] = map(max, needed, known or needed)
    shown = known if columns is None else _fitted(known, left, columns)

    def line(row: Sequence[str]) -> str:
        placed = []
        for number, (whole, width) in enumerate(zip(row, shown, strict=False)):
            cell = _cut(whole, width)
            gap = " " * (width - _width(cell))
            placed.append(cell + gap if number in left else gap + cell)
        return "  ".join(placed).rstrip()

    lines = [line(row) for row in cells]
    if len(shown) < len(known) and not goes_on:
        lines[0] += LEFT_OUT
    return lines


def _fitted(widths: Sequence[int], left: Container[int], columns: int) -> list[int]:
    """Return widths that fit: long text gives way first, then columns from the right, the id in the first last."""
    fitted = list(widths)
    mark = 0
    while (excess := sum(fitted) + 2 * (len(fitted) - 1) + mark - columns) > 0:
        least = READABLE if len(fitted) > 2 else NARROW
        text = [number for number in range(1, len(fitted)) if number in left and fitted[number] > least]
        if text:
            widest = max(text, key=fitted.__getitem__)
            fitted[widest] = max(least, fitted[widest] - excess)
        elif len(fitted) > 2:
            fitted.pop()
            mark = len(LEFT_OUT)
        else:
            fitted[0] = max(NARROW, fitted[0] - excess)
            break
    return fitted


def _cut(text: str, width: int) -> str:
    """Return *text* with an ellipsis in the middle if it is wider: the ends of names differ."""
    if _width(text) <= width:
        return text
    head, tail = "", ""
    for first, last in zip(text, reversed(text), strict=True):
        if _width(head) + _width(tail) + _width(first) + 1 > width:
            break
        head += first
        if _width(head) + _width(tail) + _width(last) + 1 > width:
            break
        tail = last + tail
    return f"{head}…{tail}"


def _width(text: str) -> int:
    """Count the columns that *text* takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def redraws(stream: TextIO | None) -> bool:
    """Tell whether a line can be drawn again: on a terminal with somebody before it, not in the log of a CI job."""
    if not is_terminal(stream) or os.environ.get("TERM") == "dumb":
        return False
    return os.environ.get("CI", "").lower() in _OFF


if sys.platform == "win32":
    import ctypes

    @lru_cache(maxsize=1)
    def _shows_styles() -> bool:
        """Ask the console to show styles, and tell whether it does."""
        with contextlib.suppress(OSError):
            console = ctypes.windll.kernel32
            mode = ctypes.c_ulong()
            for number in (-11, -12):  # STD_OUTPUT_HANDLE, STD_ERROR_HANDLE of winbase.h
                handle = console.GetStdHandle(number)
                if console.GetConsoleMode(handle, ctypes.byref(mode)):  # 4: ENABLE_VIRTUAL_TERMINAL_PROCESSING
                    return bool(console.SetConsoleMode(handle, mode.value | 4))
        return True  # a terminal of another kind, such as Cygwin's
else:

    def _shows_styles() -> bool:
        return True


def styled(text: str, style: str, stream: TextIO | None) -> str:
    """Return *text* in a style where the stream shows it; ``NO_COLOR`` and ``FORCE_COLOR`` decide before that."""
    forced = os.environ.get("FORCE_COLOR", "").lower() not in _OFF
    shows = is_terminal(stream) and os.environ.get("TERM") != "dumb" and _shows_styles()
    if os.environ.get("NO_COLOR") or not (forced or shows):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
