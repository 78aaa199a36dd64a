"""What a client reports to its listeners: each request, each retry with its reason, each transfer's progress."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Literal, TypeVar

import attrs

from ._checks import must_be_of_type

logger = logging.getLogger("vi.hooks")


@attrs.frozen
class RequestEvent:
    """One request on the wire, answered with *status* or lost for *reason*; *seconds* include the bytes of a transfer.

    *path* is that of an API request, and empty for a transfer, whose URL is a secret. *attempt* counts from 1, and is
    None where a download resumes.
    """

    kind: Literal["api", "storage"]
    method: str
    host: str
    path: str
    status: int | None
    reason: str | None
    attempt: int | None
    seconds: float
    request_id: str | None = None


@attrs.frozen
class SilenceEvent:
    """An API request that has had no answer for a while; it ends after *seconds* more at the latest."""

    method: str
    host: str
    port: int
    path: str
    seconds: float


@attrs.frozen
class RetryEvent:
    """A request that failed for *reason* and is made again after *seconds*.

    *patience* is how many seconds from now it is tried for, None where the number of attempts decides.
    """

    kind: Literal["api", "storage"]
    request: str
    attempt: int
    reason: str
    seconds: float
    patience: float | None = None


@attrs.frozen
class TransferProgress:
    """How far a transfer has come. Totals are None while they are not known yet.

    A file is *done* once its end is known; an upload that waits has it checked by the service first. It is *sent* once
    none of its bytes is left to move. *bytes_total* falls by what proves to be there already, or cannot be moved.
    *last_sent* and *last_checked* are the *seconds* at which bytes last moved and a check last ended, None before.
    """

    operation: Literal["upload", "download"]
    stage: str
    files_total: int | None
    files_done: int
    files_failed: int
    bytes_total: int | None
    bytes_done: int
    seconds: float
    finished: bool
    files_sent: int = 0
    last_sent: float | None = None
    last_checked: float | None = None


Listener = Callable[[TransferProgress], None]
"""Who is called with the progress of one transfer: ``on_progress=``."""

leave: ContextVar[Callable[[BaseException], None] | None] = ContextVar("vi_leave", default=None)
"""Where a call runs in the loop thread of a sync client: ends the call as Ctrl+C does, and raises in the caller's."""

E = TypeVar("E")


def tell(listener: Callable[[E], object], event: E) -> None:
    """Call a caller's listener. One that ends the program ends its call first: it must not end the loop alone."""
    try:
        listener(event)
    except (SystemExit, KeyboardInterrupt) as error:
        end = leave.get()
        if end is None:
            raise
        end(error)


Event = RequestEvent | SilenceEvent | RetryEvent | TransferProgress
EventListener = Callable[[Event], None]


class Hooks:
    """The listeners of one client, called in its event loop with each event as it happens.

    An event is a `RequestEvent`, a `SilenceEvent`, a `RetryEvent` or a `TransferProgress`. What a listener raises is
    logged and goes no further.
    """

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: list[EventListener] = []

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def add(self, listener: EventListener) -> Callable[[], None]:
        """Add a listener; returns a function that takes it away again."""
        if not callable(listener):
            raise must_be_of_type("listener", "a function of an event", listener)
        self._listeners.append(listener)

        def remove() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return remove

    def tell(self, event: Event) -> None:
        """Call every listener with *event*."""
        for listener in list(self._listeners):
            try:
                tell(listener, event)
            except Exception:  # a broken watcher must not break what it watches
                logger.exception("A hook failed on %s", type(event).__name__)
