"""One API request to one decoded document: headers, deadline, retries, pacing, errors (protocol sections 1 and 4)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp
import attrs
from yarl import URL

from . import _redact, _routes, _wire, _wire_fast, errors
from ._attempts import Attempts, Failed
from ._connections import TRANSPORT_ERRORS, Connections, Failure, exact_url, origin_of, read_failure, to_error
from ._events import RequestEvent, SilenceEvent
from ._pacing import Pacing
from ._retry import IDEMPOTENT, FailureKind, RetryBudget, read_retry_after
from ._running import Running
from ._wire_fast import DecodedPage
from .config import Settings
from .errors import ViError, ViOperationError

T = TypeVar("T")
P = TypeVar("P")

logger = logging.getLogger("vi.http")

MAX_DOCUMENT_BYTES = 64 << 20
MAX_ERROR_BYTES = 1 << 20
MAX_VALUES = 4_000_000
MAX_REDIRECTS = 5
EXCERPT = 200
SILENCE_SECONDS = 1.5
"""After how long without an answer the listeners are called."""

# What the service may have done although no answer says so.
_UNCERTAIN = frozenset({408, 500, 502, 503, 504})


@attrs.frozen
class Answer:
    """What the service sent back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """The trace id (protocol section 4.2)."""
        named = self.headers.get("x-cloud-trace-context", "")[: 4 * _redact.WORD_LENGTH].split("/")[0]
        return _redact.limited(named, _redact.WORD_LENGTH) or None


class Recipe(Protocol):
    """Makes another client like that which has it."""

    def resource(self, name: str) -> Any:
        """Return the resource of class *name*, of a client of its own."""


