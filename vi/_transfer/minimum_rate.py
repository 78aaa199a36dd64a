"""The slowest that a transfer may be: below it an attempt is ended, above it an attempt may take as long as it takes.

In any span of *seconds* (the no-progress limit) at least the minimum rate must have moved, which covers silence as
well as a byte now and then. What counts on the way up is what the peer has acknowledged, where the system tells it:
bytes in a buffer of ours, or of the kernel, have not moved.
"""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Any, Self

from .._sockets import watch

BYTES_PER_SECOND = 1024
LOOKS = 4


class RateWatch:
    """Looks at every transfer under way in one loop, *LOOKS* times in *seconds*: one timer for all of them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._under_way: set[MinimumRate] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, rate: MinimumRate) -> None:
        """Look at a transfer from now on."""
        self._under_way.add(rate)
        if self._timer is None:
            self._wait()

    def discard(self, rate: MinimumRate) -> None:
        """Look at it no more."""
        self._under_way.discard(rate)

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.seconds / LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        for rate in list(self._under_way):
            rate.look()
        if self._under_way:
            self._wait()


class MinimumRate:
    """Ends a block with `TimeoutError` once less than the minimum rate has moved for the seconds of *rate_watch*.

    It begins to look when the request in the block has its connection, as `_sockets.watch` tells it.
    """

    __slots__ = ("_cancelling", "_fell", "_looks", "_moved", "_paused", "_rate_watch", "_task", "_transport")

    def __init__(self, rate_watch: RateWatch) -> None:
        self._rate_watch = rate_watch
        self._moved = 0
        self._transport: asyncio.WriteTransport | None = None
        self._paused = False
        self._task: asyncio.Task[Any] | None = None
        self._fell = False

    def __enter__(self) -> Self:
        self._task = task = asyncio.current_task()
        assert task is not None
        self._cancelling = task.cancelling()
        watch.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        watch.set(None)
        task, self._task = self._task, None
        self._rate_watch.discard(self)
        self._transport = None
        # As asyncio.timeout does, whose coroutines and timer cost a tenth of what sending a small file does.
        if self._fell and task is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def begin(self, transport: asyncio.WriteTransport | None = None) -> None:
        """Start or restart the measurement. What is handed over counts once it has left *transport*."""
        if self._task is None:
            return
        self._transport = transport
        self._paused = False
        self._looks = [self._moved]
        self._rate_watch.add(self)

    def moved(self, count: int) -> None:
        """Count bytes received, or handed to the transport."""
        self._moved += count

    def pause(self) -> None:
        """Stop looking while it is not the wire that works."""
        self._paused = True

    def resume(self) -> None:
        """Look again, from now."""
        self._paused = False
        self._looks = [self._progress()]

    def look(self) -> None:
        """Compare with a whole span ago, and end the block if too little has moved since."""
        if self._paused or self._fell or self._task is None:
            return
        self._looks.append(self._progress())
        # The first look may come at once: a span is whole with one more.
        if len(self._looks) > LOOKS + 1:
            if self._looks[-1] - self._looks[0] < BYTES_PER_SECOND * self._rate_watch.seconds:
                self._fell = True
                self._task.cancel()
            del self._looks[0]

    def _progress(self) -> int:
        transport = self._transport
        if transport is None or transport.is_closing():
            return self._moved
        waiting = transport.get_write_buffer_size() + _unacknowledged(transport.get_extra_info("socket"))
        return self._moved - waiting


if sys.platform == "win32":

    def _unacknowledged(sock: Any) -> int:
        return 0
else:
    import fcntl
    import termios

    def _unacknowledged(sock: Any) -> int:
        """Return how many bytes the kernel holds for *sock*, 0 where it does not say."""
        if sock is None:
            return 0
        try:
            return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), "little")
        except (OSError, ValueError, AttributeError):
            return 0
