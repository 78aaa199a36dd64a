"""Progress in a notebook: one display that is drawn again in place, without control codes or widgets."""

from __future__ import annotations

from typing import Any

from ._html import progress_bar
from ._summaries import progress_line
from ._transfer.progress import TransferProgress

REDRAW_SECONDS = 0.25


class NotebookBar:
    """A bar in the output of the cell that runs; what is saved is its last state alone."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = 0.0

    def __call__(self, progress: TransferProgress) -> None:
        if self._handle is not None and not progress.finished and progress.seconds - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = progress.seconds
        bundle = {"text/html": progress_bar(progress), "text/plain": progress_line(progress, progress.seconds)}
        if self._handle is None:
            from IPython.display import display

            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
