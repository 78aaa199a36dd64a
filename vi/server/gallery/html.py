"""HTML as nested calls: ``h("a", name, href=path)``. Whatever is not `Markup` is text, and is escaped.

That is the whole defence against hostile names, so pages can only be made this way. Two more things cannot be
written by mistake: an address of another site, and an attribute that holds a script.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import markupsafe
from markupsafe import Markup as Markup

VOID = frozenset({"img", "input", "link", "meta"})
_ADDRESSES = frozenset({"href", "src", "action", "data-dense"})
_FORBIDDEN = frozenset({"style", "srcdoc"})
_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(0x7F, 0xA0)) if code not in (9, 10)}


Child = Any
"""Markup, text, a number, None (nothing), or an iterable of these."""


def escape(text: str) -> Markup:
    """Return *text* escaped for HTML, between tags or in quotes; control characters are shown as such."""
    return markupsafe.escape(text.translate(_CONTROLS).encode("utf-8", "replace").decode())


def h(tag: str, *children: Child, **attributes: Any) -> Markup:
    """Return an element. Attributes: True is bare, None and False are omitted, ``class_`` and ``data_id`` respelled."""
    start = "".join(_attribute(name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    if tag in VOID:
        return Markup(f"<{tag}{start}>")  # noqa: S704 - what is in it is escaped here
    return Markup(f"<{tag}{start}>{join(children)}</{tag}>")  # noqa: S704


def join(children: Iterable[Child]) -> Markup:
    """Return *children* one after another."""
    return Markup("".join(_child(child) for child in children))  # noqa: S704 - each is escaped unless it is one


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return escape(child)
    if isinstance(child, Iterable):
        return join(child)
    return escape(str(child))


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    if name in _FORBIDDEN or name.startswith("on"):
        raise ValueError(f"the attribute {name} is not for pages")
    if value is True:
        return f" {name}"
    text = str(value)
    if name in _ADDRESSES and (not text.startswith(("/", "#")) or text.startswith(("//", "/\\"))):
        raise ValueError(f"{name} must be a path of this service")
    return f' {name}="{escape(text)}"'
