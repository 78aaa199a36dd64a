"""What surrounds every handler: trace ids, the Host check, keys, limits, and errors as wire bodies."""

from __future__ import annotations

import ipaddress
import logging
import math
import secrets
import socket
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from sqlalchemy.exc import DataError

from .._routes import ADDITIONS, ASSET_LOOKUP, LOOKUP, SESSION_WAIT, SET_METADATA, UPLOAD_GROUPS
from . import health
from .config import ServiceConfig
from .disk.room import is_full
from .http.addresses import host_name, is_everywhere, names_of
from .http.api_errors import ApiError, invalid
from .http.connections import note_known
from .identity import AccessKey, Identity, Keys
from .objects import StoreUnavailableError
from .store.metadata import CommitLostError, DatabaseUnavailableError, TooManyReadsError

logger: logging.Logger = logging.getLogger("vi.server")


API = "/workspaces"
_OPENING = ("/assetIngestionSessions", "/sessions", "/uploads")
"""Ends of the paths that open a session: of the API, and two of the gallery."""
_TRACE = web.RequestKey("trace", str)
ACCESS_KEY = web.RequestKey("access-key", AccessKey)
READING = ("GET", "HEAD")
"""The methods that change nothing: all that a read-only key may use."""
TRACE_HEADER = "x-cloud-trace-context"
_ADDITIONS = ", ".join((SET_METADATA, UPLOAD_GROUPS, SESSION_WAIT, LOOKUP))

_AFTER_OUTAGE = {"Retry-After": "5"}
"""The service has waited itself before it says so: an earlier attempt would fail too, and clients have few."""


async def add_trace(request: web.Request, response: web.StreamResponse) -> None:
    """Give every API answer a trace id (protocol section 4.2), and announce idempotency keys and additions."""
    if request.path.startswith(API):
        response.headers[TRACE_HEADER] = f"{trace_id(request)}/{secrets.randbits(63)};o=1"
        response.headers["Idempotency-Key"] = "honoured"
        response.headers[ADDITIONS] = _ADDITIONS


def trace_id(request: web.BaseRequest) -> str:
    """Return the id of a request, made when first asked for."""
    if _TRACE not in request:
        request[_TRACE] = secrets.token_hex(16)
    return request[_TRACE]


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into an answer of section 4.1."""
    try:
        return await handler(request)
    except ApiError as refusal:
        return _answer(refusal)
    except web.HTTPException as refused:
        message = {404: f"No resource at {request.path}", 405: f"{request.method} is not allowed here"}.get(
            refused.status
        )
        headers = {"Allow": refused.headers["Allow"]} if "Allow" in refused.headers else {}
        return _answer(ApiError(refused.status, message or refused.reason, headers=headers))
    except UnicodeEncodeError:
        return _answer(invalid("A text of the request holds half of a surrogate pair", "body"))
    except DataError:  # PostgreSQL compares no text with a NUL character, so nothing has it
        return _answer(ApiError(404, "No resource has a name or an id with a NUL character"))
    except TooManyReadsError:
        return _answer(ApiError(503, "Too many slow queries run at once", headers={"Retry-After": "1"}))
    except DatabaseUnavailableError:
        refusals.note("a request because the database cannot be reached")
        return _answer(ApiError(503, "The database cannot be reached", headers=_AFTER_OUTAGE))
    except CommitLostError:  # not 503, which says that nothing was done
        refusals.note("a request because the database went away during its commit")
        message = "The database went away: whether the request was carried out is not known"
        return _answer(ApiError(500, message, headers=_AFTER_OUTAGE))
    except StoreUnavailableError as error:
        refusals.note(f"a request because the store of bytes is not available ({error})")
        return _answer(ApiError(503, "The store of bytes is not available", headers=_AFTER_OUTAGE))
    except ConnectionError:
        raise
    except Exception as error:
        if is_full(error):
            return _answer(ApiError(507, "No space is left for what was sent"))
        logger.exception("Request %s failed", trace_id(request))
        return _answer(ApiError(500, "The service failed on this request"))


def _answer(refusal: ApiError) -> web.Response:
    response = web.json_response(refusal.body(), status=refusal.status, headers=refusal.headers)
    if refusal.headers.get("Connection") == "close":
        response.force_close()
    return response


def check_host(bound: str, config: ServiceConfig) -> Middleware:
    """Refuse a Host that a web page could have made its own name for (DNS rebinding)."""
    names = {"localhost", bound.lower()} | names_of(config)
    anywhere = is_everywhere(bound)
    if anywhere:
        names.add(socket.gethostname().lower())

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in health.PATHS:
            return await handler(request)
        name = host_name(request.headers.get("Host", ""))
        if not name or (name not in names and not _is_allowed_address(name, anywhere)):
            refusals.note("a Host that does not name this service")
            raise ApiError(403, "The Host header does not name this service")
        return await handler(request)

    return middleware


def _is_allowed_address(name: str, anywhere: bool) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return anywhere or address.is_loopback


def authenticate(identity: Identity, keys: Keys) -> Middleware:
    """Let only the organization's keys in, and only to the organization (section 1.3)."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path
        if path != API and not path.startswith(API + "/"):
            return await handler(request)
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        access = keys.access(key.strip()) if scheme.lower() == "bearer" else None
        if access is None:
            refusals.note("a secret key that is missing or not known")
            raise ApiError(401, "The secret key is missing or not known")
        note_known(request)
        request[ACCESS_KEY] = access
        organization = request.headers.get("Organization-Id")
        if organization != identity.organization_id:
            raise ApiError(403, "The Organization-Id header is missing or not the organization of the key")
        if request.match_info.get("org", organization) != organization:
            raise ApiError(403, "The key may not use this organization")
        reads = request.method in READING or _is_lookup(request)
        if access.read_only and not reads:
            raise ApiError(403, "The key is read-only")
        return await handler(request)

    return middleware


