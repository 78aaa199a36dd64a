"""Blocking file work off the event loop, cheaply.

A hop to a thread and back costs more than reading a small file. A lane is one thread behind a queue: it runs what has
gathered, up to a bound, and wakes the loop once for all of it. One lane is the cheapest while the page cache answers;
when those that there are hang in the disk, another shares the queue. A job whose caller was
cancelled before it began is not run; one that has begun is waited for, a while, so that a cancelled transfer leaves no
write behind that would still happen.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import anyio

P = ParamSpec("P")
R = TypeVar("R")

JOBS_PER_WAKE = 16
LAST_SECONDS, LOOK_SECONDS = 1.0, 0.002
SLOW_SECONDS = 0.01


class Job:
    """A call under way: *begun* and *ended* are set by the lane."""

    __slots__ = ("begun", "call", "ended", "future")

    def __init__(self, future: asyncio.Future[Any], call: Callable[[], Any]) -> None:
        self.future = future
        self.call = call
        self.begun = False
        self.ended = False


Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]


class Lanes:
    """I/O threads of one event loop, at most *threads*, started as they are needed."""

    def __init__(self, threads: int = 4) -> None:
        self._threads = threads
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._started: list[Lane] = []
        self._closed = False

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run *call* in a lane and return its result."""
        loop = asyncio.get_running_loop()
        if len(self._started) < self._threads and self._all_slow():
            self._start(loop)
        future: asyncio.Future[R] = loop.create_future()
        job = Job(future, lambda: call(*args, **kwargs))
        self._queue.put(job)
        if self._closed:
            self.close()  # a transfer that ends after the client: nobody else would end the lane that it starts
        try:
            return await future
        except asyncio.CancelledError:
            if job.begun:
                with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_SECONDS):
                    while not job.ended:  # noqa: ASYNC110 - rare, and an event would cost every job
                        await anyio.sleep(LOOK_SECONDS)
            raise

    def close(self) -> None:
        """Let the threads end once their jobs are done; a later job gets a thread of its own, which ends with it."""
        self._closed = True
        for _ in self._started:
            self._queue.put(None)
        self._started.clear()
        self._queue = queue.SimpleQueue()  # lanes that are started later must not take the message that ends these

    def _all_slow(self) -> bool:
        """Tell whether every lane has been at one job for long; true when there is none."""
        late = time.monotonic() - SLOW_SECONDS
        return all(0.0 < lane.since < late for lane in self._started)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        lane = Lane()
        name = f"vi-lane-{len(self._started)}"
        threading.Thread(target=_work, args=(self._queue, loop, lane), name=name, daemon=True).start()
        self._started.append(lane)


class Lane:
    """A thread: *since* when it has been at its job, by the monotonic clock, 0 when it has none."""

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since = 0.0


def _work(jobs: queue.SimpleQueue[Job | None], loop: asyncio.AbstractEventLoop, lane: Lane) -> None:
    while True:
        lane.since = 0.0
        job = jobs.get()
        outcomes: list[Outcome] = []
        while job is not None:
            lane.since = time.monotonic()
            job.begun = True
            if not job.future.cancelled():
                outcomes.append(_outcome(job.future, job.call))
            job.ended = True
            if len(outcomes) >= JOBS_PER_WAKE:
                break
            try:
                job = jobs.get_nowait()
            except queue.Empty:
                break
        if outcomes:
            try:
                loop.call_soon_threadsafe(_deliver, outcomes)
            except RuntimeError:  # the loop is closed: nobody waits
                return
        if job is None:
            return


def _outcome(future: asyncio.Future[Any], call: Callable[[], Any]) -> Outcome:
    try:
        return future, call(), None
    except BaseException as error:  # noqa: BLE001 - carried to the caller that waits for it
        return future, None, error


def _deliver(outcomes: list[Outcome]) -> None:
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
