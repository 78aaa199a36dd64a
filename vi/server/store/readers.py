"""The threads in which either database is read: one for each read connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from .metadata import TooManyReadsError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

READERS = 4
READ_SECONDS = 30
"""Seconds for which a read waits for a thread."""


class Readers:
    """A few reader threads; further reads wait for one of them, for a limited time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="vi-database-reader")
        self._places = asyncio.Semaphore(READERS)

    async def run(self, read: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call *read* in a thread; raises `TooManyReadsError` when none becomes free in time."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise TooManyReadsError from None
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._threads, read, *args)
        except BaseException:  # no thread can be started
            self._places.release()
            raise
        reading.add_done_callback(self._leave)
        # The caller may be cancelled: the thread stays busy until the read ends.
        result: T = await asyncio.shield(reading)
        return result

    def _leave(self, reading: asyncio.Future[Any]) -> None:
        self._places.release()
        if not reading.cancelled():
            reading.exception()  # its caller may have gone

    def shutdown(self, *, wait: bool = True) -> None:
        """Accept no more reads; with *wait*, return once the running ones are done. Blocking."""
        self._threads.shutdown(wait=wait)
