"""One asset: the picture as large as the browser can show it, what is known of it, its neighbours, and its bytes."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import attrs
import sqlalchemy as sa
from aiohttp import web

from ..._media import FILMS_PLAYED, PICTURES_SHOWN, may_be_inline
from ..._show.units import exact_size, size
from ..contents import StoredObject
from ..context import CONTEXT, Context
from ..disk import previews
from ..handlers.storage import send_thumbnail
from ..http.api_errors import invalid, not_found
from ..objects import picture_type
from ..serving import serve_bytes, serve_object
from ..store import assets, datasets
from ..store.paging import Position
from .datasets import THUMBNAIL_SIDE, picture
from .html import Child, Markup, h
from .layout import TIMES, crumbs, moment, name_of, page
from .paths import ASSET, DATASET, FILE, HOME, PREVIEW, path_to, tile_id
from .views import View, at

_MAX_SHOWN_BYTES = 48_000_000
_MAX_SHOWN_PIXELS = 64_000_000


@attrs.frozen
class _Found:
    dataset: sa.Row[Any]
    asset: sa.Row[Any]
    previous: sa.Row[Any] | None
    next: sa.Row[Any] | None
    page: int
    """The number of the page that shows it."""


async def show(request: web.Request) -> web.Response:
    """Show an asset."""
    context = request.app[CONTEXT]
    view, name = View.of(request), context.dataset_name(request)
    if view.trouble:
        raise invalid(view.trouble.rstrip("."), "metadata")
    asset_id = request.match_info["asset"]

    def read(connection: sa.Connection) -> _Found:
        row = datasets.find(connection, context.organization_id, name)
        found = assets.find(connection, row.seq, asset_id)
        here = [found._mapping[key] for key in view.keys]

        def neighbour(*, backward: bool) -> sa.Row[Any] | None:
            asked = attrs.evolve(at(request, view, name, Position(here, backward)), size=1)
            rows = view.read(connection, asked, row.seq).rows
            return rows[0] if rows else None

        number = view.page_of(connection, row.seq, found)
        return _Found(row, found, neighbour(backward=True), neighbour(backward=False), number)

    found = await context.database.read(read)
    number = str(found.page) if found.page > 1 else None
    grid = path_to(DATASET, {**view.query, "page": number}, dataset=found.dataset.id)
    return page(
        request,
        found.asset.filename,
        crumbs(("Datasets", HOME), (found.dataset.name, grid), (found.asset.filename, None)),
        h(
            "article",
            h("figure", _preview(found), class_="stage"),
            h(
                "div",
                h("h1", name_of(found.asset.filename)),
                _moves(view, found, grid),
                h(
                    "p",
                    h(
                        "a",
                        f"Download ({size(found.asset.size)})",
                        href=_file(found, download=True),
                        download=True,
                        class_="button primary",
                    ),
                ),
                _table("About", _about(found.asset)),
                _table("Custom metadata", sorted(found.asset.custom_metadata.items())),
                class_="facts",
            ),
            class_="asset",
            data_asset=tile_id(found.asset.id),
        ),
    )


def _file(found: _Found, *, download: bool = False) -> str:
    return path_to(FILE, {"download": "y" if download else None}, dataset=found.dataset.id, asset=found.asset.id)


def _preview(found: _Found) -> Child:
    row = found.asset
    if row.mime in FILMS_PLAYED:
        return h("video", src=_file(found), controls=True, preload="metadata", aria_label=row.filename)
    why: Child
    if row.mime not in PICTURES_SHOWN:
        kind = row.mime.partition("/")[2].upper()
        why = f"Preview; browsers cannot display {kind}."
        if not row.has_thumbnail:
            why = f"Browsers cannot display {kind}."
    elif row.size > _MAX_SHOWN_BYTES or row.width * row.height > _MAX_SHOWN_PIXELS:
        why = ("Preview of a large file. ", h("a", "Open the file itself", href=_file(found)), ".")
    else:
        # Width and height keep its place until it is there.
        return h("img", src=_file(found), alt=row.filename, width=row.width or None, height=row.height or None)
    shown = picture(row, found.dataset.id, row.filename)
    if row.has_thumbnail and max(row.width, row.height) > THUMBNAIL_SIDE:
        address = path_to(PREVIEW, {"v": row.blob}, dataset=found.dataset.id, asset=row.id)
        shown = h("img", src=address, alt=row.filename)
    return shown, h("figcaption", why)


def _moves(view: View, found: _Found, grid: str) -> Markup:
    def link(text: str, row: sa.Row[Any] | None, key: str, relation: str) -> Markup:
        if row is None:
            return h("span", text, aria_disabled="true", class_="button")
        address = path_to(ASSET, view.query, dataset=found.dataset.id, asset=row.id)
        return h("a", text, href=address, rel=relation, data_key=key, title=row.filename, class_="button")

    return h(
        "nav",
        link("← Previous", found.previous, "ArrowLeft", "prev"),
        h("a", "Grid", href=f"{grid}#{tile_id(found.asset.id)}", data_key="Escape", class_="button"),
        link("Next →", found.next, "ArrowRight", "next"),
        h("small", "Keys: ← → Esc", data_script=True, class_="quiet keys"),
        class_="moves",
        aria_label="Neighbours",
    )


def _about(row: sa.Row[Any]) -> list[tuple[str, Child]]:
    facts: list[tuple[str, Child]] = [("Type", row.mime)]
    if row.width:
        facts.append(("Dimensions", f"{row.width} {TIMES} {row.height} pixels"))
    if row.frames > 1:
        facts.append(("Frames", f"{row.frames:,}"))
    facts += [("Size", exact_size(row.size))]
    if row.annotation_total:
        facts.append(("Annotations", f"{row.annotation_total:,}"))
    facts += [("Added", moment(row.created))]
    if row.updated != row.created:
        facts.append(("Changed", moment(row.updated)))
    return [*facts, ("Asset id", h("code", row.id)), ("SHA-256", h("code", row.sha256))]


def _table(title: str, facts: list[tuple[str, Child]]) -> Markup | None:
    if not facts:
        return None
    rows = [
        h(
            "tr",
            h("th", name_of(name), scope="row"),
            h("td", value if isinstance(value, Markup) else name_of(_text(value))),
        )
        for name, value in facts
    ]
    return h("section", h("h2", title), h("table", h("tbody", *rows)))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def send_file(request: web.Request) -> web.StreamResponse:
    """Send the bytes of an asset, to be shown if they are a picture or a film and to be kept otherwise."""
    context = request.app[CONTEXT]
    row = await _find(request, context)
    known = StoredObject(row.blob, row.size, row.mime, row.crc32c, row.sha256)
    shown = may_be_inline(row.mime) and "download" not in request.query
    # The name in UTF-8 alone, and every character of it that could end the value is escaped.
    disposition = f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{quote(row.filename, safe='')}"
    headers = {"Content-Disposition": disposition, "Cache-Control": "private, no-cache"}
    if not shown:
        known = known._replace(mime="application/octet-stream")
    answer = await serve_object(request, known, headers)
    if answer is None:
        raise not_found("The bytes of asset", row.id)
    return answer


async def send_preview(request: web.Request) -> web.StreamResponse:
    """Send a picture of an asset that fills a screen or a tile, or its thumbnail where none can be made."""
    context = request.app[CONTEXT]
    row = await _find(request, context)
    if not row.has_thumbnail:
        raise not_found("The preview of asset", row.id)
    side = previews.SMALL if request.query.get("size") == "tile" else previews.LARGE
    data = await context.ingestion.make_preview(row, side)
    if data is None:
        return await send_small(request)
    answer = serve_bytes(request, data, picture_type(data), f'"{row.blob}-{side}"')
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


async def send_small(request: web.Request) -> web.StreamResponse:
    """Send the thumbnail of an asset."""
    context = request.app[CONTEXT]
    row = await _find(request, context)
    if not row.has_thumbnail:
        raise not_found("The thumbnail of asset", row.id)
    answer = await send_thumbnail(request, row.blob, lambda connection: row)
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


async def _find(request: web.Request, context: Context) -> sa.Row[Any]:
    name, asset_id = context.dataset_name(request), request.match_info["asset"]

    def read(connection: sa.Connection) -> sa.Row[Any]:
        return assets.find(connection, datasets.find(connection, context.organization_id, name).seq, asset_id)

    return await context.database.read(read)
