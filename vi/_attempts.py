"""The one loop around a request that is repeated: whether, after how long, at whose cost, and what listeners hear.

`_retry` decides from what happened, `_pacing` holds the origin that asked for a wait and lowers the number of
transfers, the budget keeps an outage from multiplying the load. API requests, uploads and downloads differ only in what
one attempt is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeVar

import anyio
import attrs

from ._events import Hooks, RetryEvent
from ._pacing import Pacing
from ._retry import Attempt, FailureKind, RetryBudget, wait_before_retry
from .config import RetryPolicy

T = TypeVar("T")


@attrs.frozen
class Failed:
    """An attempt that brought nothing: the *error* to raise if it was the last, and what decides whether it was."""

    error: Exception
    reason: str
    origin: str
    status: int | None = None
    kind: FailureKind | None = None
    retry_after: float | None = None
    repeatable: bool = False
    """Whether a request of a method that is not idempotent may be repeated all the same."""
    final: bool = False
    """Whether the time is too short for another attempt."""


class Again:
    """The type of `AGAIN`."""


AGAIN: Final = Again()
"""What an attempt comes to that is made again at once and costs nothing: it had to get a fresh URL first."""


@attrs.frozen
class Attempts:
    """How one client repeats its requests of one *kind*."""

    kind: Literal["api", "storage"]
    policy: RetryPolicy
    pacing: Pacing
    budget: RetryBudget
    hooks: Hooks
    logger: logging.Logger
    follow: Callable[[], Awaitable[bool]] | None = None
    """Looks for a service that refused the connection; true if it can be reached now."""

    async def make(self, attempt: Callable[[int], Awaitable[T | Failed | Again]], *, method: str, request: str) -> T:
        """Repeat *attempt*, which is given its number, until it brings something; *request* is its name in the log.

        Every 429, 503 and time-out lowers the number of transfers, whoever answered so: requests to the API are made by
        transfers too. A ``Retry-After`` of 429 and 503 holds the origin for every task.
        """
        began = time.monotonic()
        number = 0
        followed = self.follow is None
        while True:
            number += 1
            outcome = await attempt(number)
            if isinstance(outcome, Again):
                continue
            if not isinstance(outcome, Failed):
                return outcome
            status, kind, retry_after = outcome.status, outcome.kind, outcome.retry_after
            if kind is FailureKind.NEVER_SENT and not followed:
                assert self.follow is not None
                followed = True
                if await self.follow():
                    number -= 1
                    continue
            if status in (429, 503) or kind is FailureKind.TIMED_OUT:
                self.pacing.trouble()
            elapsed = time.monotonic() - began
            wait = wait_before_retry(
                Attempt(number, method, status, kind, retry_after, elapsed, outcome.repeatable), self.policy
            )
            free = kind in (FailureKind.NEVER_SENT, FailureKind.STALE)
            if wait is None or outcome.final or not (free or self.budget.spend()):
                raise outcome.error
            if retry_after is not None and status in (429, 503):
                self.pacing.of(outcome.origin).close_for(retry_after)
            self.logger.info("%s: attempt %d failed (%s); next in %.2f s", request, number, outcome.reason, wait)
            patience = self.policy.connect_patience - elapsed if kind is FailureKind.NEVER_SENT else None
            self.hooks.tell(RetryEvent(self.kind, request, number, outcome.reason, wait, patience))
            await anyio.sleep(wait)
