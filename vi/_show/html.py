"""Sheets and progress as HTML for notebooks: functions of what a sheet holds, without any request.

Everything shown is escaped, keys and the queries of URLs are cut out, and pictures are inside the text: a saved
notebook shows the same and gives nothing away. Styles are inline, since notebooks drop anything else of a stranger.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from .._events import TransferProgress
from .._media import sniff
from .._redact import limited
from .sheet import Rows, Sheet, Table, Tile
from .text import printable
from .units import portion, progress_line

FAILURES = 20
LONGEST = 300
PICTURE_BYTES = 1 << 20
"""How many bytes of pictures one display may hold; a notebook saves them with it."""

_PICTURES = {"gif": "image/gif", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_CELL = "padding:0.15em 0.8em;text-align:left;vertical-align:top"
_FAINT = "opacity:0.65"
_CARD = "display:inline-block;width:132px;margin:4px;vertical-align:top;font-size:0.85em"
_FRAME = "width:128px;height:128px;border:1px solid rgba(128,128,128,0.4);border-radius:4px;box-sizing:border-box"
_NAME = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"


def text(value: object) -> str:
    """Return anything as text that is safe inside an element or an attribute."""
    words = printable(limited(str(value), LONGEST))
    return html.escape(words if len(words) <= LONGEST else f"{words[: LONGEST - 3]}...")


def drawn(sheet: Sheet) -> str:
    """Return a sheet as HTML."""
    pictured = _picture(sheet.picture, PICTURE_BYTES) if sheet.picture is not None else None
    told = [(word.capitalize(), f"{count:,}") for count, word in sheet.counts if count]
    return _block(
        f"<div><b>{text(sheet.headline)}</b></div>" if sheet.headline else "",
        pictured or "",
        _pairs(sheet.facts),
        _pairs(told),
        _grid(sheet.tiles) if sheet.tiles else _table(sheet.table),
        _table(sheet.details, FAILURES),
        *(_line(note, _FAINT) for note in sheet.notes),
        _line(sheet.hint, _FAINT) if sheet.hint else "",
    )


def progress_bar(progress: TransferProgress) -> str:
    """Return how far a transfer has come as a bar with a line of words."""
    part = portion(progress)
    value = f' value="{part:.3f}"' if part is not None else ""
    words = text(progress_line(progress, progress.seconds))
    return f'<div><progress style="width:16em;vertical-align:middle"{value}></progress> <span>{words}</span></div>'


def _grid(tiles: Sequence[Tile]) -> str:
    left = PICTURE_BYTES
    cards = []
    for tile in tiles:
        picture = _picture(tile, left)
        if picture is None:
            picture = f'<div style="{_FRAME};{_FAINT};padding-top:54px;text-align:center">{text(tile.instead)}</div>'
        else:
            left -= len(tile.picture or b"")
        name = text(tile.name)
        cards.append(
            f'<div style="{_CARD}" title="{name}">{picture}<div style="{_NAME}">{name}</div>'
            f'<div style="{_NAME};{_FAINT}">{text(tile.facts)}</div></div>'
        )
    return f"<div>{''.join(cards)}</div>"


def _picture(tile: Tile, room: int) -> str | None:
    """Return a picture within the text, None where there is none that could be shown."""
    data = tile.picture
    kind = _PICTURES.get(sniff(data[:64]) or "") if data else None
    if data is None or kind is None or len(data) > room:
        return None
    source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img src="{source}" alt="{text(tile.name)}" style="{_FRAME};object-fit:contain">'


def _table(table: Table | None, most: int | None = None) -> str:
    if table is None or not table.rows:
        return ""
    rows = table.rows[:most]
    body = "".join(_row("td", row) for row in rows)
    rest = table.total - len(rows) if table.where else 0
    note = _line(f"and {rest:,} more, in {table.where}", _FAINT) if rest else ""
    return f"<table><thead>{_row('th', table.heads)}</thead><tbody>{body}</tbody></table>{note}"


def _pairs(rows: Rows) -> str:
    if not rows:
        return ""
    lines = (
        f'<tr><th style="{_CELL}">{text(name)}</th><td style="{_CELL}">{text(value)}</td></tr>' for name, value in rows
    )
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def _row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag} style={chr(34)}{_CELL}{chr(34)}>{text(cell)}</{tag}>' for cell in cells)}</tr>"


def _line(words: str, style: str = "") -> str:
    return f'<div style="{style}">{text(words)}</div>'


def _block(*parts: str) -> str:
    return f"<div>{''.join(parts)}</div>"
