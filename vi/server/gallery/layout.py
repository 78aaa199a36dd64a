"""The frame around every page, and how times and names are written."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from ..context import CONTEXT
from .access import TOKEN_FIELD, VISITOR
from .file_names import ends
from .html import Child, Markup, h
from .paths import ALL_SESSIONS, HOME, LOGOUT, STATIC, path_to

TIMES = "\N{MULTIPLICATION SIGN}"


def page(
    request: web.Request, title: str, *content: Child, here: str | None = None, status: int = 200, narrow: bool = False
) -> web.Response:
    """Answer with a page; *here* is the address of the section that it is in."""
    visitor = request.get(VISITOR)
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("meta", name="robots", content="noindex"),
        h("meta", name="csrf", content=visitor.token) if visitor else None,
        h("title", f"{title} · vi"),
        h("link", rel="icon", type="image/svg+xml", href=path_to(STATIC, name="icon.svg")),
        h("link", rel="stylesheet", href=path_to(STATIC, name="gallery.css")),
        h("script", src=path_to(STATIC, name="gallery.js"), defer=True),
    )
    body = h(
        "body",
        h("a", "Skip to the content", href="#content", class_="skip"),
        _top(request, here) if visitor else None,
        h("main", *content, id="content", tabindex="-1", class_="narrow" if narrow else None),
    )
    text = f"<!doctype html>\n{h('html', head, body, lang='en')}"
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def _top(request: web.Request, here: str | None) -> Markup:
    def link(text: str, address: str) -> Markup:
        return h("a", text, href=address, aria_current="page" if here == address else None)

    return h(
        "header",
        h("a", mark(), h("span", "vi"), href=HOME, class_="brand", aria_label="vi, to the datasets"),
        h("nav", link("Datasets", HOME), link("Uploads", ALL_SESSIONS), aria_label="Sections"),
        h("span", request.app[CONTEXT].identity.name, class_="organization"),
        form(request, LOGOUT, h("button", "Log out", class_="quiet")),
        class_="top",
    )


def mark() -> Markup:
    """Draw the sign of the gallery; the name stands beside it."""
    frames = (h("rect", x=x, y=y, width=9, height=9, rx=2.5) for x, y in ((1, 1), (12, 1), (1, 12)))
    return h(
        "svg",
        *frames,
        h("circle", cx=16.5, cy=16.5, r=4.5),
        viewBox="0 0 22 22",
        width=22,
        height=22,
        aria_hidden="true",
        class_="mark",
    )


def form(request: web.Request, action: str, *content: Child, **attributes: Child) -> Markup:
    """Return a form that changes something, with the token that lets it."""
    visitor = request.get(VISITOR)
    token = h("input", type="hidden", name=TOKEN_FIELD, value=visitor.token) if visitor else None
    return h("form", token, *content, method="post", action=action, **attributes)


def crumbs(*steps: tuple[str, str | None]) -> Markup:
    """Return the way to a page: names with their addresses, the last without."""
    named = [(h("bdi", ends(text)), address) for text, address in steps]
    items = [h("li", h("a", name, href=address) if address else name) for name, address in named]
    return h("nav", h("ol", *items), class_="crumbs", aria_label="You are here")


def name_of(text: str) -> Markup:
    """Return a name that others gave; whatever direction its characters ask for, it turns nothing around it."""
    return h("bdi", text)


def command(*lines: str) -> Markup:
    """Show lines to type into a shell."""
    return h("pre", h("code", "\n".join(lines)), tabindex="0")


def moment(milliseconds: int) -> Markup:
    """Return a time, in UTC; the script rewrites it in the reader's own zone."""
    when = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return h("time", f"{when.day} {when:%b %Y, %H:%M} UTC", datetime=when.isoformat(timespec="seconds"))
