"""Progress in a notebook: one display that is drawn again in place, without control codes or widgets."""

from __future__ import annotations

import logging
from typing import Any

from .._events import TransferProgress
from .html import progress_bar
from .ticks import Ticks
from .units import progress_line

logger = logging.getLogger("vi.progress")


class NotebookBar(Ticks):
    """A bar in the output of the cell that runs, or none if not *shown*; what is saved is its last state alone.

    Either way it ticks while the transfer runs, which lets the stop button through: a kernel whose cell awaits hears of
    it only when something wakes its loop (ipykernel issue 881).
    """

    drawn_every = 0.25

    def __init__(self, *, shown: bool) -> None:
        super().__init__()
        self._shown = shown
        self._handle: Any = None

    def draw(self, progress: TransferProgress) -> None:
        """Draw the bar if it is wanted and can be shown."""
        if not self._shown:
            return
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
