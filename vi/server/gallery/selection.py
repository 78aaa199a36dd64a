"""Assets that were chosen in a grid: downloaded as one archive, or deleted once that was confirmed."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import sqlalchemy as sa
from aiohttp import web

from ..._show.units import several, size
from ..context import CONTEXT
from ..http.api_errors import ApiError, invalid
from ..store import assets, datasets
from ..store.schema import asset
from . import archive
from .access import FORM
from .html import Markup, h
from .layout import crumbs, form, name_of, page
from .paths import DATASET, HOME, SELECTION, path_to, tile_id

FORM_ID = "selection"
_NAMED = 20
_BACK = ("q", "metadata", "type", "status", "sort", "page")
_MOST = 1000
_PREFIX = tile_id("")


def box(asset_id: str, filename: str) -> Markup:
    """Return the box that chooses an asset."""
    chosen = h(
        "input", type="checkbox", name=tile_id(asset_id), value="y", form=FORM_ID, aria_label=f"Select {filename}"
    )
    return h("label", chosen, class_="pick")


def bar(request: web.Request, dataset_id: str, back: str) -> Markup:
    """Return the form that the boxes of a page belong to."""
    return form(
        request,
        path_to(SELECTION, dataset=dataset_id),
        h("input", type="hidden", name="back", value=back),
        h("span", role="status", data_chosen=True, data_script=True, class_="quiet"),
        h("button", "Select all", type="button", data_all=True, data_script=True, class_="quiet"),
        h("button", "Download", name="action", value="download"),
        h("button", "Delete", name="action", value="delete", class_="danger"),
        id=FORM_ID,
        class_="selection",
    )


async def act(request: web.Request) -> web.StreamResponse:
    """Do with the chosen assets what the button of the form says."""
    context = request.app[CONTEXT]
    fields, name = request.get(FORM, {}), context.dataset_name(request)
    action = fields.get("action")
    if action not in ("download", "delete", "confirm"):
        raise invalid("action must be download, delete or confirm", "action")
    chosen = [field.removeprefix(_PREFIX) for field in fields if field.startswith(_PREFIX)]
    if not 0 < len(chosen) <= _MOST:
        raise invalid(f"Select 1 to {_MOST} assets first", "assets")
    if action == "confirm":
        dataset_id = await _delete(request, name, chosen)
        return web.Response(status=303, headers={"Location": _back(dataset_id, fields)})

    def read(connection: sa.Connection) -> tuple[sa.Row[Any], list[sa.Row[Any]]]:
        row = datasets.find(connection, context.organization_id, name)
        return row, _found(connection, row.seq, chosen)

    dataset, rows = await context.database.read(read)
    if len(rows) < len(chosen):
        gone = several(len(chosen) - len(rows), "selected asset")
        raise ApiError(404, f"{gone} not found; go back, reload the page and select again")
    if action == "download":
        return await archive.send(request, dataset.name, rows)
    return _ask(request, dataset, rows, fields)


def _found(connection: sa.Connection, dataset_seq: int, chosen: list[str]) -> list[sa.Row[Any]]:
    statement = assets.listed(dataset_seq).where(asset.c.id.in_(chosen)).order_by(asset.c.filename)
    return list(connection.execute(statement))


async def _delete(request: web.Request, name: str, chosen: list[str]) -> str:
    """Delete assets with their bytes; assets that do not exist are skipped."""
    context = request.app[CONTEXT]

    def remove(connection: sa.Connection) -> tuple[str, list[str]]:
        row = datasets.find(connection, context.organization_id, name)
        return row.id, assets.delete(connection, _found(connection, row.seq, chosen))

    dataset_id, blobs = await context.database.write(remove)
    context.contents.forget(chosen)
    await context.remove(blobs)
    return dataset_id


def _ask(request: web.Request, dataset: sa.Row[Any], rows: list[sa.Row[Any]], fields: dict[str, str]) -> web.Response:
    count, back = several(len(rows), "asset"), _back(dataset.id, fields)
    more = len(rows) - _NAMED
    return page(
        request,
        f"Delete {count}?",
        crumbs(("Datasets", HOME), (dataset.name, back), ("Delete", None)),
        h(
            "section",
            h("h1", f"Delete {count}?"),
            h("p", f"{size(sum(row.size for row in rows))} of files are deleted with them. This cannot be undone."),
            h("ul", *(h("li", name_of(row.filename)) for row in rows[:_NAMED]), class_="named"),
            h("p", f"and {more:,} more", class_="quiet") if more > 0 else None,
            form(
                request,
                path_to(SELECTION, dataset=dataset.id),
                *(h("input", type="hidden", name=tile_id(row.id), value="y") for row in rows),
                h("input", type="hidden", name="back", value=fields.get("back", "")),
                h("button", f"Delete {count}", name="action", value="confirm", class_="danger"),
                h("a", "Keep them", href=back, data_key="Escape", class_="button"),
                class_="inline",
            ),
            class_="card",
        ),
        narrow=True,
    )


def _back(dataset_id: str, fields: dict[str, str]) -> str:
    """Return the page of the grid that the form came from."""
    asked: dict[str, str | None] = {name: value for name, value in parse_qsl(fields.get("back", "")) if name in _BACK}
    return path_to(DATASET, asked, dataset=dataset_id)
