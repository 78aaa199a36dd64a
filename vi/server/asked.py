"""Which sessions a client waits for, so that their received objects are looked for at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress


class Asked:
    """Ids of sessions that somebody waits for, or has just asked for."""

    def __init__(self) -> None:
        self._waited: Counter[str] = Counter()
        self._new: set[str] = set()
        self._event = asyncio.Event()

    @contextmanager
    def waiting(self, session_id: str) -> Iterator[None]:
        """Wait for a session in a block."""
        self._new.add(session_id)
        self._event.set()
        self._waited[session_id] += 1
        try:
            yield
        finally:
            self._waited[session_id] -= 1
            if not self._waited[session_id]:
                del self._waited[session_id]

    def take(self) -> Sequence[str]:
        """Return the sessions that somebody waits for, or has asked for since the last call."""
        asked = self._new | set(self._waited)
        self._new.clear()
        self._event.clear()
        return list(asked)

    async def pause(self, seconds: float) -> None:
        """Return after *seconds*, or when a session is asked for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
