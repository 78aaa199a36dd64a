"""A bounded number of slots for work of which some turns out to be slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Slots:
    """*count* slots, and *spare* ones: for others while somebody turns out slow, and for what cannot wait."""

    def __init__(self, count: int, spare: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._spare = spare
        self._users = 0
        self._holders = 0
        self._left = asyncio.Event()

    @asynccontextmanager
    async def hold(self, *, urgent: bool = False) -> AsyncIterator[Callable[[], None]]:
        """Wait for a slot and hold it; yields what to call when the work in it is slow.

        What is *urgent* takes a spare slot at once, if there is one and no other is free.
        """
        lent = urgent and self._spare > 0 and self._free.locked()

        def make_room() -> None:
            nonlocal lent
            if not lent and self._spare > 0:
                lent = True
                self._spare -= 1
                self._free.release()

        self._users += 1
        try:
            if lent:
                self._spare -= 1
            else:
                await self._free.acquire()
            self._holders += 1
            try:
                yield make_room
            finally:
                self._holders -= 1
                if lent:
                    self._spare += 1
                else:
                    self._free.release()
        finally:
            self._users -= 1
            self._left.set()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a slot."""
        return self._users > self._holders

    async def empty(self) -> None:
        """Wait until nobody holds a slot or waits for one."""
        while self._users:
            self._left.clear()
            await self._left.wait()
