"""Signed transfers: one URL, one object, no API header (protocol sections 3.4, 9.4, 11).

A signed URL is used exactly as given: aiohttp would normalise its query and break the signature. What a transfer came
to is a return value or one of three exceptions: `UrlExpired` (ask for a new URL), `TargetGone` (the session or object
is no more), `TransferFailed` (with the code that goes into the report).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import anyio
import attrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from .. import _checksums
from .._connections import TRANSPORT_ERRORS, Connections, Loss, origin_of, read_loss
from .._hooks import Hooks, RequestEvent, RetryEvent
from .._pacing import Pacing
from .._retry import Attempt, Lost, RetryBudget, read_date, read_retry_after, wait_before_retry
from ..config import Settings
from ..errors import ViOperationError
from .floor import Floor
from .sources import Source, SourceChangedError, SourceFailedError

logger = logging.getLogger("vi.transfer")

MAX_REDIRECTS = 5
EXPIRY_MARGIN = 5.0

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_HEADERS = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "organization-id",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_PAGE = re.compile(rb"(?i)\s*<(!doctype html|html)\b")
_EXPIRED = re.compile(rb"(?i)expired")


class UrlExpired(Exception):
    """The signed URL is past its life; the same bytes may go to a fresh one."""


class TargetGone(Exception):
    """The session ended, or the object was removed, by another hand.

    *may_be_stored* tells that an earlier attempt, whose answer was lost, may have stored the bytes.
    """

    def __init__(self, *, may_be_stored: bool = False) -> None:
        super().__init__()
        self.may_be_stored = may_be_stored


class TransferFailed(Exception):
    """A transfer that no retry will mend."""

    def __init__(self, code: str, message: str, attempts: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.attempts = attempts


@attrs.frozen
class SignedTransfer:
    """A checked signed URL with the headers it demands.

    *expires* is in seconds since 1970 by the service's clock, 0 when unknown; *came* is when it was taken, by the
    monotonic clock.
    """

    url: URL
    headers: Mapping[str, str]
    method: str
    expires: float
    came: float = attrs.field(factory=time.monotonic, init=False)

    def __repr__(self) -> str:
        return f"SignedTransfer({self.method} {self.url.host})"


def signed_transfer(
    url: str, headers: Mapping[str, str] | None, method: str, expires: float, *, endpoint: str
) -> SignedTransfer:
    """Check what the service dictates before it is used; raises `TransferFailed` naming what was refused."""
    try:
        target = URL(url, encoded=True)
        scheme, host, user = target.scheme, target.host, target.user
    except (ValueError, TypeError):
        raise TransferFailed("EBADURL", "The service gave a transfer URL that cannot be read.") from None
    if scheme not in ("http", "https") or not host:
        raise TransferFailed("EBADURL", f"The service gave a transfer URL of scheme {scheme or 'none'!r}, refused.")
    if scheme == "http" and endpoint.startswith("https:"):
        raise TransferFailed("EBADURL", "The service gave an unencrypted transfer URL although it is https itself.")
    if user is not None:
        raise TransferFailed("EBADURL", "The service gave a transfer URL with credentials in it, refused.")
    if not isinstance(headers or {}, Mapping):
        raise TransferFailed("EBADURL", "The service demands headers that cannot be read.")
    for name, value in (headers or {}).items():
        if (
            not isinstance(value, str)
            or not _TOKEN.fullmatch(name)
            or name.lower() in _FORBIDDEN_HEADERS
            or re.search(r"[\r\n\0]", value)
        ):
            raise TransferFailed("EBADURL", f"The service demands the header {name[:40]!r}, which is refused.")
    return SignedTransfer(target, headers or {}, method, expires)


class Body(Payload):
    """The body of one attempt. *broken* is why its source could not be read to the end."""

    _default_content_type = "application/octet-stream"
    _autoclose = True

    def __init__(self, value: Any, size: int) -> None:
        super().__init__(value)
        self._size = size
        self.floor: Floor | None = None
        self.broken: Exception | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a body is not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if self.floor is not None:
            self.floor.begin(writer.transport)
        await self._write_all(writer)

    async def _write_all(self, writer: AbstractStreamWriter) -> None:
        raise NotImplementedError

    async def _write(self, writer: AbstractStreamWriter, piece: Any) -> None:
        if self.floor is not None:
            self.floor.moved(len(piece))
        await writer.write(piece)


class BytesBody(Body):
    """Bytes in memory as a request body."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        super().__init__(data, len(data))

    async def _write_all(self, writer: AbstractStreamWriter) -> None:
        await self._write(writer, self._value)


