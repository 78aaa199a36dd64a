"""The slowest that a transfer may be: below it an attempt is ended, above it an attempt may take as long as it takes.

In any stretch of *seconds* (the no-progress limit) at least the floor rate must have moved, which covers silence as
well as a byte now and then. What counts on the way up is what the peer has acknowledged, where the system tells it:
bytes in a buffer of ours, or of the kernel, have not moved.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Self

try:
    import fcntl
    import termios
except ImportError:  # pragma: no cover - Windows
    fcntl = termios = None  # type: ignore[assignment]

BYTES_PER_SECOND = 1024
LOOKS = 4


class Floor:
    """Ends a block with `TimeoutError` once less than the floor rate has moved for *seconds*."""

    __slots__ = ("_looks", "_loop", "_moved", "_paused", "_seconds", "_timeout", "_timer", "_transport")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)
        self._moved = 0
        self._looks: deque[int] = deque([0], maxlen=LOOKS + 1)
        self._transport: asyncio.WriteTransport | None = None
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        await self._timeout.__aexit__(kind, error, trace)

    def begin(self, transport: asyncio.WriteTransport | None = None) -> None:
        """Begin to look: a connection is there. What is handed over counts once it has left *transport*."""
        self._transport = transport
        if self._timer is None:
            self._loop = asyncio.get_running_loop()
            self._timer = self._loop.call_later(self._seconds / LOOKS, self._look)

    def moved(self, count: int) -> None:
        """Count bytes received, or handed to the transport."""
        self._moved += count

    def pause(self) -> None:
        """Stop looking while the disk works."""
        self._paused = True

    def go_on(self) -> None:
        """Look again, from now."""
        self._paused = False
        self._looks = deque([self._progress()], maxlen=LOOKS + 1)

    def _look(self) -> None:
        if not self._paused:
            self._looks.append(self._progress())
            full = len(self._looks) > LOOKS
            if full and self._looks[-1] - self._looks[0] < BYTES_PER_SECOND * self._seconds:
                self._timeout.reschedule(self._loop.time())
                return
        self._timer = self._loop.call_later(self._seconds / LOOKS, self._look)

    def _progress(self) -> int:
        transport = self._transport
        if transport is None or transport.is_closing():
            return self._moved
        waiting = transport.get_write_buffer_size() + _unacknowledged(transport.get_extra_info("socket"))
        return self._moved - waiting


def _unacknowledged(sock: Any) -> int:
    """Return how many bytes the kernel holds for *sock*, 0 where it does not say."""
    if fcntl is None or sock is None:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), "little")
    except (OSError, ValueError, AttributeError):
        return 0
