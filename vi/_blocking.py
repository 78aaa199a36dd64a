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
import signal
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


class RunningLoop:
    """A thread with an event loop, while there is one; apart from its owner, so that the owner's finaliser can end it."""

    def __init__(self, at_close: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self.portal: BlockingPortal | None = None
        self._at_close = at_close
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def start(self) -> BlockingPortal:
        """Return the way into the loop, starting it if it does not run in this process."""
        with self._lock:
            if self._pid != os.getpid():
                # The parent's thread did not come along; its loop must not be touched.
                self.portal = None
                self._pid = os.getpid()
            if self.portal is None:
                self.portal, self._thread = self._begin()
            return self.portal

    def end(self) -> bool:
        """Run the closing call and end the thread; false when there was none."""
        if self._pid != os.getpid():
            return False
        with self._lock:
            portal, thread, self.portal, self._thread = self.portal, self._thread, None, None
        if portal is None or thread is None:
            return False
        if thread is threading.current_thread():
            # A forgotten client may be collected in its own loop thread, which cannot wait for itself.
            threading.Thread(target=self._close, args=(portal, thread), name=self._name, daemon=True).start()
        else:
            self._close(portal, thread)
        return True

    def _begin(self) -> tuple[BlockingPortal, threading.Thread]:
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

        thread = threading.Thread(target=run, name=self._name, daemon=True)
        thread.start()
        return started.result(), thread

    def _close(self, portal: BlockingPortal, thread: threading.Thread) -> None:
        try:
            portal.call(self._at_close)
        finally:
            portal.call(portal.stop)
            thread.join()


class LoopThread:
    """The event loop of one sync client, in a daemon thread.

    The client and its resources share it; it ends with the last of them, or at exit, with a `ResourceWarning` if nobody
    closed it.
    """

    def __init__(self, at_close: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._loop = RunningLoop(at_close, name)
        self._warned = False
        weakref.finalize(self, _forgotten, self._loop)

    @property
    def _portal(self) -> BlockingPortal | None:
        return self._loop.portal

    def run(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run *call* in the loop thread and return what it returns."""
        self._warn_inside_loop()
        ended = threading.Event()

        async def task() -> R:
            try:
                return await call()
            finally:
                ended.set()

        future = self._loop.start().start_task_soon(task)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                ended.wait(CLEAN_UP_SECONDS)
            raise

    def close(self) -> None:
        """Run the closing call and end the thread; does nothing when there is none."""
        self._loop.end()

    def _warn_inside_loop(self) -> None:
        if self._warned:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        message = "vi.Client blocks the event loop of this thread while it works; use vi.AsyncClient with await here"
        if "ipykernel" in sys.modules:
            # A notebook's loop runs always. It waits for a plain cell, and Ctrl+C ends that; not so in one that awaits.
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                return
            message = (
                "vi.Client cannot be stopped in a cell that awaits; use vi.AsyncClient there, or a cell of its own"
            )
        self._warned = True
        warnings.warn(message, RuntimeWarning, stacklevel=5)


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


def _forgotten(loop: RunningLoop) -> None:
    if loop.end():
        warnings.warn("a vi.Client was not closed; use it in a with statement", ResourceWarning, stacklevel=2)
