"""The event loop of a sync client, in a thread of its own, and how a call in it is cancelled.

The thread starts at the first call and again after a fork. Ctrl+C reaches only the waiting thread, so it cancels
the task there and waits a moment for its clean-up, and the `KeyboardInterrupt` has a note that says how to resume, and
what was reached as ``partial_result``; a second Ctrl+C leaves at once. Callbacks that a caller passes in run in the
loop thread.

anyio runs the loop and cancels in it. Its portal is not used: handing over a call would wait for the loop, in a sleep
that Ctrl+C does not end.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Generic, TypeVar, cast

import anyio
import attrs

from ._connections import client_is_closed
from ._event_loop import in_asyncio, loop_factory
from ._events import leave
from ._kernel import in_kernel
from .errors import ViError, ViOperationError

R = TypeVar("R")

CLEAN_UP_SECONDS = 2.0
LOOK_SECONDS = 0.2
STUCK_SECONDS = 0.5


class _Thread(threading.Thread):
    """The thread of a client's loop: a class of its own, because others run loops in threads too."""


@attrs.frozen
class LoopInThread:
    """An event loop that runs in a thread."""

    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    _stop: asyncio.Event

    @classmethod
    def begin(cls, name: str) -> LoopInThread:
        """Start the thread. Nothing here waits for the loop itself: a callback of the caller's may hold it up."""
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def serve() -> None:
            stop = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

        def run() -> None:
            try:
                anyio.run(serve, backend_options={"loop_factory": loop_factory()})
            except BaseException as error:
                if not started.done():
                    started.set_exception(_explained(error))
                # At exit no thread can be started; a loop that closes wants one for its executor, and closes anyway.
                elif not (isinstance(error, RuntimeError) and "interpreter shutdown" in str(error)):
                    raise

        thread = _Thread(target=run, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # Python 3.12 starts no thread once the main one has ended
            raise _at_exit() from None
        return cls(thread, *started.result())

    def call(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Start *work* in the loop."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError:
            work.close()
            raise ViOperationError("The client was closed while the call was running.") from None

    def wait_for(self, future: Future[R], seconds: float = math.inf) -> R:
        """Return what *future* comes to, looking for Ctrl+C now and then; `TimeoutError` after *seconds*.

        A wait without end may sleep through Ctrl+C: where the system gives the signal to another thread, or to this one
        when it is not quite asleep yet, nothing wakes it; and on Windows nothing ever does.
        """
        give_up = time.monotonic() + seconds
        while True:
            try:
                future.exception(LOOK_SECONDS)
            except TimeoutError:
                if not self.thread.is_alive():
                    future.cancel()  # the loop ended between the call and its beginning
                elif time.monotonic() >= give_up:
                    raise
                continue
            return future.result()

    def stop(self, seconds: float) -> None:
        """End the loop, cancelling what is under way, and wait *seconds* for the thread: one that is stuck stays."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._stop.set)
        self.thread.join(seconds)


def _explained(error: BaseException) -> BaseException:
    """Return *error*, or what to do where a patch of asyncio keeps every loop from running."""
    if not isinstance(error, Exception) or not hasattr(asyncio, "_nest_patched"):
        return error
    return ViOperationError(
        "The client's event loop cannot start: nest_asyncio does not work on this Python.",
        suggestion="Do not apply it, the synchronous client works beside a running loop; or use nest_asyncio2.",
    )


class RunningLoop:
    """The loop of one client, while there is one; apart from its owner, so that the owner's finaliser can end it."""

    def __init__(self, at_close: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self.current: LoopInThread | None = None
        self.patience = math.inf
        """Seconds that closing waits: few after a call was abandoned and did not end, none after two Ctrl+C."""
        self.closed: bool = False
        self._at_close = at_close
        self._name = name
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def start(self) -> LoopInThread:
        """Return the loop, starting it if it does not run in this process."""
        with self._lock:
            if self._pid != os.getpid():
                # The parent's thread did not come along; its loop must not be touched.
                self.current = None
                self._pid = os.getpid()
            if self.closed:
                raise client_is_closed()
            if self.current is None:
                self.current, self.patience = LoopInThread.begin(self._name), math.inf
            return self.current

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller is in the loop: what it waits for would never come."""
        current = self.current
        return current is not None and current.thread is threading.current_thread() and self._pid == os.getpid()

    def end(self) -> bool:
        """Run the closing call and end the thread; false when there was none."""
        if self._pid != os.getpid():
            return False
        with self._lock:
            ending, self.current = self.current, None
        if ending is None:
            return False
        if ending.thread is threading.current_thread():
            # A forgotten client may be collected in its own loop thread, which cannot wait for itself.
            threading.Thread(target=self._close, args=(ending,), name=self._name, daemon=True).start()
        else:
            self._close(ending)
        return True

    def _close(self, ending: LoopInThread) -> None:
        try:
            closing = ending.call(self._at_close())
            with contextlib.suppress(TimeoutError):
                ending.wait_for(closing, self.patience)
        finally:
            ending.stop(min(self.patience, CLEAN_UP_SECONDS))


class _UnderWay(Generic[R]):
    """A call in the loop thread, as the thread that waits for it sees it."""

    def __init__(self, call: Callable[[], Coroutine[Any, Any, R]]) -> None:
        self._call: Callable[[], Coroutine[Any, Any, R]] | None = call
        self._scope: anyio.CancelScope | None = None
        self._given_up = False
        self._ended = threading.Event()
        self._notes: list[str] = []
        self._partial_result: Any = None
        self.left: BaseException | None = None
        """What a callback of the caller's raised to end the program."""

    async def run(self) -> R:
        in_asyncio()
        leave.set(self._leave)
        try:
            with anyio.CancelScope() as self._scope:
                if self._given_up:
                    self._scope.cancel()
                # Timers of connections keep the context, and with it this object, longer than the call: not its
                # arguments too, which may be many files in memory.
                call, self._call = self._call, None
                assert call is not None  # it runs once
                try:
                    return await call()
                except (SystemExit, KeyboardInterrupt) as error:
                    self._leave(error)
                except asyncio.CancelledError as error:
                    self._notes += getattr(error, "__notes__", ())
                    self._partial_result = getattr(error, "partial_result", None)
                    raise
        finally:
            self._ended.set()
        return cast("R", None)  # abandoned: the caller is gone

    def _leave(self, error: BaseException) -> None:
        self.left = error
        assert self._scope is not None  # it runs
        self._scope.cancel()

    def stop(self, reason: BaseException, loop: asyncio.AbstractEventLoop) -> bool:
        """Cancel the call and wait for its clean-up; *reason* then says how to resume. False if still running."""
        if self._ended.is_set():
            return True
        self._given_up = True
        if self._scope is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._scope.cancel)
        ended = self._ended.wait(CLEAN_UP_SECONDS)
        for note in self._notes:
            reason.add_note(note)
        reason.partial_result = self._partial_result  # type: ignore[attr-defined]
        return ended


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
    def runs(self) -> bool:
        """Whether the thread has been started, and not ended."""
        return self._loop.current is not None

    def run(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run *call* in the loop thread and return what it returns."""
        if sys.is_finalizing():
            raise _at_exit()
        if self._loop.is_this_thread:
            raise ViOperationError(
                "A callback of this client called the client, which would wait for itself forever.",
                suggestion="Use another client in the callback, or make the call after the transfer.",
            )
        self._warn_inside_loop()
        loop, under_way = self._loop.start(), _UnderWay(call)
        try:
            result = loop.wait_for(loop.call(under_way.run()))
        except CancelledError:
            raise ViOperationError("The client was closed while the call was running.") from None
        except ViError:
            raise  # the call's own, or it could not begin
        except BaseException as error:
            self._loop.patience = 0.0  # for a second Ctrl+C, here in the middle
            self._loop.patience = math.inf if under_way.stop(error, loop.loop) else STUCK_SECONDS
            raise
        if under_way.left is not None:
            raise under_way.left
        return result

    def close(self) -> None:
        """Run the closing call and end the thread; does nothing when there is none. No call is taken after that."""
        self._loop.closed = True
        self._loop.end()

    def _warn_inside_loop(self) -> None:
        if self._warned or isinstance(threading.current_thread(), _Thread):
            return  # in a callback of another client, where nothing can be awaited
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        message = "vi.Client blocks the event loop of this thread while it works; use vi.AsyncClient with await here"
        if in_kernel():
            # A notebook's loop runs always. It waits for a plain cell, and Ctrl+C ends that; not so in one that awaits.
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                return
            message = "vi.Client cannot be stopped in a cell that awaits; use vi.AsyncClient there, or a separate cell"
        self._warned = True
        with contextlib.suppress(ValueError, AttributeError, OSError):  # of a standard error that cannot be written to
            warnings.warn(message, RuntimeWarning, stacklevel=5)


def _at_exit() -> ViError:
    return ViOperationError(
        "The interpreter is shutting down; the client can no longer be used.",
        suggestion="Make the call before the program ends, or from an atexit function.",
    )


def _forgotten(loop: RunningLoop) -> None:
    if loop.end():
        warnings.warn("a vi.Client was not closed; use it in a with statement", ResourceWarning, stacklevel=2)
