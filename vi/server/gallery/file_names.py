"""How a name fits into a tile or a line: its ends stay visible, because names often differ there alone."""

from __future__ import annotations

import unicodedata

from .html import Child, Markup, h

_SHORT = 16
"""Characters that are shown in full."""
_TAIL = 11
_JOINERS = "\u200d"


def tile_name(filename: str) -> Markup:
    """Return a name for a tile: the base name, and its folder apart; what is too long loses its middle by the style."""
    folder, slash, base = filename.rpartition("/")
    return h(
        "bdi",
        h("span", ends(folder + slash), class_="folder") if folder else None,
        h("span", ends(base) if folder else ends(filename), class_="base"),
    )


def ends(text: str) -> Child:
    """Return a name in two pieces, of which the style cuts the first; one piece if it is short."""
    if len(text) <= _SHORT:
        return text
    at = len(text) - _TAIL
    while at > _TAIL and _continues(text, at):
        at -= 1
    return h("span", text[:at], class_="stem"), h("span", text[at:], class_="tail")


def _continues(text: str, at: int) -> bool:
    """Tell whether the character at *at* is drawn with the one before it."""
    return unicodedata.category(text[at])[0] == "M" or text[at] in _JOINERS or text[at - 1] in _JOINERS
