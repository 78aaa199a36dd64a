"""Uploads, from here and from anywhere else: how far each session has come, and which files were refused and why."""

from __future__ import annotations

from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from ..._show.units import several
from ...codes import meaning_of
from ..context import CONTEXT
from ..handlers.answers import json_answer
from ..handlers.sessions import cancel_upload
from ..store import datasets, sessions
from ..store.paging import Page, listing
from ..store.schema import SessionState, ingestion_session
from .datasets import turning
from .html import Child, Markup, h
from .layout import command, crumbs, form, moment, name_of, page
from .paths import (
    ALL_SESSIONS,
    ALL_SESSIONS_STATE,
    DATASET,
    HOME,
    SESSION,
    SESSION_CANCEL,
    SESSION_STATE,
    SESSIONS,
    SESSIONS_STATE,
    path_to,
)

_PER_PAGE = "20"
_FEW = 20
"""Refused files that a card of a list names."""
_ALL = 10_000
_UNSCROLLED = 6
"""Names of a group that are all in sight."""


@attrs.frozen
class _Shown:
    """An upload: the row of its first session joined with its dataset, all its sessions, the first refused files."""

    row: sa.Row[Any]
    members: list[sa.Row[Any]]
    errors: list[sa.Row[Any]]

    @classmethod
    def read(cls, connection: sa.Connection, row: sa.Row[Any], limit: int, *, alone: bool) -> _Shown:
        members = [row] if alone else sessions.of_upload(connection, row)
        errors: list[sa.Row[Any]] = []
        for one in members:
            if len(errors) < limit:
                errors += sessions.first_errors(connection, one, limit - len(errors))
        return cls(row, members, errors)

    @property
    def state(self) -> tuple[str, str]:
        """A word for the style and one for the reader."""
        states = {one.state for one in self.members}
        if SessionState.OPEN in states:
            return "open", "in progress"
        reasons = {one.reason for one in self.members if one.state == SessionState.FAILED}
        if reasons - {sessions.CANCELLED}:
            return "failed", "failed"
        if states == {SessionState.FAILED}:
            return "cancelled", "cancelled"
        if reasons:
            return "partial", "done, some cancelled"
        return ("partial", "done, some failed") if self.errored else ("done", "done")

    @property
    def total(self) -> int:
        return sum(one.total for one in self.members)

    @property
    def succeeded(self) -> int:
        return sum(one.succeeded for one in self.members)

    @property
    def errored(self) -> int:
        return sum(one.errored for one in self.members)

    @property
    def counts(self) -> str:
        """How many of how many."""
        failed = f" · {self.errored:,} failed" if self.errored else ""
        return f"{self.succeeded:,} of {several(self.total, 'file')} stored{failed}"

    @property
    def origin(self) -> Child:
        """The machine and folder that it comes from, where the client says so."""
        return (" · from ", name_of(self.row.origin)) if self.row.origin else None

    @property
    def problems(self) -> list[dict[str, str]]:
        """The refused files: name, code, and why."""
        return [{"name": e.filename, "code": e.error, "text": e.reason or meaning_of(e.error)} for e in self.errors]

    def document(self) -> dict[str, Any]:
        """Return what the script shows of it."""
        state, label = self.state
        return {
            "id": self.row.id,
            "state": state,
            "label": label,
            "counts": self.counts,
            "settled": self.succeeded + self.errored,
            "succeeded": self.succeeded,
            "total": self.total,
            "problems": self.problems,
        }


async def _read(request: web.Request) -> tuple[sa.Row[Any] | None, list[_Shown], str | None, str | None]:
    """Return the dataset that was asked about, a page of sessions, and the tokens of its neighbours."""
    context = request.app[CONTEXT]
    name, identifier = request.match_info.get("dataset"), request.match_info.get("session")
    alone = "alone" in request.query  # the script follows each session of an upload that it makes
    asked = listing(f"gallery sessions {name}", _PER_PAGE, request.query.get("p"), context.signer, 1)
    await context.ingestion.expire()

    def read(connection: sa.Connection) -> tuple[sa.Row[Any] | None, Page, list[_Shown]]:
        statement = sessions.listed_with_dataset(context.organization_id)
        row = None
        if name is not None:
            row = datasets.find(connection, context.organization_id, name)
            statement = statement.where(ingestion_session.c.dataset_seq == row.seq)
        if row is not None and identifier is not None:
            asked_for = sessions.find(connection, row.seq, identifier)
            first = asked_for if alone else sessions.of_upload(connection, asked_for)[0]
            statement = statement.where(ingestion_session.c.id == first.id)
        else:
            statement = statement.where(sessions.begins_upload())
        found = asked.read(connection, statement, (ingestion_session.c.seq,), descending=True)
        limit = _FEW if identifier is None else _ALL
        return row, found, [_Shown.read(connection, one, limit, alone=alone) for one in found.rows]

    dataset, found, shown = await context.database.read(read)
    return dataset, shown, asked.token(found.previous), asked.token(found.next)


