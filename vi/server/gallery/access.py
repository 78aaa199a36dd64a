"""Who may see the gallery, what may be done from where, and what a page may load.

Whoever shows the key, or the ticket that the service's own terminal showed, gets a random token in a cookie that no
script can read and no other site can send along. The service keeps only its digest, until it is logged out, unused for
`IDLE_SECONDS`, or the service ends, unless that is several processes. The cookie opens nothing but the gallery: the API
asks for the key in its header as before, storage for a signature.

A request that changes something must come from a page of the same origin, by what the browser says of it, and, once
logged in, carry a token that only such a page holds. Ports do not separate cookies, so a page of another local server
is "same site": reading is refused to it as well, unless the user follows a link.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import attrs
from aiohttp import MultipartReader, web
from aiohttp.typedefs import Handler, Middleware

from ..context import CONTEXT, Context
from ..http.api_errors import ApiError
from ..http.connections import note_known
from ..middleware import ACCESS_KEY, READING, refusals
from ..store.visitors import IDLE_MS
from . import forms
from .paths import HOME, LOGIN, LOGOUT, STATIC, is_gallery
from .visitors import MemoryVisitors, StoredVisitors, Visitors

IDLE_SECONDS = IDLE_MS // 1000
TICKET_SECONDS = 3600
TICKET = "ticket"
"""The field of the address that logs a browser in."""
TOKEN_HEADER = "X-CSRF-Token"  # noqa: S105 - a name
TOKEN_FIELD = "csrf"  # noqa: S105 - a name

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: browsers then send `Origin: null` with the forms of the page itself.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@attrs.frozen
class Visitor:
    """A browser that is logged in; *token* goes into every form of its pages."""

    digest: str
    token: str = attrs.field(repr=False)
    read_only: bool = False


VISITOR = web.RequestKey("visitor", Visitor)
FORM: web.RequestKey[dict[str, str]] = web.RequestKey("form", dict)
FILES = web.RequestKey("files", MultipartReader)


class Access:
    """The browsers that are logged in."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._visitors: Visitors = StoredVisitors(context.database) if context.is_shared else MemoryVisitors()
        # Cookies are shared by all ports of a host, and there may be several services on it.
        self._cookie = f"vi_gallery_{hashlib.sha256(context.organization_id.encode()).hexdigest()[:12]}"

    async def log_in(self, key: str, response: web.Response) -> bool:
        """Give the browser of *response* a session if *key* is right."""
        access = self._context.keys.access(key)
        if access is None:
            return False
        await self._begin(response, access.digest)
        return True

    def ticket(self) -> str:
        """Return a word that logs one browser in, within `TICKET_SECONDS`."""
        word = f"{self._context.clock() + TICKET_SECONDS * 1000:x}.{secrets.token_urlsafe(24)}"
        return f"{word}.{self._context.signer.token(self._ticket_binding, word.encode())}"

    @property
    def _ticket_binding(self) -> str:
        return f"ticket {self._visitors.scope}"

    async def log_in_with(self, ticket: str, response: web.Response) -> bool:
        """Give the browser of *response* a session for a ticket, which is used up by that."""
        word, _, tag = ticket.rpartition(".")
        if not tag.isascii() or not self._context.signer.knows(
            tag, self._ticket_binding, word.encode("utf-8", "surrogatepass")
        ):
            return False
        now = self._context.clock()
        if now >= int(word.partition(".")[0], 16) or not await self._visitors.use(_digest(ticket), now):
            return False
        await self._begin(response)
        return True

    async def _begin(self, response: web.Response, access: str | None = None) -> None:
        value = secrets.token_urlsafe(32)
        await self._visitors.add(_digest(value), access, self._context.clock())
        config = self._context.config
        secure = (config.public_url or f"{config.scheme}://").startswith("https://")
        response.set_cookie(self._cookie, value, path="/", httponly=True, samesite="Strict", secure=secure)

    async def log_out(self, visitor: Visitor, response: web.Response) -> None:
        """End a session."""
        await self._visitors.drop(visitor.digest)
        response.del_cookie(self._cookie, path="/", httponly=True, samesite="Strict")

    async def visitor(self, request: web.Request) -> Visitor | None:
        """Return the visitor, None when not logged in."""
        value = request.cookies.get(self._cookie)
        if not value:
            return None
        digest = _digest(value)
        seen = await self._visitors.see(digest, self._context.clock())
        if seen is None:
            return None
        access = None
        if seen.access is not None:
            access = self._context.keys.of_digest(seen.access)
            if access is None:
                await self._visitors.drop(digest)
                return None  # revoked since
            request[ACCESS_KEY] = access
        note_known(request)
        # Made of what no script can read; every process makes the same.
        token = hmac.digest(value.encode("utf-8", "replace"), b"form", "sha256").hex()
        return Visitor(digest, token, read_only=access is not None and access.read_only)

    def is_own_page(self, request: web.Request) -> bool:
        """Tell whether the browser confirms that a page of this origin makes the request."""
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if site is not None and site != "same-origin":
            return False
        if origin is None:
            return site is not None
        config = self._context.config
        own = [f"{config.scheme}://{request.headers.get('Host', '')}"]
        if config.public_url:
            own.append(config.public_url.rstrip("/"))
        return origin.lower() in [address.lower() for address in own]


