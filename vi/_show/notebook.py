"""Progress in a notebook: one display that is drawn again in place, without control codes or widgets."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import attrs

from .._events import TransferProgress
from .html import progress_bar
from .units import progress_line

logger = logging.getLogger("vi.progress")

REDRAW_SECONDS = 0.25
TICK_SECONDS = 1.0


class NotebookBar:
    """A bar in the output of the cell that runs, or none if not *shown*; what is saved is its last state alone.

    Either way it ticks once a second while the transfer runs. That keeps the time right when nothing moves, and it lets
    the stop button through: a kernel whose cell awaits hears of it only when something wakes its loop (ipykernel issue
    881).
    """

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._handle: Any = None
        self._drawn = 0.0
        self._last: TransferProgress | None = None
        self._came = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, progress: TransferProgress) -> None:
        begins = self._last is None
        self._last, self._came = progress, time.monotonic()
        if progress.finished:
            if self._timer is not None:
                self._timer.cancel()
            self._draw(progress)
            return
        if begins:
            self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        if begins or progress.seconds - self._drawn >= REDRAW_SECONDS:
            self._draw(progress)

    def _tick(self) -> None:
        assert self._last is not None  # the first event starts the timer
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        now = self._last.seconds + time.monotonic() - self._came
        if now - self._drawn >= TICK_SECONDS:
            self._draw(attrs.evolve(self._last, seconds=now))

    def _draw(self, progress: TransferProgress) -> None:
        if not self._shown:
            return
        self._drawn = progress.seconds
        try:
            self._show(progress)
        except Exception as error:  # noqa: BLE001 - a front end that is gone, or a display that somebody replaced
            self._shown = False
            logger.debug("the progress bar cannot be shown: %s", error)

    def _show(self, progress: TransferProgress) -> None:
        bundle = {"text/html": progress_bar(progress), "text/plain": progress_line(progress, progress.seconds)}
        if self._handle is None:
            from IPython.display import display

            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