class Http:
    """Sends the API requests of one client."""

    def __init__(self, connections: Connections, recipe: Recipe | None = None) -> None:
        settings = connections.settings
        self.recipe = recipe
        """What makes the client again, for pickling what uses this."""
        self.connections: Connections = connections
        self.pacing: Pacing = Pacing(settings.limits.max_concurrency)
        self.budget: RetryBudget = RetryBudget()
        self._attempts = Attempts(
            "api", settings.retries, self.pacing, self.budget, connections.hooks, logger, self._again
        )
        self.running: Running = Running()
        self.honours_keys: bool = False
        self.has_answered: bool = False
        """Whether an answer has shown that the service honours ``Idempotency-Key``."""
        self.additions: frozenset[str] = frozenset()
        """What answers have said that the service has beside the protocol."""
        _redact.hold_key(settings.secret_key)
        self._headers = {
            "Authorization": f"Bearer {settings.secret_key}",
            "Organization-Id": settings.organization_id,
            "Accept": "application/json",
        }

    @property
    def settings(self) -> Settings:
        """The settings of the client."""
        return self.connections.settings

    async def request(
        self,
        method: str,
        path: str,
        cls: type[T],
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        idempotent: bool = False,
        if_gone: str | None = None,
    ) -> T:
        """Send a request and return its document as *cls*; see `document`.

        *if_gone* is where the document is found when an earlier attempt, whose answer was lost, has done the deletion.
        """
        answer = await self._ask(method, path, params, body, idempotent)
        if if_gone is not None and not answer.body.strip():
            answer = await self._ask("GET", if_gone, None, None, idempotent)
        document = self._read(answer, f"{method} {path}")
        try:
            return _wire.structure(document, cls)
        except _wire.WireError as error:
            problem = str(error)
        raise self._unusable(answer, f"{method} {path}", problem)

    async def document(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        idempotent: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request and return its JSON as it is, None for an empty body.

        *idempotent* marks a POST whose repetition changes nothing more at any service; every other creating POST
        carries an ``Idempotency-Key`` and is repeated only where the service is known to honour it.
        """
        answer = await self._ask(method, path, params, body, idempotent, headers)
        return self._read(answer, f"{method} {path}") if answer.body.strip() else None

    async def page(
        self, path: str, cls: type[T], params: Mapping[str, str], read: Callable[[DecodedPage[T] | Any], P]
    ) -> P:
        """Ask for a page of *cls* and *read* it; it comes decoded where that can be done at once, else as its JSON."""
        answer = await self._ask("GET", path, params, None, False)
        doing = f"GET {path}"
        self._check_values(answer, doing)
        with _wire.uncollected():
            return read(_wire_fast.read_page(answer.body, cls) or self._read(answer, doing))

    async def once(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request one time and return the answer whatever it says, for callers that judge it themselves."""
        given = {"Content-Type": "application/json", **(headers or {})}
        data = _json(body)
        await self.connections.follow()
        url = self._url(path, params)
        answer, failure = await self._attempt(method, url, given, data, self.settings.timeouts.request, once=False)
        if answer is None:
            assert failure is not None
            raise to_error(failure, f"{method} {path}")
        return answer

    async def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Any,
        idempotent: bool,
        more: Mapping[str, str] | None = None,
    ) -> Answer:
        headers = {"Content-Type": "application/json", **(more or {})}
        if method == "POST":
            headers["Idempotency-Key"] = uuid.uuid4().hex
        return await self._send(method, path, params, headers, _json(body), idempotent)

    def _url(self, path: str, params: Mapping[str, str] | None) -> URL:
        url = URL(f"{self.settings.endpoint}{path}", encoded=True)
        return url.with_query(params) if params else url

    async def _again(self) -> bool:
        return await self.connections.follow(refused=True)

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        headers: dict[str, str],
        data: bytes | None,
        idempotent: bool,
    ) -> Answer:
        doing = f"{method} {path}"
        endpoint, url = self.settings.endpoint, self._url(path, params)
        left = self.settings.timeouts.request
        uncertain = False
        self.budget.earn()

        async def attempt(number: int) -> Answer | Failed:
            nonlocal url, endpoint, left, uncertain
            await self.connections.follow()
            if self.settings.endpoint != endpoint:
                endpoint, url = self.settings.endpoint, self._url(path, params)
            await self.pacing.of(self.connections.origin).wait()
            repeatable = idempotent or self.honours_keys
            started = time.monotonic()
            answer, failure = await self._attempt(method, url, headers, data, left, once=not repeatable)
            took = time.monotonic() - started
            left -= took
            if self.connections.hooks:
                self.connections.hooks.tell(_event(method, url, answer, failure, number, took))
            if answer is not None and 200 <= answer.status < 300:
                logger.debug("%s: %d in %.3f s, request %s", doing, answer.status, took, answer.request_id)
                self.has_answered = True
                return answer
            if answer is not None and answer.status == 404 and method == "DELETE" and uncertain:
                # An earlier attempt, whose answer was lost, has deleted it.
                return attrs.evolve(answer, status=204, body=b"")
            uncertain = uncertain or (answer.status in _UNCERTAIN if answer is not None else _may_have_acted(failure))
            retry_after = read_retry_after(answer.headers) if answer is not None else None
            return Failed(
                self._failure(answer, failure, doing, retry_after),
                failure.reason if failure else f"status {answer.status if answer else '?'}",
                self.connections.origin,
                status=answer.status if answer else None,
                kind=failure.kind if failure else None,
                retry_after=retry_after,
                repeatable=repeatable,
                final=left <= 0,
            )

        return await self._attempts.make(attempt, method=method, request=doing)

    async def _attempt(
        self, method: str, url: URL, headers: dict[str, str], data: bytes | None, seconds: float, *, once: bool
    ) -> tuple[Answer | None, Failure | None]:
        """Try once. The exception of the transport is read here and goes no further.

        With *once*, a request that is not idempotent gets a connection of its own: on a kept one that proves dead it
        would be lost, and could not be sent again.
        """
        connections = self.connections.current()
        session = connections.api_once if once and method not in IDEMPOTENT else connections.api
        silence: asyncio.TimerHandle | None = None
        if self.connections.hooks and seconds > SILENCE_SECONDS:
            event = SilenceEvent(method, url.host or "", url.port or 0, url.path, seconds - SILENCE_SECONDS)
            silence = asyncio.get_running_loop().call_later(SILENCE_SECONDS, self.connections.hooks.tell, event)
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(session, method, url, headers, data), None
        except TRANSPORT_ERRORS as error:
            return None, read_failure(error, url)
        finally:
            if silence is not None:
                silence.cancel()

    async def _exchange(
        self, session: aiohttp.ClientSession, method: str, url: URL, headers: dict[str, str], data: bytes | None
    ) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            async with session.request(
                method,
                url,
                headers={**self._headers, **headers},
                data=data,
                allow_redirects=False,
                **self.connections.proxy_for(self.connections.origin),
            ) as response:
                if response.headers.get("Idempotency-Key"):
                    self.honours_keys = True
                if additions := response.headers.get(_routes.ADDITIONS):
                    self.additions = frozenset(word.strip() for word in additions.split(","))
                if 200 <= response.status < 300:
                    return Answer(response.status, response.headers, await read_capped(response, MAX_DOCUMENT_BYTES))
                if response.status not in (301, 302, 303, 307, 308):
                    return Answer(response.status, response.headers, await read_excerpt(response, MAX_ERROR_BYTES))
                url = self._follow(method, url, response)
        raise ViOperationError(f"{method} {url.raw_path} was redirected more than {MAX_REDIRECTS} times.")

    def _follow(self, method: str, url: URL, response: aiohttp.ClientResponse) -> URL:
        """Return where a redirect leads; headers with the key never go to another origin, nor a body anywhere."""
        location = response.headers.get("Location", "")
        try:
            target = url.join(exact_url(location))
            same = origin_of(target) == self.connections.origin
        except ValueError:
            target, same = url, False
        if not same or method not in ("GET", "HEAD"):
            where = f"to another origin ({target.host})" if not same else "where no redirect is expected"
            raise ViOperationError(
                f"{method} {url.raw_path} was redirected {where}, which is refused.", status_code=response.status
            )
        return target

    def _failure(
        self, answer: Answer | None, failure: Failure | None, doing: str, retry_after: float | None
    ) -> ViError:
        if failure is not None:
            return to_error(failure, doing)
        assert answer is not None
        text = answer.body.decode("utf-8", "replace")
        try:
            body: object = json.loads(text)
        except (ValueError, RecursionError):
            body = text if "<html" not in text[:500].lower() else None
        error = errors.from_response(answer.status, body, retry_after=retry_after, request_id=answer.request_id)
        if answer.status == 404 and not self.has_answered:
            error.suggestion = self._doubt_of_endpoint(body) or error.suggestion
        return error

    def _doubt_of_endpoint(self, body: object) -> str | None:
        """Return advice if the endpoint itself may be wrong; None if an id is."""
        endpoint = self.settings.endpoint
        if base := urlsplit(endpoint).path:
            return f"The path {base} of the endpoint {endpoint} may be wrong; if it is right, check the ids."
        if not isinstance(body, dict):
            return f"Check the endpoint {endpoint}: this is not the answer of a Vi service."
        return None

    def _check_values(self, answer: Answer, doing: str) -> None:
        if len(answer.body) > MAX_VALUES and sum(map(answer.body.count, (b",", b"[", b"{"))) > MAX_VALUES:
            # Three bytes of JSON can take a hundred of memory.
            raise self._unusable(answer, doing, f"it holds more than {MAX_VALUES} values")

    def _read(self, answer: Answer, doing: str) -> Any:
        self._check_values(answer, doing)
        try:
            return _wire_fast.loads(answer.body, _refuse_constant)
        except RecursionError:
            problem = "it is nested too deeply"
        except (UnicodeDecodeError, ValueError) as error:
            problem = f"it is not JSON ({type(error).__name__})"
        raise self._unusable(answer, doing, problem)

    def _unusable(self, answer: Answer, doing: str, problem: str) -> ViOperationError:
        excerpt = _redact.limited(answer.body[: EXCERPT * 4].decode("utf-8", "replace"), EXCERPT)
        return ViOperationError(
            f"{doing}: the response cannot be read: {problem}.",
            status_code=answer.status,
            request_id=answer.request_id,
            details={"body": excerpt},
        )


def _json(body: Any) -> bytes | None:
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode() if body is not None else None


async def read_capped(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the body, or raise when it is longer than *limit* once unpacked."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            response.close()
            raise ViOperationError(
                f"The response is larger than {limit} bytes and was not read further.", status_code=response.status
            )
        parts.append(part)
    return b"".join(parts)


async def read_excerpt(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the first *limit* bytes of a body; the connection of a longer one is closed."""
    parts: list[bytes] = []
    left = limit
    async for part in response.content.iter_any():
        parts.append(part[:left])
        left -= len(part)
        if left < 0:
            response.close()
            break
    return b"".join(parts)


def _event(
    method: str, url: URL, answer: Answer | None, failure: Failure | None, attempt: int, seconds: float
) -> RequestEvent:
    return RequestEvent(
        "api",
        method,
        url.host or "",
        url.path,
        answer.status if answer else None,
        failure.reason if failure else None,
        attempt,
        seconds,
        answer.request_id if answer else None,
    )


def _may_have_acted(failure: Failure | None) -> bool:
    return failure is not None and failure.kind in (FailureKind.CUT, FailureKind.STALE, FailureKind.TIMED_OUT)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
