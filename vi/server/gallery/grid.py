"""One dataset: its assets as a grid, a search by name, and the place to drop files on."""

from __future__ import annotations

import json
from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from ... import _media
from ..._show.units import several, size
from ..context import CONTEXT
from ..http.api_errors import invalid
from ..store import assets, datasets
from ..store.paging import Listing, Page, listing
from .datasets import picture, turning
from .file_names import tile_name
from .html import Child, Markup, h
from .layout import TIMES, command, crumbs, form, name_of, page
from .paths import ASSET, DATASET, HOME, SESSIONS, UPLOADS, path_to, tile_id

PER_PAGE = "48"
_MAX_SEARCH = 200

ORDERS = {
    "newest": ("Newest first", "default", True),
    "oldest": ("Oldest first", "default", False),
    "name": ("By name", "filename", False),
    "largest": ("Largest first", "metadata.fileSize", True),
}


@attrs.frozen
class View:
    """What of a dataset is looked at, and in which order."""

    search: str
    order: str

    @classmethod
    def of(cls, request: web.Request) -> View:
        """Read it from an address; raises 400."""
        search, order = request.query.get("q", "").strip(), request.query.get("sort", "") or "newest"
        if order not in ORDERS:
            raise invalid(f"sort must be one of {', '.join(ORDERS)}", "sort")
        return cls(search[:_MAX_SEARCH], order)

    @property
    def query(self) -> dict[str, str | None]:
        """What of it goes into an address."""
        return {"q": self.search, "sort": None if self.order == "newest" else self.order}

    @property
    def keys(self) -> tuple[sa.Column[Any], ...]:
        """What it is sorted by."""
        return assets.SORTS[ORDERS[self.order][1]]

    def binding(self, name: str) -> str:
        """Return what a page token of it belongs to."""
        return "\n".join(["gallery assets", name, self.order, self.search])

    def select(self, dataset_seq: int) -> sa.Select[Any]:
        """Select its assets."""
        statement = assets.listed(dataset_seq)
        return statement.where(assets.is_named_like(self.search)) if self.search else statement

    def read(self, connection: sa.Connection, asked: Listing, dataset_seq: int) -> Page:
        """Return one page of it."""
        return asked.read(connection, self.select(dataset_seq), self.keys, descending=ORDERS[self.order][2])


async def show(request: web.Request) -> web.Response:
    """Show a page of the assets of a dataset."""
    context = request.app[CONTEXT]
    name, view = context.dataset_name(request), View.of(request)
    asked = listing(view.binding(name), PER_PAGE, request.query.get("p"), context.signer, len(view.keys))

    def read(connection: sa.Connection) -> tuple[sa.Row[Any], Page]:
        row = datasets.find(connection, context.organization_id, name)
        return row, view.read(connection, asked, row.seq)

    row, found = await context.database.read(read)
    here = path_to(DATASET, dataset=row.id)
    return page(
        request,
        row.name,
        crumbs(("Datasets", HOME), (row.name, None)),
        h(
            "div",
            h("h1", name_of(row.name)),
            h(
                "p",
                f"{several(row.asset_total, 'asset')} · {size(row.byte_total)}",
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
        _search(view, here) if row.asset_total else None,
        _tiles(view, row, found.rows),
        turning(here, view.query, asked.token(found.previous), asked.token(found.next)),
        None if row.asset_total else _shell(row),
    )


def _tiles(view: View, dataset: sa.Row[Any], rows: Any) -> Child:
    if rows:
        return h("ul", *(h("li", _tile(view, dataset, row)) for row in rows), class_="grid", data_keys="grid")
    if not dataset.asset_total:
        return None
    nothing = (
        ("No file name contains ", h("q", name_of(view.search)), ".")
        if view.search
        else "Nothing is left on this page."
    )
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
    options = [h("option", words, value=name, selected=name == view.order) for name, (words, _, _) in ORDERS.items()]
    return h(
        "form",
        h("label", "File name", for_="q"),
        h("input", type="search", name="q", id="q", value=view.search, maxlength=_MAX_SEARCH, placeholder="any part"),
        h("label", "Order", for_="sort"),
        h("select", *options, name="sort", id="sort"),
        h("button", "Show"),
        h("a", "Clear", href=here, class_="button quiet") if view.search else None,
        method="get",
        action=here,
        role="search",
        class_="search",
    )


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
