"""Progress as one stream of events, from which the bar, the log lines and callers' own displays draw.

Files count when they are settled, bytes when they are acknowledged or verified, so neither ever goes down.
"""

from __future__ import annotations

import time
from typing import Literal

from .._events import Listener, TransferProgress, tell

EVENTS_PER_SECOND = 10


class ProgressTracker:
    """Counts, and tells its listeners at most ten times a second, and once at the end."""

    def __init__(self, operation: Literal["upload", "download"], listeners: list[Listener]) -> None:
        self.operation: Literal["upload", "download"] = operation
        self.stage: str = "starting"
        self.files_total: int | None = None
        self.bytes_total: int | None = None
        self.files_done: int = 0
        self.files_failed: int = 0
        self.bytes_done: int = 0
        self.files_sent: int = 0
        self._last_sent: float | None = None
        self._last_checked: float | None = None
        self._listeners = listeners
        self._began = time.monotonic()
        self._next = 0.0

    def follow(self, listener: Listener) -> None:
        """Tell one more listener."""
        self._listeners = [*self._listeners, listener]

    def move(self, count: int) -> None:
        """Count *count* bytes as transferred."""
        self.bytes_done += count
        if count:
            self._last_sent = self.seconds
        self._tell()

    def sent(self) -> None:
        """Count a file as sent, which has still to be settled."""
        self.files_sent += 1
        self._last_sent = self.seconds
        self._tell()

    def settle(self, *, failed: bool = False, unsent: int = 0) -> None:
        """Count a file as settled that was not counted as sent; its *unsent* bytes will not be moved."""
        self.files_sent += 1
        self.files_failed += failed
        if self.bytes_total is not None:
            self.bytes_total = max(self.bytes_done, self.bytes_total - unsent)
        self.settle_sent()

    def settle_sent(self, *, checked: bool = False) -> None:
        """Count a file as settled that was sent, and maybe *checked* by the service."""
        self.files_done += 1
        if checked:
            self._last_checked = self.seconds
        self._tell()

    def enter(self, stage: str) -> None:
        """Name the stage that the transfer is in."""
        self.stage = stage
        self._tell()

    def finish(self) -> None:
        """Tell the end."""
        self._tell(finished=True)

    @property
    def seconds(self) -> float:
        """Seconds since the transfer began."""
        return time.monotonic() - self._began

    def _tell(self, *, finished: bool = False) -> None:
        if not self._listeners:
            return
        now = time.monotonic()
        if not finished and now < self._next:
            return
        self._next = now + 1 / EVENTS_PER_SECOND
        event = TransferProgress(
            self.operation,
            self.stage,
            self.files_total,
            self.files_done,
            self.files_failed,
            self.bytes_total,
            self.bytes_done,
            now - self._began,
            finished,
            self.files_sent,
            self._last_sent,
            self._last_checked,
        )
        for listener in self._listeners:
            tell(listener, event)
