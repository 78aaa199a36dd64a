"""Assets (protocol section 8)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from ... import _routes
from ...api.resources.datasets.assets.types import AssetCustomMetadata
from ..context import CONTEXT, Context
from ..http.api_errors import invalid, not_found
from ..http.names import check_metadata, check_name
from ..http.reading import flag, read_json, spec_of, structure
from ..store import assets, datasets
from ..store.paging import Page, listing
from ..store.selection import Selection
from .answers import json_answer, text_answer

_ORDERS = {"": False, "a": False, "asc": False, "d": True, "desc": True}


@attrs.define
class Rename:
    """The new name of an asset."""

    filename: str


@attrs.define
class AssetUpdate:
    """The metadata to set on one asset; its other keys stay."""

    filename: str
    custom_metadata: AssetCustomMetadata = attrs.Factory(dict)


@attrs.define
class MetadataSpec:
    """The assets to change, and the keys to remove from each first."""

    assets: list[AssetUpdate]
    remove: list[str] = attrs.Factory(list)
    dry_run: bool = False


@attrs.define
class LookupSpec:
    """The names of the requested assets."""

    filenames: list[str]
    strict_query: bool = False


_MOST_FOUND = 10_000
"""Limit of assets in one answer: many may have a name that differs in case only."""


def _selection(request: web.Request) -> Selection:
    query = request.query
    return Selection(
        query.get("filter"), query.get("metadataQuery"), query.get("ruleQuery"), flag(request, "strictQuery")
    )


async def list_(request: web.Request) -> web.Response:
    """Answer a page of assets."""
    context = request.app[CONTEXT]
    query = request.query
    sort, order = query.get("sortBy") or "default", query.get("o", "").lower()
    if sort not in assets.SORTS:
        raise invalid(f"sortBy must be one of {', '.join(assets.SORTS)}", "sortBy")
    if order not in _ORDERS:
        raise invalid("o must be a, asc, d or desc", "o")
    flag(request, "pageAfter")
    with_contents = flag(request, "contents")
    selection, name = _selection(request), context.dataset_name(request)
    descending, keys = _ORDERS[order], assets.SORTS[sort]
    binding = "\n".join(["assets", name, sort, str(descending), repr(attrs.astuple(selection))])
    asked = listing(binding, query.get("s"), query.get("p"), context.signer, len(keys))

    def read(connection: sa.Connection) -> tuple[str, Page]:
        row = datasets.find(connection, context.organization_id, name)
        statement = assets.listed(row.seq, *_columns(context, row.id, with_contents), *keys)
        condition = selection.condition(context.identity, row.id)
        if condition is not None:
            statement = statement.where(condition)
        return row.id, asked.read(connection, statement, keys, descending=descending)

    dataset_id, page = await context.database.read(read)
    write = await _writer(request, dataset_id, with_contents)
    return text_answer(asked.text(map(write, page.rows), page))


def _columns(context: Context, dataset_id: str, with_contents: bool) -> tuple[sa.ColumnElement[Any], ...]:
    """Return what `_writer` needs, which must come first in each row."""
    return (context.documents.asset_text(dataset_id), *(assets.OF_URLS if with_contents else ()))


async def _writer(request: web.Request, dataset_id: str, with_contents: bool) -> Callable[[sa.Row[Any]], str]:
    if not with_contents:
        return operator.itemgetter(0)
    context, end = request.app[CONTEXT], len(assets.OF_URLS) + 1
    direct = context.blobs.direct if context.config.downloading == "direct" else None
    addresses = None if direct is None else await direct.addresses()
    urls = context.contents.writer(dataset_id, context.origin(request), context.clock(), addresses)
    return lambda row: f'{row[0][:-1]},"contents":{urls(*row[1:end])}}}'


async def count(request: web.Request) -> web.Response:
    """Answer how many assets meet the filters."""
    context = request.app[CONTEXT]
    selection, name = _selection(request), context.dataset_name(request)

    def read(connection: sa.Connection) -> int:
        row = datasets.find(connection, context.organization_id, name)
        condition = selection.condition(context.identity, row.id)
        return int(row.asset_total) if condition is None else assets.count(connection, row.seq, condition)

    return json_answer({"count": await context.database.read(read)})


async def get(request: web.Request) -> web.Response:
    """Answer one asset."""
    context = request.app[CONTEXT]
    with_contents = flag(request, "contents")
    name, asset_id = context.dataset_name(request), request.match_info["asset"]

    def read(connection: sa.Connection) -> tuple[str, sa.Row[Any]]:
        row = datasets.find(connection, context.organization_id, name)
        return row.id, assets.find(connection, row.seq, asset_id, *_columns(context, row.id, with_contents))

    dataset_id, row = await context.database.read(read)
    write = await _writer(request, dataset_id, with_contents)
    return text_answer(write(row))


async def delete(request: web.Request) -> web.Response:
    """Delete one asset with its bytes; the answer has no body."""
    context = request.app[CONTEXT]
    name, asset_id = context.dataset_name(request), request.match_info["asset"]

    def remove(connection: sa.Connection) -> list[str]:
        row = datasets.find(connection, context.organization_id, name)
        dropped = assets.delete(connection, [assets.find(connection, row.seq, asset_id)])
        if not dropped:  # another request has deleted it just now
            raise not_found("Asset", asset_id)
        return dropped

    blobs = await context.removal.commit(remove)
    context.contents.forget([asset_id])
    await context.remove(blobs)
    return web.Response(status=204)


async def set_metadata(request: web.Request) -> web.Response:
    """Change the custom metadata of many assets by name, all or none of them."""
    context = request.app[CONTEXT]
    _, document = await read_json(request, context.config)
    spec = spec_of(document, MetadataSpec)
    most = context.config.max_files_per_session
    if not 1 <= len(spec.assets) <= most:
        raise invalid(f"spec.assets must hold 1 to {most} assets", "spec.assets")
    updates = {one.filename: one.custom_metadata for one in spec.assets}
    if len(updates) < len(spec.assets):
        raise invalid("spec.assets has a filename twice", "spec.assets")
    for position, one in enumerate(spec.assets):
        check_metadata(one.custom_metadata, f"spec.assets[{position}].customMetadata")
    name, now = context.dataset_name(request), context.clock()

    def change(connection: sa.Connection) -> assets.Changed:
        row = datasets.find(connection, context.organization_id, name)
        return assets.set_metadata(connection, row.seq, updates, spec.remove, None if spec.dry_run else now)

    done = await (context.database.read if spec.dry_run else context.database.write)(change)
    return json_answer({"changed": done.changed, "unchanged": done.unchanged, "missing": done.missing})


async def lookup(request: web.Request) -> web.Response:
    """Answer the assets with up to a thousand names; names that no asset has are left out."""
    context = request.app[CONTEXT]
    _, document = await read_json(request, context.config)
    spec = spec_of(document, LookupSpec)
    if not 1 <= len(spec.filenames) <= _routes.NAMES_A_LOOKUP:
        raise invalid(f"spec.filenames must hold 1 to {_routes.NAMES_A_LOOKUP} names", "spec.filenames")
    with_contents, name = flag(request, "contents"), context.dataset_name(request)

    def read(connection: sa.Connection) -> tuple[str, list[sa.Row[Any]]]:
        row = datasets.find(connection, context.organization_id, name)
        columns, strict = _columns(context, row.id, with_contents), spec.strict_query
        return row.id, assets.named(connection, row.seq, spec.filenames, *columns, strict=strict, limit=_MOST_FOUND + 1)

    dataset_id, rows = await context.database.read(read)
    if len(rows) > _MOST_FOUND:
        raise invalid(f"more than {_MOST_FOUND} assets have these names: ask for fewer", "spec.filenames")
    write = await _writer(request, dataset_id, with_contents)
    return text_answer(f'{{"items":[{",".join(map(write, rows))}],"nextPage":null,"prevPage":null}}')


async def rename(request: web.Request) -> web.Response:
    """Rename the asset with an id."""
    asset_id = request.match_info["asset"]
    return await _rename(request, partial(assets.find, asset_id=asset_id))


async def rename_by_name(request: web.Request) -> web.Response:
    """Rename the asset with a file name."""
    filename = request.match_info["filename"]
    return await _rename(request, partial(assets.find_named, filename=filename))


async def _rename(request: web.Request, find: Callable[..., sa.Row[Any]]) -> web.Response:
    context = request.app[CONTEXT]
    _, document = await read_json(request, context.config)
    filename = structure(document, Rename).filename
    check_name(filename, "filename", context.config)
    name, now = context.dataset_name(request), context.clock()

    def change(connection: sa.Connection) -> str:
        row = datasets.find(connection, context.organization_id, name)
        renamed = assets.rename(connection, find(connection, dataset_seq=row.seq), filename, now)
        text, *_ = assets.find(connection, row.seq, renamed.id, context.documents.asset_text(row.id))
        return str(text)

    return text_answer(await context.database.write(change))
