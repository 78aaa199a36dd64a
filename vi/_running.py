"""The long calls of a client that are under way, so that closing the client ends them."""

from __future__ import annotations

import asyncio

import anyio

from ._event_loop import running_loop

CLEAN_UP_SECONDS = 3.0
"""What a call may take to tell the service and to put its files in order, and a little more."""


class LongCall:
    """One call: *closed* says that it was ended because its client was."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.closed: bool = False
        self.left: asyncio.Event = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop = running_loop()
        self._scope = scope

    def end(self) -> None:
        """Cancel it; in its own loop only."""
        self.closed = True
        self._scope.cancel()


class Running:
    """What is under way, in any loop."""

    def __init__(self) -> None:
        self._calls: set[LongCall] = set()

    def enter(self, scope: anyio.CancelScope) -> LongCall:
        """Take on the call that *scope* cancels."""
        call = LongCall(scope)
        self._calls.add(call)
        return call

    def leave(self, call: LongCall) -> None:
        """Forget a call that has ended."""
        self._calls.discard(call)
        call.left.set()

    async def end(self) -> None:
        """End every call and wait, a while, until those of the running loop are over."""
        here = running_loop()
        mine = [call for call in list(self._calls) if call.loop is here]
        for call in list(self._calls):
            if call.loop is here:
                call.end()
            elif call.loop.is_running():
                call.loop.call_soon_threadsafe(call.end)
        if mine:
            with anyio.move_on_after(CLEAN_UP_SECONDS, shield=True):
                for call in mine:
                    await call.left.wait()
