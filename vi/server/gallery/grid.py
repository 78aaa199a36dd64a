"""One dataset: its assets as a grid with filters and pages, and the place to drop files on."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import attrs
import sqlalchemy as sa
from aiohttp import web

from ... import _media
from ..._show.units import several, size
from ..context import CONTEXT
from ..handlers.answers import json_answer
from ..store import datasets
from ..store.paging import Page, listing
from . import selection
from .datasets import picture, turning
from .file_names import tile_name
from .html import Child, Markup, h
from .layout import TIMES, command, crumbs, form, name_of, page
from .paths import ASSET, DATASET, DATASET_STATE, HOME, SESSIONS, UPLOADS, path_to, tile_id
from .views import MAX_QUERY, MAX_SEARCH, ORDERS, PER_PAGE, STATUSES, TYPES, View, at, page_number


@attrs.frozen
class _Shown:
    dataset: sa.Row[Any]
    page: Page
    number: int
    found: int

    @property
    def last(self) -> int:
        return max(1, -(-self.found // PER_PAGE))


async def show(request: web.Request) -> web.Response:
    """Show a page of the assets of a dataset."""
    context = request.app[CONTEXT]
    name, view, number = context.dataset_name(request), View.of(request), page_number(request)
    asked = listing(view.binding(name), str(PER_PAGE), request.query.get("p"), context.signer, len(view.keys))

    def read(connection: sa.Connection) -> _Shown:
        row = datasets.find(connection, context.organization_id, name)
        found = view.count(connection, row)
        shown = min(number, max(1, -(-found // PER_PAGE)))
        here = asked
        if asked.position is None:
            here = at(request, view, name, view.start_of(connection, row.seq, shown, found))
        return _Shown(row, view.read(connection, here, row.seq), shown, found)

    shown = await context.database.read(read)
    row = shown.dataset
    here = path_to(DATASET, dataset=row.id)
    previous, following = asked.token(shown.page.previous), asked.token(shown.page.next)
    return page(
        request,
        row.name,
        crumbs(("Datasets", HOME), (row.name, None)),
        h(
            "div",
            h("h1", name_of(row.name)),
            h(
                "p",
                h("span", _totals(row), data_watch=path_to(DATASET_STATE, dataset=row.id)),
                " · id ",
                h("code", row.id),
                " · ",
                h("a", "Uploads", href=path_to(SESSIONS, dataset=row.id)),
                class_="quiet",
            ),
            class_="heading",
        ),
        h("p", row.description, class_="description") if row.description else None,
        _drop_zone(request, row),
        h("p", role="status", data_notice=True, class_="notice"),
        _search(view, here) if row.asset_total else None,
        h(
            "div",
            _hits(view, shown),
            selection.bar(request, row.id, _back(view, shown)),
            class_="above",
        )
        if shown.page.rows
        else None,
        _tiles(view, row, shown.page.rows),
        turning(here, view.query, previous, following, shown.number, _jump(view, here, shown)),
        None if row.asset_total else _shell(row),
        status=400 if view.trouble else 200,
    )


def _totals(dataset: sa.Row[Any]) -> str:
    return f"{several(dataset.asset_total, 'asset')} · {size(dataset.byte_total)}"


async def state(request: web.Request) -> web.Response:
    """Answer what the page of a dataset shows that others may change."""
    context = request.app[CONTEXT]
    name = context.dataset_name(request)
    row = await context.database.read(lambda connection: datasets.find(connection, context.organization_id, name))
    return json_answer({"assets": row.asset_total, "totals": _totals(row)})


def _given(view: View) -> dict[str, str]:
    return {name: value for name, value in view.query.items() if value}


def _back(view: View, shown: _Shown) -> str:
    return urlencode(_given(view) | ({"page": str(shown.number)} if shown.number > 1 else {}))


def _hits(view: View, shown: _Shown) -> Markup:
    total = several(shown.dataset.asset_total, "asset")
    words = f"{shown.found:,} of {total} found" if view.conditions else total
    place = f" · page {shown.number:,} of {shown.last:,}" if shown.last > 1 else ""
    return h("p", f"{words}{place}", class_="quiet hits", role="status")


def _jump(view: View, here: str, shown: _Shown) -> Markup:
    """Return the form that leads to a page by its number."""
    asked = [h("input", type="hidden", name=name, value=value) for name, value in _given(view).items()]
    return h(
        "form",
        *asked,
        h("label", "Page", for_="page"),
        h("input", type="number", name="page", id="page", value=shown.number, min=1, max=shown.last, required=True),
        h("span", f"of {shown.last:,}"),
        h("button", "Go"),
        method="get",
        action=here,
        class_="jump",
    )


def _tiles(view: View, dataset: sa.Row[Any], rows: Any) -> Child:
    if rows:
        return h(
            "ul",
            *(h("li", _tile(view, dataset, row), selection.box(row.id, row.filename)) for row in rows),
            class_="grid",
            data_keys="grid",
        )
    if not dataset.asset_total or view.trouble:
        return None
    nothing: Child = "Nothing is left on this page."
    if view.conditions:
        nothing = "No asset matches."
    if view.search and len(view.conditions) == 1:
        nothing = ("No file name contains ", h("q", name_of(view.search)), ".")
    return h("p", nothing, class_="nothing")


def _tile(view: View, dataset: sa.Row[Any], row: sa.Row[Any]) -> Markup:
    return h(
        "a",
        h("span", picture(row, dataset.id), class_="frame"),
        h("span", tile_name(row.filename), class_="name", title=row.filename),
        h("span", facts(row), class_="quiet"),
        href=path_to(ASSET, view.query, dataset=dataset.id, asset=row.id),
        class_="tile",
        id=tile_id(row.id),
    )


def facts(row: sa.Row[Any]) -> str:
    """Return dimensions, where there are any, and size."""
    dimensions = f"{row.width} {TIMES} {row.height} · " if row.width else "video · " if row.kind == "Video" else ""
    return dimensions + size(row.size)


def _search(view: View, here: str) -> Markup:
    orders = {name: words for name, (words, _, _) in ORDERS.items()}
    trouble = h("p", view.trouble, id="trouble", role="alert", class_="problem") if view.trouble else None
    return h(
        "form",
        h("label", "File name", for_="q"),
        h(
            "input",
            type="search",
            name="q",
            id="q",
            value=view.search,
            maxlength=MAX_SEARCH,
            placeholder="part of a file name",
        ),
        h("label", "Metadata", for_="metadata"),
        h(
            "input",
            type="search",
            name="metadata",
            id="metadata",
            value=view.metadata,
            maxlength=MAX_QUERY,
            placeholder='camera == "left" and lot > 40',
            spellcheck="false",
            aria_invalid="true" if view.trouble else None,
            aria_describedby="trouble" if view.trouble else None,
        ),
        _choice("Type", "type", TYPES, view.type),
        _choice("Status", "status", STATUSES, view.status),
        _choice("Order", "sort", orders, view.order),
        h("button", "Show"),
        h("a", "Clear", href=here, class_="button quiet") if view.conditions else None,
        trouble,
        method="get",
        action=here,
        role="search",
        class_="search",
    )


def _choice(label: str, name: str, values: dict[str, str], chosen: str) -> tuple[Markup, Markup]:
    options = [h("option", words, value=value, selected=value == chosen) for value, words in values.items()]
    return h("label", label, for_=name, class_="hidden"), h("select", *options, name=name, id=name)


def _drop_zone(request: web.Request, dataset: sa.Row[Any]) -> Markup:
    """Return the form that uploads; without a script it sends what was chosen, with one it also takes drops."""
    accepted = ",".join([*_media.IMAGE_TYPES, *_media.VIDEO_TYPES])
    types = {**_media.IMAGE_TYPES, **_media.VIDEO_TYPES}
    empty = not dataset.asset_total
    return form(
        request,
        path_to(UPLOADS, dataset=dataset.id),
        h("strong", "Drop pictures or folders here", data_script=True),
        h("span", "or", data_script=True),
        h("label", "Choose files", for_="files", class_="button primary" if empty else "button"),
        h("input", type="file", name="files", id="files", multiple=True, required=True, accept=accepted),
        h("button", "Upload", data_noscript=True),
        h("small", "Files with the same name are replaced.", class_="quiet"),
        enctype="multipart/form-data",
        class_="drop large" if empty else "drop",
        data_upload=path_to(SESSIONS, dataset=dataset.id),
        data_shown=path_to(DATASET, dataset=dataset.id),
        data_types=json.dumps(types, separators=(",", ":")),
    )


def _shell(dataset: sa.Row[Any]) -> Markup:
    return h(
        "section",
        h("p", "From a shell, where the settings of this service are loaded:", class_="quiet"),
        command(f"vi-sdk assets upload {dataset.id} ./images"),
        class_="shell",
    )
