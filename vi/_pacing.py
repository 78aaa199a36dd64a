"""How hard a client presses: one gate per origin, and how many transfers run at once.

A ``Retry-After`` closes the gate of its origin for every task, so one 429 does not become a storm. `Slots` bounds the
transfers in flight and finds its own level within the limit: it doubles while that makes files or bytes arrive faster,
steps back when it does not, tries a little more from time to time, and halves on 429, 503 and time-outs. On a fast
line it stays near its start; with a long round trip, where only the number in flight counts, it grows within seconds.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque

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


START = 16
DOUBLING, DOUBLING_PAYS, DOUBLING_SECONDS = 2.0, 1.3, 0.1
STEP, STEP_PAYS, STEP_SECONDS = 1.25, 1.1, 0.5
CALM_SECONDS = 1.0
WINDOWS_BETWEEN_TRIES = 8


class Slots:
    """Bounds what runs at once: a semaphore whose number is found, and of which a large file takes several."""

    def __init__(self, limit: int, start: int = START) -> None:
        self.limit = limit
        self.level: int = min(start, limit)
        self._in_use = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._doubling = True
        self._new_level = False
        self._good = self.level
        self._best = (0.0, 0.0)
        self._began = 0.0
        self._files = 0
        self._bytes = 0
        self._calm_after = 0.0
        self._windows = 0

    @property
    def in_use(self) -> int:
        """How many slots are taken."""
        return self._in_use

    async def acquire(self, count: int = 1) -> None:
        """Take *count* slots, waiting for them in order of arrival; more than there are counts as all of them."""
        if not self._in_use:
            self._began = 0.0  # a pause between two transfers does not count as slow
        if not self._waiting and self._fits(count):
            self._in_use += count
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (future, count)
        self._waiting.append(entry)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._in_use -= count
            elif entry in self._waiting:  # a release in the same turn has passed over it already
                self._waiting.remove(entry)
            self._wake()
            raise

    def release(self, count: int = 1) -> None:
        """Give slots back."""
        self._in_use -= count
        self._files += 1
        if self._files >= self.level and self._waiting:
            self._measure()
        self._wake()

    def moved(self, count: int) -> None:
        """Count *count* bytes towards the rate by which the level is chosen."""
        self._bytes += count

    def ease(self) -> None:
        """Press half as hard; trouble that comes in bunches counts once a second."""
        now = time.monotonic()
        if now < self._calm_after:
            return
        self._calm_after = now + CALM_SECONDS
        self.level = self._good = max(1, self.level // 2)
        self._doubling = False
        self._restart(now)
        self._best = (0.0, 0.0)

    def _fits(self, count: int) -> bool:
        return not self._in_use or self._in_use + count <= self.level

    def _wake(self) -> None:
        while self._waiting and self._fits(self._waiting[0][1]):
            future, count = self._waiting.popleft()
            if not future.done():
                self._in_use += count
                future.set_result(None)

    def _measure(self) -> None:
        """Close a window in which every slot was wanted, and choose the next level."""
        now = time.monotonic()
        seconds = now - self._began
        if seconds < (DOUBLING_SECONDS if self._doubling else STEP_SECONDS):
            return
        if not self._began or self._new_level or now < self._calm_after:
            # New connections are being made: the first window at a level says little about it.
            self._new_level = False
            self._restart(now)
            return
        rates = (self._files / seconds, self._bytes / seconds)
        pays = DOUBLING_PAYS if self._doubling else STEP_PAYS
        faster = any(new > old * pays for new, old in zip(rates, self._best, strict=True))
        self._restart(now)
        if faster:
            self._best = rates
            self._good = self.level
            self._raise(DOUBLING if self._doubling else STEP)
        elif self.level > self._good:
            self.level = self._good
            self._doubling = False
            self._windows = 0
        else:
            self._windows += 1
            if self._windows >= WINDOWS_BETWEEN_TRIES:
                self._windows = 0
                self._best = rates
                self._raise(STEP)

    def _raise(self, factor: float) -> None:
        self.level = min(self.limit, max(self.level + 1, int(self.level * factor)))
        self._new_level = True

    def _restart(self, now: float) -> None:
        self._began, self._files, self._bytes = now, 0, 0


class Pacing:
    """The gates of a client, and the slots of each of its event loops."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._gates: dict[str, Gate] = {}
        self._slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Slots] = weakref.WeakKeyDictionary()
        self._others: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.WeakSet[Slots]]
        self._others = weakref.WeakKeyDictionary()

    def of(self, origin: str) -> Gate:
        """Return the gate of *origin* (scheme, host and port)."""
        gate = self._gates.get(origin)
        if gate is None:
            gate = self._gates[origin] = Gate()
        return gate

    def slots(self, limit: int | None = None) -> Slots:
        """Return the slots of the running loop, or separate ones for a call with another *limit* than the client's."""
        loop = asyncio.get_running_loop()
        if limit is not None and limit != self._limit:
            own = Slots(limit)
            self._others.setdefault(loop, weakref.WeakSet()).add(own)
            return own
        found = self._slots.get(loop)
        if found is None:
            found = self._slots[loop] = Slots(self._limit)
        return found

    def trouble(self) -> None:
        """Take note of a 429, a 503 or a time-out: fewer transfers at once from now on."""
        for slots in (self.slots(), *self._others.get(asyncio.get_running_loop(), ())):
            slots.ease()
