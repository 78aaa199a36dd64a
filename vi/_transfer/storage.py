"""Signed transfers: one URL, one object, no API header (protocol sections 3.4, 9.4, 11).

What a transfer came to is a return value or one of three exceptions: `UrlExpired` (ask for a new URL), `TargetGone`
(the session or object is gone), `TransferFailed` (with the code that goes into the report).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType

import aiohttp
import attrs
from yarl import URL

from .. import _checksums
from .._attempts import Attempts, Failed
from .._connections import TRANSPORT_ERRORS, Connections, Failure, exact_url, origin_of, read_failure
from .._events import Hooks, RequestEvent
from .._pacing import Pacing
from .._retry import FailureKind, RetryBudget, read_date, read_retry_after
from .._sockets import watch
from ..codes import FileCode
from ..config import Settings
from ..errors import ViNetworkError, ViOperationError
from .bodies import Body
from .minimum_rate import MinimumRate, RateWatch
from .outcomes import SourceFailedError, TargetGone, TransferFailed, UrlExpired
from .signed import SignedTransfer

logger = logging.getLogger("vi.transfer")

MAX_REDIRECTS = 5
PLAIN_LABELS = frozenset({"", "identity", "aws-chunked", "binary", "none", "utf-8", "utf8", "us-ascii", "8bit"})
EXPIRY_MARGIN = 5.0
OUTAGE = 3.0
"""How many times `connect_patience` a storage is tried for that has answered before and is not at the API's address."""

_PAGE = re.compile(rb"(?i)\s*<(!doctype html|html)\b")
_EXPIRED = re.compile(rb"(?i)expired")
_CODE = re.compile(rb"<Code>\s{0,9}(\w{1,60})\s{0,9}</Code>")
_LOST = frozenset(
    (
        b"BadDigest", b"XAmzContentChecksumMismatch", b"XAmzContentSHA256Mismatch", b"Md5Mismatch", b"Crc64Mismatch",
        b"IncompleteBody", b"RequestTimeout",
    )
)  # fmt: skip
"""What a store says with status 400 when the bytes did not reach it as they were sent, or not all of them.

Not `InvalidDigest` and `RequestTimeTooSkewed`: they are about what the service has signed, and sending it again does
not change that.
"""