async def state(request: web.Request) -> web.Response:
    """Answer what a page of sessions shows that may change."""
    _, shown, _, _ = await _read(request)
    return json_answer({"sessions": [one.document() for one in shown]})


async def show_all(request: web.Request) -> web.Response:
    """Show the sessions of every dataset, newest first."""
    return await _show(request, ALL_SESSIONS, ALL_SESSIONS_STATE)


async def show_of_dataset(request: web.Request) -> web.Response:
    """Show the sessions of one dataset, newest first."""
    return await _show(request, SESSIONS, SESSIONS_STATE)


async def show_one(request: web.Request) -> web.Response:
    """Show one session, with every refused file."""
    return await _show(request, SESSION, SESSION_STATE)


async def _show(request: web.Request, template: str, state_template: str) -> web.Response:
    dataset, shown, previous, following = await _read(request)
    named = dict(request.match_info)
    here = path_to(template, None, **named)
    steps: list[tuple[str, str | None]] = []
    if dataset is not None:
        steps = [("Datasets", HOME), (dataset.name, path_to(DATASET, dataset=dataset.id))]
        one = template == SESSION
        steps += (
            [("Uploads", path_to(SESSIONS, dataset=dataset.id)), ("One upload", None)] if one else [("Uploads", None)]
        )
    token = request.query.get("p")
    cards = [_card(request, one, with_dataset=dataset is None) for one in shown]
    return page(
        request,
        "Uploads",
        crumbs(*steps) if steps else None,
        h("div", h("h1", "Upload" if template == SESSION else "Uploads"), class_="heading"),
        h(
            "div",
            *cards,
            class_="sessions",
            data_state=path_to(state_template, {"p": token}, **named),
            data_newest=not token and template != SESSION,
        ),
        None if cards else _nothing(),
        turning(here, {}, previous, following),
        here=here,
    )


def _nothing() -> Markup:
    return h(
        "section",
        h("p", "Nothing has been uploaded here yet. Drop files on the page of a dataset, or from a shell:"),
        command("vi-sdk assets upload DATASET ./images"),
        class_="card empty",
    )


def _card(request: web.Request, shown: _Shown, *, with_dataset: bool) -> Markup:
    row = shown.row
    state, label = shown.state
    where = {"dataset": row.dataset_id, "session": row.id}
    stop = None
    if state == "open":
        stop = form(request, path_to(SESSION_CANCEL, **where), h("button", "Cancel", class_="quiet"), data_stop=True)
    title = name_of(row.dataset_name) if with_dataset else moment(row.created)
    left = shown.errored - len(shown.errors)
    return h(
        "article",
        h(
            "header",
            h("h2", h("a", title, href=path_to(SESSION, **where))),
            h("span", label, class_=f"badge {state}", data_label=True),
            h("span", moment(row.created), class_="quiet") if with_dataset else None,
            stop,
        ),
        h("progress", max=shown.total, value=shown.succeeded + shown.errored, aria_label="Files settled"),
        h("p", h("span", shown.counts, data_counts=True), shown.origin, class_="quiet"),
        h("div", _problems(shown.problems), data_problems=True),
        h("p", h("a", f"{left:,} more", href=path_to(SESSION, **where))) if left > 0 else None,
        class_="session card",
        data_session=row.id,
        data_is=state,
    )


def _problems(problems: list[dict[str, str]]) -> Child:
    if not problems:
        return None
    groups: dict[tuple[str, str], list[str]] = {}
    for one in problems:
        groups.setdefault((one["code"], one["text"]), []).append(one["name"])
    rows = [
        h("tr", h("td", _names(names)), h("td", _count(names), h("code", code), " ", text))
        for (code, text), names in groups.items()
    ]
    head = h("thead", h("tr", h("th", "File", scope="col"), h("th", "Why it was not stored", scope="col")))
    return h("table", head, h("tbody", *rows), class_="problems")


def _names(names: list[str]) -> Child:
    if len(names) == 1:
        return name_of(names[0])
    long: dict[str, Any] = {"class_": "long", "tabindex": 0} if len(names) > _UNSCROLLED else {}
    return h("ul", *(h("li", name_of(name)) for name in names), **long)


def _count(names: list[str]) -> Child:
    return (h("strong", several(len(names), "file")), " ") if len(names) > 1 else None


async def cancel(request: web.Request) -> web.Response:
    """End an upload and show its result."""
    context = request.app[CONTEXT]
    await cancel_upload(context, context.dataset_name(request), request.match_info["session"])
    return web.Response(status=303, headers={"Location": path_to(SESSION, None, **request.match_info)})