class SourceBody(Body):
    """A stretch of a source as a request body of known length, read anew at each attempt, in pieces of 1 MiB."""

    def __init__(self, source: Source, start: int, end: int, *, expected_crc: int | None = None) -> None:
        super().__init__(source, end - start)
        self._source = source
        self._start = start
        self._end = end
        self._expected_crc = expected_crc
        self.crc32c = 0

    async def _write_all(self, writer: AbstractStreamWriter) -> None:
        # The last piece is held back until the checksum is known to be right: a body that is short never counts.
        crc, held = 0, memoryview(b"")
        try:
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    crc = _checksums.crc32c(piece, crc)
                    if held:
                        await self._write(writer, held)
                    held = memoryview(piece)
            if self._expected_crc is not None and crc != self._expected_crc:
                raise SourceChangedError(f"{self._source.label} is no longer what was prepared")
        except SourceFailedError as error:
            self.broken = TransferFailed("ESOURCE", f"{error}.")
            raise
        except (SourceChangedError, OSError) as error:
            if isinstance(error, SourceChangedError) or not isinstance(error, ConnectionError):
                self.broken = error
            raise
        self.crc32c = crc
        if held:
            await self._write(writer, held)

    async def _pieces(self) -> AsyncGenerator[bytes | memoryview]:
        """Read the source; the time that takes is not the network's."""
        async with aclosing(self._source.chunks(self._start, self._end)) as pieces:
            while True:
                if self.floor is not None:
                    self.floor.pause()
                try:
                    piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                finally:
                    if self.floor is not None:
                        self.floor.go_on()
                yield piece


