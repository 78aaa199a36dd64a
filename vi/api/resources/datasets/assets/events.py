"""A transfer that reports its progress while it runs, for services that show progress to their own users.

The transfer is a task of its own. Only its latest event is kept, so a slow reader does not slow the transfer down and
always sees the latest state.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Generator, Iterator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload

import anyio

from ....._events import Listener, TransferProgress
from ....._show.progress import check_listener
from .....errors import ViOperationError
from ....iterators import AsyncItems
from ....pagination import Run

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
A_contra = TypeVar("A_contra", contravariant=True)

CLEAN_UP_SECONDS = 5.0


class TransferEvents(AsyncItems[TransferProgress], Generic[R]):
    """A transfer and its progress: ``async with`` starts it, iterating gives `TransferProgress` until it finishes.

    `result` waits and returns the result of the transfer; awaiting the object itself does the same without events.
    Errors of the transfer are raised by the loop or by `result`. Leaving the block early cancels the transfer.
    """

    def __init__(self, start: Callable[[Listener], Coroutine[Any, Any, R]]) -> None:
        self._start = start
        self._task: asyncio.Task[R] | None = None
        self._latest: TransferProgress | None = None
        self._news = asyncio.Event()
        self._seen = False

    async def __aenter__(self) -> Self:
        if self._task is not None:
            raise ViOperationError("A transfer can be started once only.")
        self._task = asyncio.create_task(self._start(self._tell))
        self._task.add_done_callback(lambda _: self._news.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = self._running()
        if not task.done():
            task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task], timeout=CLEAN_UP_SECONDS)
            self._seen = True
        failure = task.exception() if task.done() and not task.cancelled() else None
        if failure is not None and kind is None and not self._seen:
            raise failure

    def __await__(self) -> Generator[Any, Any, R]:
        return self._whole().__await__()

    async def _whole(self) -> R:
        async with self:
            return await self.result()

    async def next(self) -> TransferProgress | None:
        """Wait for the next event; None once the transfer has finished successfully."""
        task = self._running()
        while self._latest is None:
            if task.done():
                self._seen = True
                task.result()
                return None
            self._news.clear()
            await self._news.wait()
        event, self._latest = self._latest, None
        return event

    async def result(self) -> R:
        """Wait until the transfer has finished, and return its result."""
        task = self._running()
        await asyncio.wait([task])
        self._seen = True
        return task.result()

    def _running(self) -> asyncio.Task[R]:
        if self._task is None:
            raise ViOperationError("The transfer has not been started: use it in an async with statement.")
        return self._task

    def _tell(self, event: TransferProgress) -> None:
        self._latest = event
        self._news.set()


class BlockingTransferEvents(Generic[R]):
    """A transfer and its progress: ``with`` starts it, iterating gives `TransferProgress` until it finishes.

    `result` waits and returns the result of the transfer. Errors of the transfer are raised by the loop or by `result`.
    Leaving the block early cancels the transfer.
    """

    def __init__(self, events: TransferEvents[R], run: Run) -> None:
        self._events = events
        self._run = run

    def __enter__(self) -> Self:
        self._run(self._events.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(lambda: self._events.__aexit__(kind, error, trace))

    def __iter__(self) -> Iterator[TransferProgress]:
        while (event := self._run(self._events.next)) is not None:
            yield event

    def result(self) -> R:
        """Wait until the transfer has finished, and return its result."""
        return cast("R", self._run(self._events.result))


class EventsMethod(Protocol[A_contra, P, R]):
    """How a method with events binds; see `Method` of the sync twins."""

    @overload
    def __get__(self, obj: None, cls: type) -> Callable[Concatenate[A_contra, P], TransferEvents[R]]: ...
    @overload
    def __get__(self, obj: A_contra, cls: type) -> Callable[P, TransferEvents[R]]: ...


def with_events(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]], name: str, doc: str
) -> EventsMethod[A, P, R]:
    """Return *method* in the form that yields events: the same parameters; ``on_progress`` is called too.

    Its docstring is *doc* and the sections of the method's own.
    """

    def call(self: A, /, *args: P.args, **kwargs: P.kwargs) -> TransferEvents[R]:
        given = cast("Listener | None", kwargs.get("on_progress"))
        check_listener(given)

        def start(listener: Listener) -> Coroutine[Any, Any, R]:
            both = listener if given is None else functools.partial(_tell_both, listener, given)
            return method(self, *args, **{**kwargs, "on_progress": both})  # type: ignore[arg-type]

        return TransferEvents(start)

    signature = inspect.signature(method)
    result = str(signature.return_annotation)
    _, _, sections = inspect.cleandoc(method.__doc__ or "").partition("\n\nArgs:")
    arguments, _, rest = sections.partition("\n\nReturns:")
    returns = "A `TransferEvents`; the sync form a `BlockingTransferEvents`. Its ``result()`` is that of the call."
    raised = f"\n\nRaises:{rest.partition(chr(10) * 2 + 'Raises:')[2]}"
    call.__name__, call.__module__ = name, method.__module__
    call.__doc__ = f"{doc}\n\nArgs:{arguments}\n\nReturns:\n    {returns}{raised}"
    call.__qualname__ = f"{method.__qualname__.rpartition('.')[0]}.{name}"
    call.__signature__ = signature.replace(return_annotation=f"TransferEvents[{result}]")  # type: ignore[attr-defined]
    return cast("EventsMethod[A, P, R]", call)


def _tell_both(first: Listener, second: Listener, event: TransferProgress) -> None:
    first(event)
    second(event)