ACCESS = web.AppKey("access", Access)


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


def guard(login_page: Handler, error_page: Handler) -> Middleware:
    """Let only those who are logged in see the gallery, and only its own pages change anything.

    *login_page* answers the others, *error_page* words a `ApiError`, which it finds under `REFUSAL`.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_gallery(request.path):
            return await handler(request)
        access = request.app[ACCESS]
        visitor = await access.visitor(request)
        if visitor is not None:
            request[VISITOR] = visitor
        try:
            if request.method not in READING:
                await _check_change(request, access, visitor)
            elif visitor is not None:
                _check_reading(request)
            if visitor is None and not _is_open(request):
                if wants_json(request):
                    raise ApiError(401, "You are no longer logged in")
                return await login_page(request)
            return await handler(request)
        except ApiError as refusal:
            request[REFUSAL] = refusal
        except web.HTTPNotFound:
            request[REFUSAL] = ApiError(404, "Page not found")
        except web.HTTPMethodNotAllowed as error:
            allow = {"Allow": error.headers["Allow"]}
            request[REFUSAL] = ApiError(405, f"{request.method} is not allowed here", headers=allow)
        return await error_page(request)

    return middleware


REFUSAL = web.RequestKey("refusal", ApiError)


def wants_json(request: web.Request) -> bool:
    """Tell whether the script asks, not a person."""
    return request.headers.get("Accept", "").startswith("application/json")


def _is_open(request: web.Request) -> bool:
    if request.path == HOME and wants_json(request):
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and request.app[CONTEXT].keys.access(key.strip()) is not None
    return request.path == LOGIN or request.path.startswith(STATIC.partition("{")[0])


def _check_reading(request: web.Request) -> None:
    """Refuse what a page of another origin embeds or fetches; links that a user follows are allowed."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin") and request.headers.get("Sec-Fetch-Mode") != "navigate":
        raise ApiError(403, "A page of another origin may not read the gallery")


async def _check_change(request: web.Request, access: Access, visitor: Visitor | None) -> None:
    if not access.is_own_page(request):
        refusals.note("a change from a page that is not the gallery's")
        raise ApiError(403, "Changes are made from the gallery's own pages alone")
    given = request.headers.get(TOKEN_HEADER)
    if given is None and request.content_type == forms.FIELDS:
        request[FORM] = await forms.read_fields(request)
        given = request[FORM].get(TOKEN_FIELD)
    elif given is None and request.content_type == forms.FILES and visitor is not None:
        # The token goes before the files, which are left to the handler.
        request[FILES], given = await forms.open_files(request, TOKEN_FIELD)
    if visitor is None or request.path == LOGIN:
        return  # logging in takes the key, and without it nothing is changed
    if not hmac.compare_digest(visitor.token.encode(), (given or "").encode("utf-8", "replace")):
        raise ApiError(403, "The form is from another session; load the page again")
    if visitor.read_only and request.path != LOGOUT:
        raise ApiError(403, "You are logged in with a key that is read-only")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the security headers of every answer of the gallery; those that a handler has set stay."""
    if is_gallery(request.path):
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