@attrs.define
class Received:
    """An answered transfer: its status, headers, and the body where one was kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    attempts: int


class Storage:
    """Sends to and fetches from signed URLs for one client."""

    def __init__(self, connections: Connections, pacing: Pacing, budget: RetryBudget) -> None:
        self.connections: Connections = connections
        self._pacing = pacing
        self._budget = budget
        self.hooks: Hooks = connections.hooks
        policy = self.settings.retries
        self.attempts: Attempts = Attempts("storage", policy, pacing, budget, self.hooks, logger, self._again)
        # It was there, so it is away for a while: nothing else can make up for it, as a service waits for its database.
        longer = attrs.evolve(policy, connect_patience=OUTAGE * policy.connect_patience)
        self._waiting_longer = attrs.evolve(self.attempts, policy=longer)
        self._answered: set[str] = set()
        self._rate_watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, RateWatch] = (
            weakref.WeakKeyDictionary()
        )
        self._date_seen = ""
        self._clock_ahead: float | None = None
        """Seconds by which the service's clock is ahead of our monotonic one, once an answer has told."""

    @property
    def settings(self) -> Settings:
        """The settings of the client."""
        return self.connections.settings

    async def _again(self) -> bool:
        # A signed URL keeps its address: a service that starts again takes the same one where it can.
        with contextlib.suppress(ViNetworkError):  # a file fails by name, requests say what else is wrong
            return await self.connections.follow(refused=True)
        return False

    def attempts_at(self, origin: str) -> Attempts:
        """Return how transfers to and from *origin* are repeated."""
        return self._waiting_longer if origin in self._answered else self.attempts

    def minimum_rate(self) -> MinimumRate:
        """Return the minimum rate of one transfer in the running loop."""
        loop = asyncio.get_running_loop()
        rate_watch = self._rate_watches.get(loop)
        if rate_watch is None:
            rate_watch = self._rate_watches[loop] = RateWatch(self.settings.timeouts.stall)
        return MinimumRate(rate_watch)

    def near_expiry(self, transfer: SignedTransfer) -> bool:
        """Tell whether a URL is about to end by the service's clock; one that had ended when it came is not doubted.

        Our own clock may be wrong, and may jump: it is not asked.
        """
        if not transfer.expires or self._clock_ahead is None:
            return False
        life = transfer.expires - self._clock_ahead - transfer.came
        return life > 0 and time.monotonic() - transfer.came > life - min(EXPIRY_MARGIN, life / 4)

    def ended(self, transfer: SignedTransfer) -> bool:
        """Tell whether a URL that was kept for an unknown time is over, or about to be, by the service's clock.

        False while no answer has told that clock: the storage then refuses the URL, and it is renewed.
        """
        if not transfer.expires or self._clock_ahead is None:
            return False
        return transfer.expires - self._clock_ahead - time.monotonic() < EXPIRY_MARGIN

    async def put(
        self,
        transfer: SignedTransfer,
        make_body: Callable[[], Body],
        size: int,
        *,
        repeatable: bool = True,
        keep_body: bool = False,
    ) -> Received:
        """Send a body, built again for each attempt, until it is accepted.

        Follows no redirect and sends only the signed headers. A checksum in the answer that differs from what was sent
        counts as a failed attempt.
        """
        gate = self._pacing.of(transfer.origin)
        uncertain = False
        self.count_attempt()

        async def attempt(number: int) -> Received | Failed:
            nonlocal uncertain
            if self.near_expiry(transfer):
                raise UrlExpired
            if gate.closed:
                await gate.wait()
            body = make_body()
            started = time.monotonic()
            answer, failure = await self._put_once(transfer, body, size, keep_body)
            if self.hooks:
                self.tell_request(transfer, answer.status if answer else None, failure, started, number)
            if body.broken is not None:
                if isinstance(body.broken, SourceFailedError):
                    raise TransferFailed(FileCode.ESOURCE, f"{body.broken}.") from None
                raise body.broken
            if answer is not None and 200 <= answer.status < 300:
                if body.left:
                    uncertain = True
                    reason = f"{transfer.url.host} answered before it had the whole file"
                    return failed(transfer, Failure(FailureKind.CUT, reason), number)
                answer.attempts = number
                return answer
            if answer is not None and (lost := lost_on_the_way(transfer, answer, number)) is not None:
                return lost
            self._raise_final(answer, number, uncertain=uncertain)
            uncertain = uncertain or answer is None or answer.status >= 500
            if answer is None:
                assert failure is not None
                return failed(transfer, failure, number)
            return refused(transfer, answer.status, read_retry_after(answer.headers), number)

        method = "PUT" if repeatable else "POST"
        attempts = self.attempts_at(transfer.origin)
        return await attempts.make(attempt, method=method, request=f"PUT to {transfer.url.host}")

    async def _put_once(
        self, transfer: SignedTransfer, body: Body, size: int, keep_body: bool
    ) -> tuple[Received | None, Failure | None]:
        session = self.connections.current().storage
        headers = {**transfer.headers, "Content-Length": str(size)}
        # Content-Type only as signed; an empty one would be a header of our own (protocol section 9.4).
        skipped = None if "Content-Type" in headers else ("Content-Type",)
        try:
            # The minimum rate covers the wait for the answer too: bytes may still be on their way.
            with self.minimum_rate() as body.rate:
                async with session.request(
                    transfer.method,
                    transfer.url,
                    data=body,
                    headers=headers,
                    skip_auto_headers=skipped,
                    allow_redirects=False,
                    **self.connections.proxy_for(transfer.origin),
                ) as response:
                    self._learn(transfer.origin, response.headers)
                    status, empty = response.status, response.content_length == 0
                    # Google's storage calls an empty answer text/html as well.
                    page = not empty and response.content_type == "text/html"
                    wanted = keep_body or page or status >= 300
                    kept = await response.content.read(1 << 16) if wanted else b""
                    if wanted or not empty:
                        await response.release() if response.content.at_eof() else response.close()
                    if page and status < 300 and _PAGE.match(kept):
                        return None, Failure(
                            FailureKind.CUT, f"{transfer.url.host} answered with a web page instead of storage"
                        )
                    return Received(status, response.headers, kept, 0), None
        except TRANSPORT_ERRORS as error:
            return None, read_failure(error, transfer.url)

    def _raise_final(self, answer: Received | None, attempts: int, *, uncertain: bool) -> None:
        if answer is None:
            return
        if answer.status in (404, 410):
            raise TargetGone(may_be_stored=uncertain)
        if answer.status in (400, 403) and _EXPIRED.search(answer.body):
            raise UrlExpired
        if 300 <= answer.status < 400:
            raise TransferFailed(
                FileCode.EUNKNOWN, "The storage redirected an upload, which is not followed.", attempts
            )

    def _learn(self, origin: str, headers: Mapping[str, str]) -> None:
        if origin != self.connections.origin:
            self._answered.add(origin)
        text = headers.get("Date", "")
        if text == self._date_seen:
            return
        self._date_seen = text
        date = read_date(text)
        if date is not None:
            self._clock_ahead = date.timestamp() - time.monotonic()

    def get(
        self, transfer: SignedTransfer, *, headers: Mapping[str, str] | None = None, read_buffer: int = 1 << 16
    ) -> Getting:
        """Ask once for an object, inside a `MinimumRate`: the block gets the answer, which is released at its end."""
        return Getting(self, transfer, {**transfer.headers, **headers} if headers else transfer.headers, read_buffer)

    async def ask(self, url: URL, origin: str, headers: Mapping[str, str], read_buffer: int) -> aiohttp.ClientResponse:
        """Send one GET, not before the origin's gate opens; redirects are answers."""
        gate = self._pacing.of(origin)
        if gate.closed:
            await gate.wait()
        response = await self.connections.current().storage.get(
            url,
            headers=headers,
            allow_redirects=False,
            read_bufsize=read_buffer,
            **self.connections.proxy_for(origin),
        )
        self._learn(origin, response.headers)
        return response

    def redirect(self, url: URL, location: str) -> URL:
        """Return where a redirect of a download leads, or refuse it."""
        try:
            target = url.join(exact_url(location))
        except ValueError:
            target = URL()
        secure = not self.settings.endpoint.startswith("https:") or target.scheme == "https"
        if target.scheme not in ("http", "https") or not target.host or "@" in target.raw_authority or not secure:
            raise TransferFailed(FileCode.EUNKNOWN, "The storage redirected a download to an address that is refused.")
        return target

    def tell_request(
        self,
        transfer: SignedTransfer,
        status: int | None,
        failure: Failure | None,
        started: float,
        attempt: int | None = None,
    ) -> None:
        """Tell the hooks, if there are any, of one request on the wire."""
        seconds, reason = time.monotonic() - started, failure.reason if failure else None
        host = transfer.url.host or ""
        self.hooks.tell(RequestEvent("storage", transfer.method, host, "", status, reason, attempt, seconds))

    def count_attempt(self) -> None:
        """Count a first attempt towards the client's retry budget."""
        self._budget.earn()


