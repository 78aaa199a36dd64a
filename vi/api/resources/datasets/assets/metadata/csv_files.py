"""CSV with typed cells.

The reader of the standard library does not say which cells were quoted, and that tells text from numbers here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

import attrs

from ......errors import ViInvalidParameterError

_QUOTED = re.compile(r'[ ]*+"((?:[^"]++|"")*+)"[ ]*+')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_BREAK = re.compile(r"\r\n|\r|\n")
_END = re.compile(r"\r\n|\r|\n|\Z")


@attrs.frozen
class Cell:
    """The text of a cell, and whether it was quoted."""

    text: str
    quoted: bool

    def typed(self) -> str | int | float | bool | None:
        """Read what was not quoted: a JSON number, true or false, None for nothing and NaN, anything else as text.

        Spaces belong to a text (RFC 4180), as pandas and Python's csv write it; around the others they say nothing.
        """
        if self.quoted:
            return self.text
        text = self.text.strip(" ")
        if text in ("", "NaN", "nan"):
            return None
        if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
            return text[0] in "tT"
        if _NUMBER.fullmatch(text) is None:
            return self.text
        try:
            value = json.loads(text)
            return value if math.isfinite(value) else self.text
        except (ValueError, OverflowError):
            return self.text  # more digits than Python reads, or than a float holds


def read_cells(text: str, delimiter: str, file: str, parameter: str) -> Iterator[tuple[int, list[Cell]]]:
    """Yield the number of the line and the cells of each row; empty lines are left out."""
    bare = re.compile(rf"[^{delimiter}\r\n]*")
    at, line = 0, 1
    while at < len(text):
        start, first, cells = line, at, list[Cell]()
        while True:
            if (cell := _QUOTED.match(text, at)) is not None:
                cells.append(Cell(cell[1].replace('""', '"'), True))
                line += len(_BREAK.findall(cell[1]))
            else:
                cell = bare.match(text, at)
                assert cell is not None
                if cell[0].lstrip(" ").startswith('"'):
                    raise ViInvalidParameterError(
                        f"{file}, line {line}: a quoted cell has no end.", parameter=parameter
                    )
                cells.append(Cell(cell[0], False))
            at = cell.end()
            if text.startswith(delimiter, at):
                at += 1
                continue
            break
        end = _END.match(text, at)
        if end is None:
            message = f"{file}, line {line}: text follows a quoted cell; write a quote within one twice."
            raise ViInvalidParameterError(message, parameter=parameter)
        if text[first:at].strip(" "):
            yield start, cells
        at, line = end.end(), line + 1
