"""When to ask the service again for what takes its time (protocol section 9.5: often at first, then less)."""

from __future__ import annotations

import time

EARLIEST, FIRST, LAST, SOON = 0.03, 0.2, 5.0, 0.05
SHARE = 0.12
"""Of the time waited so far: at most so much later than it came is an end noticed, until `LAST` is reached."""
EARLY = 0.8
"""Of the time that the rest should take: the counts of a service that settles files in groups lag behind."""


class Polling:
    """The pauses between the questions of one wait, at most *last* seconds long.

    The first come early, for what is done at once: from `EARLIEST` they double up to *first*. Then they grow with the
    time waited. Where the answers tell how much of it is done, the next question comes a little before all of it should
    be, even if that is sooner than *first*.
    """

    def __init__(self, first: float = FIRST, last: float = LAST) -> None:
        self._first = first
        self._least = min(EARLIEST, first)
        self._last = last
        self._began = time.monotonic()
        self._seen: tuple[float, int] | None = None

    def pause(self, done: int = 0, total: int = 0) -> float:
        """Return how long to pause after an answer that said *done* of *total*."""
        now = time.monotonic()
        pause = max(self._least, min(self._last, SHARE * (now - self._began)))
        self._least = min(self._first, 2 * self._least)
        if self._seen is not None:
            at, before = self._seen
            if done > before:  # nothing done says nothing of what is left
                pause = min(pause, max(SOON, EARLY * (total - done) * (now - at) / (done - before)))
        self._seen = now, done
        return pause
