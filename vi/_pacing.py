"""One gate per client and origin: a ``Retry-After`` closes it for every task, so one 429 does not become a storm."""

from __future__ import annotations

import time

import anyio


class Gate:
    """Lets requests through, or holds all of them until a moment of the monotonic clock."""

    __slots__ = ("_opens",)

    def __init__(self) -> None:
        self._opens = 0.0

    def close_for(self, seconds: float) -> None:
        """Hold every request for *seconds*; a shorter hold never shortens a longer one."""
        self._opens = max(self._opens, time.monotonic() + seconds)

    @property
    def closed(self) -> bool:
        """Whether a request would have to wait now."""
        return self._opens > time.monotonic()

    async def wait(self) -> None:
        """Return when the gate is open."""
        while (seconds := self._opens - time.monotonic()) > 0:  # noqa: ASYNC110 - a later hold may have moved the moment
            await anyio.sleep(seconds)


class Gates:
    """The gates of a client, one per origin."""

    __slots__ = ("_gates",)

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}

    def of(self, origin: str) -> Gate:
        """Return the gate of *origin* (scheme, host and port)."""
        gate = self._gates.get(origin)
        if gate is None:
            gate = self._gates[origin] = Gate()
        return gate
