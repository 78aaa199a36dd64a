# pyright: reportPrivateUsage=false
"""The sync twins of async resources and their methods.

Async code is the only implementation. `blocking` turns an async method into one that starts it in the loop thread and
waits; `blocking_pages` does so for listings, `blocking_view` for what a method returns at once.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from .._loop_thread import LoopThread
from ..errors import ViError
from .pagination import Listing, PaginatedResponse, Run

logger: logging.Logger = logging.getLogger("vi")

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
A_contra = TypeVar("A_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
P = ParamSpec("P")
T = TypeVar("T")


class Blocking(Generic[A_co]):
    """Base of every sync resource: an async resource and the loop it lives in."""

    def __init__(self, resource: A_co, loop_thread: LoopThread) -> None:
        self._resource = resource
        self._loop_thread = loop_thread

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the client does; a copy has a client of its own."""
        make, _ = cast("Any", self._resource).__reduce__()
        return make, (type(self).__name__,)

    def __repr__(self) -> str:
        return repr(self._resource).replace("<Async", "<", 1)

    def _run(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        __tracebackhide__ = True
        try:
            return self._loop_thread.run(call)
        except ViError as error:
            logger.debug("%s was raised", type(error).__name__, exc_info=True)
            raise without_inner_frames(error)  # noqa: B904 - it is the same error


def without_inner_frames(error: ViError) -> ViError:
    """Return an error that shows where the caller stood: what ran in the loop thread is in the log at level debug."""
    inner: BaseException | None = error
    while inner is not None:
        inner = inner.with_traceback(None)
        inner = inner.__cause__ or (None if inner.__suppress_context__ else inner.__context__)
    return error


def _misused(call: Any, owner: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError | None:
    """Return the error for arguments that *call* does not have, in the name of the sync method; None if it has them."""
    signature = inspect.signature(call)
    try:
        signature.bind(owner, *args, **kwargs)
    except TypeError as error:
        import difflib  # here: a client starts faster without it

        text = str(error)
        unknown = next((name for name in kwargs if name not in signature.parameters), None)
        if unknown is not None and (near := difflib.get_close_matches(unknown, [*signature.parameters], 1)):
            text = f"{text}; did you mean {near[0]!r}?"
        return TypeError(f"{type(owner).__name__}.{call.__name__}(): {text}")
    return None


class Method(Protocol[A_contra, P, R_co]):
    """How a method binds. Checkers disagree on a bare Callable, not on this."""

    @overload
    def __get__(self, obj: None, cls: type) -> Callable[Concatenate[Blocking[A_contra], P], R_co]: ...
    @overload
    def __get__(self, obj: Blocking[A_contra], cls: type) -> Callable[P, R_co]: ...


def blocking(method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]]) -> Method[A, P, R]:
    """Give a sync resource the blocking twin of an async *method*."""

    @wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        try:
            return self._run(lambda: method(self._resource, *args, **kwargs))
        except TypeError:
            if (problem := _misused(method, self, args, kwargs)) is not None:
                raise problem from None
            raise

    return cast("Method[A, P, R]", call)


def blocking_pages(method: Callable[Concatenate[A, P], Listing[T]]) -> Method[A, P, PaginatedResponse[T]]:
    """Give a sync resource the twin of a *method* that lists: the first page now, the others while iterating."""

    @wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> PaginatedResponse[T]:
        __tracebackhide__ = True
        try:
            listing = method(self._resource, *args, **kwargs)
        except TypeError:
            if (problem := _misused(method, self, args, kwargs)) is not None:
                raise problem from None
            raise
        return PaginatedResponse.of(listing, self._run(listing.first), self._run)

    return cast("Method[A, P, PaginatedResponse[T]]", call)


def blocking_view(method: Callable[Concatenate[A, P], T], make: Callable[[T, Run], R]) -> Method[A, P, R]:
    """Give a sync resource the twin of a *method* that returns at once: *make* turns its result into the sync form."""

    @wraps(method)
    def call(self: Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return make(method(self._resource, *args, **kwargs), self._run)

    return cast("Method[A, P, R]", call)