@attrs.frozen
class Received:
    """An answered transfer: its status, headers, and the body where one was kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    attempts: int


class Storage:
    """Sends to and fetches from signed URLs for one client."""

    def __init__(self, settings: Settings, connections: Connections, pacing: Pacing, budget: RetryBudget) -> None:
        self.settings = settings
        self._connections = connections
        self._pacing = pacing
        self._budget = budget
        self.hooks: Hooks = connections.hooks
        self._date_seen = ""
        self._clock_ahead: float | None = None
        """Seconds by which the service's clock is ahead of our monotonic one, once an answer has told."""

    def near_expiry(self, transfer: SignedTransfer) -> bool:
        """Tell whether a URL is about to end by the service's clock; one that had ended when it came is not doubted.

        Our own clock may be wrong, and may jump: it is not asked.
        """
        if not transfer.expires or self._clock_ahead is None:
            return False
        life = transfer.expires - self._clock_ahead - transfer.came
        return life > 0 and time.monotonic() - transfer.came > life - min(EXPIRY_MARGIN, life / 4)

    async def put(
        self,
        transfer: SignedTransfer,
        make_body: Callable[[], Body],
        size: int,
        *,
        repeatable: bool = True,
        keep_body: bool = False,
    ) -> Received:
        """Send a body, made anew for each attempt, until it is accepted.

        Follows no redirect and sends only the signed headers. A checksum in the answer that differs from what was sent
        counts as a failed attempt.
        """
        gate = self._pacing.of(origin_of(transfer.url))
        began = time.monotonic()
        number = 0
        uncertain = False
        self._budget.earn()
        while True:
            if self.near_expiry(transfer):
                raise UrlExpired
            await gate.wait()
            number += 1
            body = make_body()
            started = time.monotonic()
            answer, loss = await self._put_once(transfer, body, size, keep_body)
            self._tell_request(transfer, answer.status if answer else None, loss, started, number)
            if body.broken is not None:
                raise body.broken
            if answer is not None and 200 <= answer.status < 300:
                return attrs.evolve(answer, attempts=number)
            self._raise_final(answer, number, uncertain=uncertain)
            uncertain = uncertain or answer is None or answer.status >= 500
            retry_after = read_retry_after(answer.headers) if answer is not None else None
            wait = wait_before_retry(
                Attempt(
                    number=number,
                    method="PUT" if repeatable else "POST",
                    status=answer.status if answer else None,
                    lost=loss.how if loss else None,
                    retry_after=retry_after,
                    elapsed=time.monotonic() - began,
                ),
                self.settings.retries,
            )
            free = loss is not None and loss.how in (Lost.NEVER_SENT, Lost.STALE)
            if wait is None or not (free or self._budget.spend()):
                raise TransferFailed(*_describe(answer, loss), attempts=number)
            self.note_trouble(answer.status if answer else None, loss.how if loss else None)
            if retry_after is not None and answer is not None and answer.status in (429, 503):
                gate.close_for(retry_after)
            reason = _describe(answer, loss)[1].rstrip(".")
            logger.info("PUT to %s: attempt %d failed (%s); next in %.2f s", transfer.url.host, number, reason, wait)
            self.hooks.tell(RetryEvent("storage", f"PUT to {transfer.url.host}", number, reason, wait))
            await anyio.sleep(wait)

    async def _put_once(
        self, transfer: SignedTransfer, body: Body, size: int, keep_body: bool
    ) -> tuple[Received | None, Loss | None]:
        session = self._connections.current().storage
        connect = session.timeout.sock_connect
        # Content-Type only as signed; an empty one would be a header of our own (protocol section 9.4).
        try:
            async with (
                Floor(self.settings.timeouts.stall) as body.floor,
                session.request(
                    transfer.method,
                    transfer.url,
                    data=body,
                    headers={**transfer.headers, "Content-Length": str(size)},
                    allow_redirects=False,
                    # The floor covers the wait for the answer too: bytes may still be on their way.
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
                    **self._connections.proxy_for(transfer.url),
                ) as response,
            ):
                self._learn_clock(response.headers)
                # Google's storage calls an empty answer text/html as well.
                page = response.content_length != 0 and response.content_type == "text/html"
                wanted = keep_body or page or response.status >= 300
                kept = await response.content.read(1 << 16) if wanted else b""
                if wanted or response.content_length != 0:
                    await response.release() if response.content.at_eof() else response.close()
                if page and response.status < 300 and _PAGE.match(kept):
                    return None, Loss(Lost.CUT, f"{transfer.url.host} answered with a web page: no storage does")
                return Received(response.status, response.headers, kept, 0), None
        except TRANSPORT_ERRORS as error:
            return None, read_loss(error, transfer.url)

    def _raise_final(self, answer: Received | None, attempts: int, *, uncertain: bool) -> None:
        if answer is None:
            return
        if answer.status in (404, 410):
            raise TargetGone(may_be_stored=uncertain)
        if answer.status in (400, 403) and _EXPIRED.search(answer.body):
            raise UrlExpired
        if 300 <= answer.status < 400:
            raise TransferFailed("EUNKNOWN", "The storage redirected an upload, which is not followed.", attempts)

    def _learn_clock(self, headers: Mapping[str, str]) -> None:
        text = headers.get("Date", "")
        if text == self._date_seen:
            return
        self._date_seen = text
        date = read_date(text)
        if date is not None:
            self._clock_ahead = date.timestamp() - time.monotonic()

    @asynccontextmanager
    async def get(
        self, transfer: SignedTransfer, *, headers: Mapping[str, str] | None = None, read_buffer: int = 1 << 16
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask once for an object and hand out the answer, redirects followed by hand (at most five, http(s) only).

        Errors of the transport come out as they are: the caller decides what to do with what it has received.
        """
        session = self._connections.current().storage
        url = transfer.url
        status: int | None = None
        loss: Loss | None = None
        for _ in range(MAX_REDIRECTS + 1):
            await self._pacing.of(origin_of(url)).wait()
            started = time.monotonic()
            try:
                async with session.get(
                    url,
                    headers={**transfer.headers, **(headers or {})},
                    allow_redirects=False,
                    read_bufsize=read_buffer,
                    **self._connections.proxy_for(url),
                ) as response:
                    status = response.status
                    self._learn_clock(response.headers)
                    if status not in (301, 302, 303, 307, 308):
                        yield response
                        return
                    url = self._redirect(url, response.headers.get("Location", ""))
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                loss = read_loss(error, url)
                raise
            finally:
                self._tell_request(transfer, status, loss, started)
        raise TransferFailed("EUNKNOWN", f"The storage redirected a download more than {MAX_REDIRECTS} times.")

    def _redirect(self, url: URL, location: str) -> URL:
        try:
            target = url.join(URL(location, encoded=True))
        except ValueError:
            target = URL()
        secure = not self.settings.endpoint.startswith("https:") or target.scheme == "https"
        if target.scheme not in ("http", "https") or not target.host or target.user is not None or not secure:
            raise TransferFailed("EUNKNOWN", "The storage redirected a download to an address that is refused.")
        return target

    def _tell_request(
        self,
        transfer: SignedTransfer,
        status: int | None,
        loss: Loss | None,
        started: float,
        attempt: int | None = None,
    ) -> None:
        if self.hooks:
            seconds, reason = time.monotonic() - started, loss.reason if loss else None
            host = transfer.url.host or ""
            self.hooks.tell(RequestEvent("storage", transfer.method, host, "", status, reason, attempt, seconds))

    def hold(self, transfer: SignedTransfer, seconds: float) -> None:
        """Close the gate of the transfer's origin, as its answer asked."""
        self._pacing.of(origin_of(transfer.url)).close_for(seconds)

    def note_trouble(self, status: int | None, lost: Lost | None) -> None:
        """Press less hard after a 429, a 503 or a time-out."""
        if status in (429, 503) or lost is Lost.TIMED_OUT:
            self._pacing.trouble()

    def may_retry(self) -> bool:
        """Take a retry out of the client's budget."""
        return self._budget.spend()

    def count_attempt(self) -> None:
        """Count a first attempt towards the client's retry budget."""
        self._budget.earn()


def _describe(answer: Received | None, loss: Loss | None) -> tuple[str, str]:
    if loss is not None:
        return "ETIMEOUT" if loss.how is Lost.TIMED_OUT else "ENETWORK", f"{loss.reason[0].upper()}{loss.reason[1:]}."
    assert answer is not None
    return "EREFUSED", f"The storage answered with status {answer.status}."


def check_stored(answer: Received, crc: int) -> None:
    """Raise when the storage says that it holds other bytes than were sent (protocol section 16)."""
    stored = _checksums.from_goog_hash(answer.headers.get("x-goog-hash"))
    if stored is not None and stored != crc:
        raise TransferFailed("ECORRUPT", "The bytes were damaged on their way to the storage.", answer.attempts)


def refuse_encoding(response: aiohttp.ClientResponse) -> None:
    """Refuse a stored object that comes compressed: it was asked for as it is."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise ViOperationError(f"The storage sent an object with Content-Encoding {coding[:40]!r}, which is refused.")