@attrs.define(eq=False)
class Getting:
    """One answer to a GET, as an asynchronous block; redirects are followed by hand, at most five, to http(s) only.

    Errors of the transport come out as they are: the caller decides what to do with what it has received.
    """

    _storage: Storage
    _transfer: SignedTransfer
    _headers: Mapping[str, str]
    _read_buffer: int
    _response: aiohttp.ClientResponse | None = attrs.field(default=None, init=False)
    _started: float = attrs.field(default=0.0, init=False)

    async def __aenter__(self) -> aiohttp.ClientResponse:
        url, origin = self._transfer.url, self._transfer.origin
        for _ in range(MAX_REDIRECTS + 1):
            self._started = time.monotonic()
            try:
                response = self._response = await self._storage.ask(url, origin, self._headers, self._read_buffer)
            except TRANSPORT_ERRORS as error:
                self._tell(error, url)
                raise
            if response.status not in (301, 302, 303, 307, 308):
                return response
            response.release()
            self._tell(None, url)
            url = self._storage.redirect(url, response.headers.get("Location", ""))
            origin = origin_of(url)
            if (rate := watch.get()) is not None:
                rate.pause()
        raise TransferFailed(FileCode.EUNKNOWN, f"The storage redirected a download more than {MAX_REDIRECTS} times.")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._response is not None
        lost = isinstance(error, (aiohttp.ClientError, TimeoutError, ConnectionError))  # not the disk's
        self._tell(error if lost else None, self._response.url)
        await self._response.__aexit__(kind, error, trace)

    def _tell(self, error: BaseException | None, url: URL) -> None:
        if self._storage.hooks:
            status = self._response.status if self._response is not None else None
            failure = read_failure(error, url) if error is not None else None
            self._storage.tell_request(self._transfer, status, failure, self._started)


