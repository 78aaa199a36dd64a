"""Reading an upload session until it has ended.

A service that can is asked to answer when the session has ended; any other is polled.
"""

from __future__ import annotations

import time

import anyio

from .calls import AssetCalls
from .polling import Polling
from .responses import AssetIngestionSession

ASKED_WAIT = 1.0
"""Seconds; a longer silence of the service is reported to listeners (`SILENCE_SECONDS`)."""


class SessionLooks:
    """The readings of one session."""

    def __init__(self, calls: AssetCalls, session_id: str) -> None:
        self._calls = calls
        self._session_id = session_id
        self._polling = Polling()
        self._due: float | None = None
        """When the next reading may be, where that is known before it is asked for."""
        self._asked = False

    async def next(self, done: int = 0, total: int = 0, *, until_end: bool = True) -> AssetIngestionSession:
        """Read the session, at once the first time, then when more than *done* of *total* may be settled.

        With *until_end*, nothing but its end is of interest, and the service may wait for it.
        """
        if not (until_end and self._calls.can_wait):
            if self._asked:
                await anyio.sleep(self._polling.pause(done, total))
            self._asked = True
            return await self._calls.session(self._session_id)
        self._asked = True
        if self._due is not None:  # a service that does not wait after all is polled as any other
            await anyio.sleep(max(0.0, self._due - time.monotonic()))
        pause = self._polling.pause(done, total)
        longest = min(ASKED_WAIT, self._calls.http.settings.timeouts.request / 2)
        await anyio.sleep(max(0.0, pause - longest))
        self._due = time.monotonic() + min(pause, longest)
        wait = longest if total - done <= 1 else min(pause, longest)  # one file has no progress to show
        return await self._calls.session(self._session_id, wait=wait)
