"""What every resource shares: the client's HTTP, its organization, and the reading of pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

from ... import _routes, _wire
from ..._checks import must_be, must_be_of_type
from ..._http import Http
from ..._redact import brief
from ..._wire_fast import DecodedPage
from ...errors import ViInvalidParameterError, ViOperationError
from ..pagination import BadItem, Listing, Page
from ..types import PaginationParams

T = TypeVar("T")


class Resource:
    """Base of the async resources; the connection to the service is its only state."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the client does; a copy has a client of its own."""
        assert self._http.recipe is not None
        return self._http.recipe.resource, (type(self).__name__,)

    def __repr__(self) -> str:
        settings = self._http.settings
        return f"<{type(self).__name__} of {settings.organization_id!r} at {settings.endpoint}>"

    @property
    def _organization_id(self) -> str:
        return self._http.settings.organization_id

    def _path(self, template: str, **values: Any) -> str:
        """Fill a route; a *dataset_id* is checked before anything is sent (protocol section 2)."""
        if "dataset_id" in values:
            dataset_id = check_id(values.pop("dataset_id"), "dataset_id")
            values["dataset"] = _routes.composite(self._organization_id, dataset_id)
        return _routes.fill(template, org=self._organization_id, **values)

    def _list(
        self,
        path: str,
        cls: type[T],
        pagination: PaginationParams | None,
        params: Mapping[str, str] | None = None,
    ) -> Listing[T]:
        check_pagination(pagination)
        http = self._http

        async def fetch(page: PaginationParams) -> Page[T]:
            query = page_query(page, params)
            return await http.page(path, cls, query, lambda document: read_page(document, cls, path))

        return Listing(fetch, pagination)


def list_documents(http: Http, path: str, pagination: PaginationParams, params: Mapping[str, str]) -> Listing[Any]:
    """List documents as they are, without building models."""

    async def fetch(page: PaginationParams) -> Page[Any]:
        document = await http.document("GET", path, params=page_query(page, params))
        next_page, prev_page, items = read_envelope(document, path)
        return Page(items, next_page, prev_page)

    return Listing(fetch, pagination)


def page_query(page: PaginationParams, params: Mapping[str, str] | None) -> dict[str, str]:
    """Return the query that asks for a page."""
    query = {**(params or {}), "s": str(page.page_size)}
    if page.page_token:
        query["p"] = page.page_token
    return query


def read_page(document: Any, cls: type[T], path: str) -> Page[T]:
    """Read a page envelope (protocol section 3.5); an item that cannot be read is reported, not fatal."""
    if isinstance(document, DecodedPage):
        return Page(document.items, document.next_page, document.prev_page)
    next_page, prev_page, raw = read_envelope(document, path)
    items, bad = _wire.structure_items(raw, cls)
    return Page(items, next_page, prev_page, [BadItem(position, str(error)) for position, error in bad])


def read_envelope(document: Any, path: str) -> tuple[str | None, str | None, list[Any]]:
    """Return the tokens and the raw items of a page."""
    if isinstance(document, list):
        return None, None, document
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(items or [], list):
        raise ViOperationError(f"GET {path}: the answer cannot be read: items: expected a page with a list of items.")
    tokens = [document.get("nextPage") or None, document.get("prevPage") or None]
    for name, token in zip(("nextPage", "prevPage"), tokens, strict=True):
        if token is not None and not isinstance(token, str):
            raise ViOperationError(f"GET {path}: the answer cannot be read: {name}: expected text.")
    return tokens[0], tokens[1], items or []


def check_id(value: object, parameter: str) -> str:
    """Return *value* if it can be an id; the error shows it otherwise."""
    if not _routes.is_identifier(value):
        raise must_be(parameter, "1 to 255 characters of A-Z a-z 0-9 - _", value)
    assert isinstance(value, str)
    return value


def check_pagination(pagination: object) -> None:
    """Refuse anything but `PaginationParams`, before a request."""
    if pagination is not None and not isinstance(pagination, PaginationParams):
        raise must_be_of_type("pagination", "a PaginationParams", pagination)


def check_ids(values: object, parameter: str) -> list[str]:
    """Return *values* if they are a list of ids; a text alone would be read letter by letter."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise must_be_of_type(parameter, "a list of ids", values)
    return [check_id(value, parameter) for value in values]


def check_switches(**switches: object) -> None:
    """Refuse what is neither True nor False: a text such as ``"no"`` would count as True."""
    for parameter, value in switches.items():
        if not isinstance(value, bool):
            raise must_be(parameter, "True or False", value)


def check_text(value: object, parameter: str) -> str:
    """Return *value* if it is text with something in it that can be sent."""
    if not isinstance(value, str) or not value.strip():
        raise ViInvalidParameterError(
            f"{parameter} must be text that is not empty, got {brief(value)}."
            if value != ""
            else f"{parameter} must not be empty.",
            parameter=parameter,
        )
    return check_unicode(value, parameter)


def check_unicode(value: object, parameter: str) -> str:
    """Return *value* if it is text that can be sent; it may be empty."""
    if not isinstance(value, str):
        raise must_be(parameter, "text", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ViInvalidParameterError(
            f"{parameter} is not valid Unicode: {brief(value)}.", parameter=parameter
        ) from None
    return value


def check_mapping(value: object, parameter: str, kind: type[T]) -> dict[str, T]:
    """Return *value* as a dictionary if it maps text to values of *kind*."""
    good = isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(item, kind) and not isinstance(item, bool) for name, item in value.items()
    )
    if not good:
        raise ViInvalidParameterError(
            f"{parameter} must map text to {kind.__name__}, got {brief(value)}.", parameter=parameter
        )
    found = dict(cast("Mapping[str, T]", value))
    for part in (*found, *found.values()):
        if isinstance(part, str):
            check_unicode(part, parameter)
    return found
