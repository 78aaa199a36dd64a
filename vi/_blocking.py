# pyright: reportPrivateUsage=false
"""The sync twin of an async client: an event loop in a thread of its own, and methods that run in it.

Async code is the only implementation. `blocking` turns an async method into one that starts it in the loop thread and
waits; `blocking_pages` does so for listings. The loop thread starts at the first call and again after a fork. Ctrl+C
reaches only the waiting thread, so it cancels the task there and waits a moment for its clean-up; a second Ctrl+C
leaves at once. Callbacks that a caller passes in run in the loop thread.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

import anyio
from anyio.from_thread import BlockingPortal

from .api.pagination import Listing, PaginatedResponse, Run

A = TypeVar("A")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
P = ParamSpec("P")
T = TypeVar("T")

CLEAN_UP_SECONDS = 2.0


class LoopThread:
    """The event loop of one sync client, in a daemon thread."""

    def __init__(self, at_close: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._at_close = at_close
        self._name = name
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._warned = False

    def run(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run *call* in the loop thread and return what it returns."""
        self._warn_inside_loop()
        ended = threading.Event()

        async def task() -> R:
            try:
                return await call()
            finally:
                ended.set()

        future = self._running().start_task_soon(task)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                ended.wait(CLEAN_UP_SECONDS)
            raise

    def close(self) -> None:
        """Run the closing call and end the thread; does nothing when there is none."""
        if self._pid != os.getpid():
            return
        with self._lock:
            portal, thread, self._portal, self._thread = self._portal, self._thread, None, None
        if portal is None or thread is None:
            return
        try:
            portal.call(self._at_close)
        finally:
            portal.call(portal.stop)
            thread.join()

    def _running(self) -> BlockingPortal:
        with self._lock:
            if self._pid != os.getpid():
                # The parent's thread did not come along; its loop must not be touched.
                self._portal = None
                self._pid = os.getpid()
            if self._portal is None:
                self._portal = self._start()
            return self._portal

    def _start(self) -> BlockingPortal:
        """Start the thread; anyio's own context manager would wait for it in a forked child, where it is not."""
        started: Future[BlockingPortal] = Future()

        async def serve() -> None:
            async with BlockingPortal() as portal:
                started.set_result(portal)
                await portal.sleep_until_stopped()

        def run() -> None:
            try:
                anyio.run(serve)
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

        self._thread = threading.Thread(target=run, name=self._name, daemon=True)
        self._thread.start()
        return started.result()

    def _warn_inside_loop(self) -> None:
        if self._warned or "ipykernel" in sys.modules:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self._warned = True
        warnings.warn(
            "vi.Client blocks the event loop of this thread while it works; use vi.AsyncClient with await here",
            RuntimeWarning,
            stacklevel=5,
        )


class Blocking(Generic[A]):
    """Base of every sync resource: an async resource and the loop it lives in."""

    def __init__(self, resource: A, loop_thread: LoopThread) -> None:
        self._resource = resource
        self._loop_thread = loop_thread

    def _run(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        return self._loop_thread.run(call)


class Method(Protocol[A, P, R_co]):
    """How a method binds. Checkers disagree on a bare Callable, not on this."""

    @overload
    def __get__(self, obj: None, cls: type) -> Callable[Concatenate[Blocking[A], P], R_co]: ...
    @overload
    def __get__(self, obj: Blocking[A], cls: type) -> Callable[P, R_co]: ...


def blocking(method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]]) -> Method[A, P, R]:
    """Give a sync resource the blocking twin of an async *method*."""

    @wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(lambda: method(self._resource, *args, **kwargs))

    return cast("Method[A, P, R]", call)


def blocking_pages(method: Callable[Concatenate[A, P], Listing[T]]) -> Method[A, P, PaginatedResponse[T]]:
    """Give a sync resource the twin of a *method* that lists: the first page now, the others while iterating."""

    @wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> PaginatedResponse[T]:
        listing = method(self._resource, *args, **kwargs)
        return PaginatedResponse.of(listing, self._run(listing.first), self._run)

    return cast("Method[A, P, PaginatedResponse[T]]", call)


def blocking_view(method: Callable[Concatenate[A, P], T], make: Callable[[T, Run], R]) -> Method[A, P, R]:
    """Give a sync resource the twin of a *method* that returns at once: *make* turns what it returns into its sync form."""

    @wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return make(method(self._resource, *args, **kwargs), self._run)

    return cast("Method[A, P, R]", call)


def close_at_exit(owner: object, loop_thread: LoopThread) -> weakref.finalize[Any, Any]:
    """Close *loop_thread* with a `ResourceWarning` when *owner* is collected, or at exit, without having been closed."""

    def forgotten(pid: int) -> None:
        if loop_thread._portal is None or pid != os.getpid():
            return
        warnings.warn("a vi.Client was not closed; use it in a with statement", ResourceWarning, stacklevel=2)
        loop_thread.close()

    return weakref.finalize(owner, forgotten, os.getpid())