def _is_lookup(request: web.Request) -> bool:
    """Tell whether a POST only asks: its names are too many for an address."""
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical == ASSET_LOOKUP


class Refusals:
    """Logs what was refused at the door: a line for the first of each kind, then one a minute with their number."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._kinds: dict[str, tuple[float, int]] = {}

    def note(self, what: str) -> None:
        """Count a refusal of the kind *what*, and log it when its time has come."""
        now = time.monotonic()
        logged, since = self._kinds.get(what, (-math.inf, 0))
        since += 1
        if now - logged < self._seconds:
            self._kinds[what] = (logged, since)
            return
        logger.warning("Refused %s%s", what, f", {since} times in a minute or more" if since > 1 else "")
        self._kinds[what] = (now, 0)


refusals: Refusals = Refusals()


class Bucket:
    """Tokens that refill at *rate* per second, at most *burst* of them; *clock* gives milliseconds."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], int]) -> None:
        self._rate = rate
        self._burst = max(1.0, burst)
        self._clock = clock
        self._level = self._burst
        self._at = clock()

    def take(self) -> float:
        """Take a token and return 0, or return the seconds until there will be one."""
        now = self._clock()
        self._level = min(self._burst, self._level + max(0, now - self._at) / 1000 * self._rate)
        self._at = now
        if self._level >= 1:
            self._level -= 1
            return 0
        return (1 - self._level) / self._rate


def limit_rate(config: ServiceConfig, clock: Callable[[], int]) -> Middleware:
    """Answer 429 with Retry-After beyond the configured rates."""
    requests = _bucket(config.requests_per_second, 1, clock)
    sessions = _bucket(config.sessions_per_minute, 60, clock)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(API):
            _take(requests)
        if request.method == "POST" and request.path.endswith(_OPENING):
            _take(sessions)
        return await handler(request)

    return middleware


def _bucket(count: float | None, seconds: float, clock: Callable[[], int]) -> Bucket | None:
    return None if count is None else Bucket(count / seconds, count, clock)


def _take(bucket: Bucket | None) -> None:
    if bucket is not None and (wait := bucket.take()) > 0:
        raise ApiError(429, "Too many requests", headers={"Retry-After": f"{max(wait, 0.001):.3f}"})
