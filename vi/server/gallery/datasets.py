"""The front page: every dataset with its newest pictures, and a form that makes one."""

from __future__ import annotations

import json
from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from ... import _routes
from ..._show.units import several, size
from ..context import CONTEXT, Context
from ..handlers.answers import json_answer
from ..handlers.datasets import DatasetChanges, make
from ..http.api_errors import invalid
from ..inspection.frames import InspectionLimits
from ..store import assets, datasets
from ..store.paging import Page, listing
from ..store.schema import dataset
from .access import FORM, wants_json
from .html import Child, Markup, h
from .layout import command, form, name_of, page
from .paths import DATASET, DATASETS, HOME, PREVIEW, THUMBNAIL, asking, path_to

_PER_PAGE = "24"
_COVER = 4
THUMBNAIL_SIDE = InspectionLimits().thumbnail_side


@attrs.frozen
class _Shelf:
    page: Page
    covers: dict[int, list[sa.Row[Any]]]


async def home(request: web.Request) -> web.Response:
    """Show a page of datasets, newest first; programs get the state of the service."""
    context = request.app[CONTEXT]
    if wants_json(request):
        return json_answer({"inspection": attrs.asdict(context.ingestion.inspection)})
    asked = listing("gallery datasets", _PER_PAGE, request.query.get("p"), context.signer, 1)

    def read(connection: sa.Connection) -> _Shelf:
        found = asked.read(connection, datasets.listed(context.organization_id), (dataset.c.seq,), descending=True)
        return _Shelf(found, {row.seq: assets.newest(connection, row.seq, _COVER) for row in found.rows})

    shelf = await context.database.read(read)
    rows = shelf.page.rows
    if not rows and asked.position is None:
        return page(request, "Datasets", _troubles(context), _welcome(request), here=HOME)
    return page(
        request,
        "Datasets",
        _troubles(context),
        h("div", h("h1", "Datasets"), _new(request), class_="heading"),
        h("ul", *(h("li", _card(row, shelf.covers[row.seq])) for row in rows), class_="shelf"),
        turning(HOME, {}, asked.token(shelf.page.previous), asked.token(shelf.page.next)),
        here=HOME,
    )


def _troubles(context: Context) -> Child:
    state = context.ingestion.inspection
    lines = [f"{name} cannot be used, and files that need it are refused: {why}" for name, why in state.missing.items()]
    if state.reason is not None:
        lines.append(f"Images are refused for now, because no decoder starts: {state.reason}")
    return h("section", *(h("p", line) for line in lines), class_="card", role="status") if lines else None


def _welcome(request: web.Request) -> Markup:
    return h(
        "section",
        h("h1", "No dataset yet"),
        h("p", "A dataset holds the pictures that belong together. Name the first one:"),
        _new(request, first=True),
        h("p", "Or from a shell, where the settings of this service are loaded:", class_="quiet"),
        command('vi-sdk datasets create "street signs"', "vi-sdk assets upload DATASET ./images"),
        class_="card empty",
    )


def _new(request: web.Request, *, first: bool = False) -> Markup:
    field = h(
        "input",
        name="name",
        id="new",
        required=True,
        maxlength=200,
        placeholder="street signs" if first else "New dataset",
        autocomplete="off",
    )
    label = h("label", "Name of the new dataset", for_="new", class_="hidden")
    button = h("button", "Create dataset" if first else "Create", class_="primary" if first else None)
    return form(request, DATASETS, label, field, button, class_="inline")


def _card(row: sa.Row[Any], cover: list[sa.Row[Any]]) -> Markup:
    pictures = [picture(found, row.id) for found in cover]
    return h(
        "a",
        h("span", pictures or h("span", "empty", class_="blank"), class_="cover"),
        h("strong", name_of(row.name)),
        h("span", f"{several(row.asset_total, 'asset')} · {size(row.byte_total)}", class_="quiet"),
        href=path_to(DATASET, dataset=row.id),
        class_="dataset",
    )


def picture(row: sa.Row[Any], dataset_id: str, alt: str = "") -> Markup:
    """Return the thumbnail of an asset, or what stands for one; its name stands beside it where *alt* is empty.

    The script shows a larger one in its place on a dense screen, once the thumbnail is there.
    """
    if not row.has_thumbnail:
        return h("span", row.filename.rpartition(".")[2][:5] or "?", class_="blank", aria_hidden="true")
    address = path_to(THUMBNAIL, {"v": row.blob}, dataset=dataset_id, asset=row.id)
    dense = path_to(PREVIEW, {"v": row.blob, "size": "tile"}, dataset=dataset_id, asset=row.id)
    is_larger = max(row.width or 0, row.height or 0) > THUMBNAIL_SIDE
    return h("img", src=address, alt=alt, loading="lazy", decoding="async", data_dense=dense if is_larger else None)


def turning(
    address: str,
    query: dict[str, str | None],
    previous: str | None,
    following: str | None,
    number: int | None = None,
    between: Child = None,
) -> Markup | None:
    """Return the links to the pages around this one, which has a *number* where pages are counted."""
    if not previous and not following:
        return None

    def link(text: str, token: str | None, relation: str, step: int) -> Markup:
        if token is None:
            return h("span", text, aria_disabled="true", class_="button")
        page = None if number is None else str(max(1, number + step))
        return h("a", text, href=asking(address, {**query, "page": page, "p": token}), rel=relation, class_="button")

    return h(
        "nav",
        link("← Previous", previous, "prev", -1),
        between,
        link("Next →", following, "next", 1),
        class_="pages",
        aria_label="Pages",
    )


async def create(request: web.Request) -> web.Response:
    """Make a dataset and show it."""
    context = request.app[CONTEXT]
    name = request.get(FORM, {}).get("name", "").strip()
    if not name:
        raise invalid("A dataset needs a name", "name")
    made = json.loads(await make(context, DatasetChanges(name=name)))
    identifier = _routes.short(context.organization_id, made["datasetId"])
    return web.Response(status=303, headers={"Location": path_to(DATASET, dataset=identifier)})
