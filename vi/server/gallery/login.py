"""Logging in by the key, and out; what is shown to those who are not, and when something is refused."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from ..middleware import refusals
from .access import ACCESS, FORM, REFUSAL, TICKET, VISITOR, wants_json
from .html import Child, h
from .layout import form, mark, page
from .paths import HOME, LOGIN, is_gallery

_NEXT = "next"


async def login_page(request: web.Request) -> web.Response:
    """Ask for the key, then lead on to what was asked for."""
    if request.method == "GET" and request.path == LOGIN and TICKET in request.query:
        return await _with_ticket(request)
    reading = request.method in ("GET", "HEAD")
    # A process that waits for the service asks for the front page and wants a 200.
    status = 200 if reading and request.path in (HOME, LOGIN) else 401
    wanted = request.path_qs if reading and request.path != LOGIN else HOME
    return _ask(request, wanted, status)


async def _with_ticket(request: web.Request) -> web.Response:
    """Log in by the link that the service's terminal showed; no other site may lead here."""
    answer = web.Response(status=303, headers={"Location": HOME})
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site in ("none", "same-origin") and await request.app[ACCESS].log_in_with(request.query[TICKET], answer):
        return answer
    refusals.note("a link to log in that is used or too old")
    return _ask(request, HOME, 401, h("p", "This link was used or is too old. Log in with the key.", class_="problem"))


async def log_in(request: web.Request) -> web.Response:
    """Take the key of a form; it goes no further than the comparison."""
    given = request.get(FORM, {})
    wanted = _safe(given.get(_NEXT, ""))
    answer = web.Response(status=303, headers={"Location": wanted})
    if await request.app[ACCESS].log_in(given.get("key", "").strip().strip("'\""), answer):
        return answer
    refusals.note("a login to the gallery with another key")
    return _ask(request, wanted, 401, h("p", "This is not the key of this service.", class_="problem", role="alert"))


async def log_out(request: web.Request) -> web.Response:
    """Forget the browser."""
    answer = web.Response(status=303, headers={"Location": HOME})
    await request.app[ACCESS].log_out(request[VISITOR], answer)
    return answer


def _safe(address: str) -> str:
    """Return where to go after the login: only into the gallery."""
    path = address.partition("?")[0]
    fine = is_gallery(path) and path != LOGIN and address.isascii() and address.isprintable() and "\\" not in address
    return address if fine else HOME


def _ask(request: web.Request, wanted: str, status: int, problem: Child = None) -> web.Response:
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        # The browser keeps the cookie from a visit that another site leads to, but not from the next.
        problem = h(
            "p", "You came here from another site. If you are logged in, ", h("a", "continue", href=wanted), "."
        )
    key = h(
        "input",
        type="password",
        name="key",
        id="key",
        required=True,
        autofocus=True,
        autocomplete="current-password",
        spellcheck="false",
        aria_describedby="where",
        placeholder="dtvi_…",
    )
    return page(
        request,
        "Log in",
        h(
            "section",
            h("h1", mark(), "Vi local service"),
            problem,
            form(
                request,
                LOGIN,
                h("input", type="hidden", name=_NEXT, value=wanted),
                # Password managers file a password under a name.
                h("input", name="username", value="vi", autocomplete="username", hidden=True),
                h("label", "Secret key", for_="key"),
                key,
                h("button", "Log in", class_="primary"),
            ),
            h(
                "p",
                "Paste the service's key. You find it as ",
                h("code", "DATATURE_VI_SECRET_KEY"),
                " in the file given to ",
                h("code", "--env-file"),
                ", or as ",
                h("code", "secret_key"),
                " in ",
                h("code", "identity.json"),
                " of the served folder.",
                id="where",
            ),
            class_="card login",
        ),
        status=status,
        narrow=True,
    )


async def error_page(request: web.Request) -> web.Response:
    """Say what was refused, and why."""
    refusal = request[REFUSAL]
    if wants_json(request):
        return web.json_response(refusal.body(), status=refusal.status, headers=refusal.headers)
    words = HTTPStatus(refusal.status).phrase
    answer = page(
        request,
        words,
        h(
            "section",
            h("h1", f"{refusal.status} · {words}"),
            h("p", f"{refusal.message}."),
            h("p", h("a", "Back to datasets", href=HOME, class_="button")),
            class_="card",
        ),
        status=refusal.status,
        narrow=True,
    )
    answer.headers.update(refusal.headers)
    if refusal.headers.get("Connection") == "close":
        answer.force_close()
    return answer