def failed(transfer: SignedTransfer, failure: Failure, number: int) -> Failed:
    """Return what attempt *number* came to, which got no answer."""
    code = FileCode.ETIMEOUT if failure.kind is FailureKind.TIMED_OUT else FileCode.ENETWORK
    reason = f"{failure.reason[0].upper()}{failure.reason[1:]}"
    return Failed(TransferFailed(code, f"{reason}.", number), reason, transfer.origin, kind=failure.kind)


def refused(transfer: SignedTransfer, status: int, retry_after: float | None, number: int) -> Failed:
    """Return what attempt *number* came to, whose answer is a *status* that brings nothing."""
    reason = f"The storage answered with status {status}"
    problem = TransferFailed(FileCode.EREFUSED, f"{reason}.", number)
    return Failed(problem, reason, transfer.origin, status=status, retry_after=retry_after)


def lost_on_the_way(transfer: SignedTransfer, answer: Received, number: int) -> Failed | None:
    """Return what attempt *number* came to if the storage says with status 400 that the bytes did not arrive as sent.

    S3 judges what it receives so, and Azure; the bytes are right here, so they are sent again.
    """
    found = _CODE.search(answer.body) if answer.status == 400 else None
    if found is None or found[1] not in _LOST:
        return None
    said = found[1].decode()
    reason = f"The storage answered with {said}"
    message = f"{reason}: the bytes did not arrive as they were sent."
    kind = FailureKind.TIMED_OUT if said == "RequestTimeout" else FailureKind.CUT
    return Failed(TransferFailed(FileCode.ECORRUPT, message, number), reason, transfer.origin, kind=kind)


def check_stored(answer: Received, crc: int) -> None:
    """Raise when the storage says that it holds other bytes than were sent (protocol section 16)."""
    stored = _checksums.from_goog_hash(answer.headers.get("x-goog-hash"))
    if stored is not None and stored != crc:
        raise TransferFailed(FileCode.ECORRUPT, "The bytes were damaged on the way to the storage.", answer.attempts)


def refuse_encoding(response: aiohttp.ClientResponse) -> None:
    """Refuse a stored object that comes compressed: it was asked for as it is.

    Storages also hand out labels that name no compression, which an uploader has set; size and digest decide there.
    """
    coding = ", ".join(response.headers.getall("Content-Encoding", ())).strip().lower()
    if not {label.strip() for label in coding.split(",")} <= PLAIN_LABELS:
        raise ViOperationError(f"The storage sent an object with Content-Encoding {coding[:40]!r}, which is refused.")
