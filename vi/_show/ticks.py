"""What is drawn again every second while a transfer runs, so that the time is right when nothing moves."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod

import attrs

from .._events import TransferProgress

TICK_SECONDS = 1.0


class Ticks(ABC):
    """A display of progress: each event is drawn, and between events the last one with the time of each second.

    It is called in the event loop of the transfer.
    """

    drawn_every: float = 0.0
    """Seconds between two events that are drawn; others are passed over."""

    def __init__(self) -> None:
        self._drawn = 0.0
        self._last: TransferProgress | None = None
        self._came = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def draw(self, progress: TransferProgress) -> None:
        """Draw how far the transfer has come."""

    def __call__(self, progress: TransferProgress) -> None:
        begins = self._last is None
        self._last, self._came = progress, time.monotonic()
        if progress.finished:
            if self._timer is not None:
                self._timer.cancel()
        elif begins:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        if begins or progress.finished or progress.seconds - self._drawn >= self.drawn_every:
            self._draw_at(progress, progress.seconds)

    def _tick(self) -> None:
        assert self._last is not None  # the first event starts the timer
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        now = self._last.seconds + time.monotonic() - self._came
        if now - self._drawn >= TICK_SECONDS:
            self._draw_at(attrs.evolve(self._last, seconds=now), now)

    def _draw_at(self, progress: TransferProgress, seconds: float) -> None:
        self._drawn = seconds
        self.draw(progress)
