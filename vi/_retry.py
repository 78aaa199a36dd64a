"""When to repeat a request and how long to wait (protocol section 4.5): pure functions of what happened."""

from __future__ import annotations

import datetime as dt
import email.utils
import math
import random
from collections.abc import Callable, Mapping
from enum import Enum

import attrs

from .config import RetryPolicy

RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})


class FailureKind(Enum):
    """How a request ended without an answer."""

    NEVER_SENT = "never sent"  # refused, no such host, no connection in time
    CUT = "cut"  # the outcome at the service is unknown
    STALE = "stale"  # the same, on a connection kept from an earlier request
    TIMED_OUT = "timed out"
    REFUSED = "refused"  # a certificate or a proxy that will not be otherwise next time


@attrs.frozen
class Attempt:
    """What one attempt at a request came to: a *status* with its *retry_after*, or its *failure* without one."""

    number: int
    method: str
    status: int | None = None
    failure: FailureKind | None = None
    retry_after: float | None = None
    elapsed: float = 0.0
    """Seconds since the first attempt began."""
    repeatable: bool = False
    """Whether a non-idempotent request may be repeated: it carries a key that the service honours."""


def wait_before_retry(
    attempt: Attempt, policy: RetryPolicy, chance: Callable[[], float] = random.random
) -> float | None:
    """Return the seconds to wait before the next attempt, or None to give up."""
    if not _may_repeat(attempt):
        return None
    if attempt.failure is FailureKind.NEVER_SENT:
        if attempt.elapsed >= policy.connect_patience or policy.max_attempts == 1:
            return None
        return (0.5 + 0.5 * chance()) * min(1.0, policy.backoff * 2.0 ** min(attempt.number - 1, 30))
    if attempt.number >= policy.max_attempts:
        return None
    if attempt.failure is FailureKind.STALE:
        return 0.0
    if attempt.retry_after is not None:
        return attempt.retry_after if attempt.retry_after <= policy.retry_after_max else None
    # 2.0 ** 1000 overflows; the cap is reached long before.
    return chance() * min(policy.backoff_max, policy.backoff * 2.0 ** min(attempt.number - 1, 30))


def _may_repeat(attempt: Attempt) -> bool:
    if attempt.failure is not None:
        if attempt.failure is FailureKind.REFUSED:
            return False
        return attempt.failure is FailureKind.NEVER_SENT or attempt.method in IDEMPOTENT or attempt.repeatable
    if attempt.status not in RETRIED_STATUSES:
        return False
    if attempt.method in IDEMPOTENT or attempt.repeatable or attempt.status == 429:
        return True
    return attempt.status == 503 and attempt.retry_after is not None


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for; a date counts from the answer's ``Date`` (RFC 9110, 10.2.3).

    Text, a negative or a non-finite number is ignored: None.
    """
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        until, now = read_date(value), read_date(headers.get("Date", ""))
        if until is None:
            return None
        seconds = (until - (now or dt.datetime.now(dt.UTC))).total_seconds()
        return max(0.0, seconds)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def read_date(value: str) -> dt.datetime | None:
    """Read an HTTP date; None when it is not one."""
    try:
        when = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when


class RetryBudget:
    """What a client may spend on retries, so that an outage does not multiply its load.

    Every first attempt earns half a retry, up to *reserve*; a retry costs one. A healthy client never notices.
    """

    __slots__ = ("_balance", "reserve")

    def __init__(self, reserve: float = 200.0) -> None:
        self.reserve: float = reserve
        self._balance = reserve

    def earn(self) -> None:
        """Count a first attempt."""
        self._balance = min(self.reserve, self._balance + 0.5)

    def spend(self) -> bool:
        """Take one retry out; False when there is none left."""
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
