"""Blocking file work off the event loop, cheaply.

A hop to a thread and back costs more than reading a small file. A lane is one thread behind a queue: it runs what has
gathered, up to a bound, and wakes the loop once for all of it. Several lanes share the queue. A job whose caller was
cancelled before it began is not run; one that has begun finishes, and its result is dropped.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

JOBS_PER_WAKE = 16

Job = tuple["asyncio.Future[Any]", Callable[[], Any]]
Outcome = tuple["asyncio.Future[Any]", Any, BaseException | None]


class Lanes:
    """I/O threads of one event loop, started at the first job."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._started: list[threading.Thread] = []

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run *call* in a lane and return its result."""
        loop = asyncio.get_running_loop()
        if not self._started:
            self._start(loop)
        future: asyncio.Future[R] = loop.create_future()
        self._queue.put((future, lambda: call(*args, **kwargs)))
        return await future

    def close(self) -> None:
        """Let the threads end once their jobs are done."""
        for _ in self._started:
            self._queue.put(None)
        self._started.clear()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in range(self._threads):
            thread = threading.Thread(target=_work, args=(self._queue, loop), name=f"vi-lane-{number}", daemon=True)
            thread.start()
            self._started.append(thread)


def _work(jobs: queue.SimpleQueue[Job | None], loop: asyncio.AbstractEventLoop) -> None:
    while True:
        job = jobs.get()
        outcomes: list[Outcome] = []
        while job is not None:
            future, call = job
            if not future.cancelled():
                outcomes.append(_outcome(future, call))
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
