"""Long operations: limited by ``timeout=``, cancelled with their client, with a hint how to resume them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import anyio

from ..._checks import must_be
from ..._http import Http
from ..._running import LongCall
from ...errors import ViOperationError, ViTimeoutError

logger: logging.Logger = logging.getLogger("vi")


class Deadline(AbstractContextManager[None]):
    """Cancels the block after *timeout* seconds, or when the client is closed, and raises with the partial result."""

    def __init__(
        self, http: Http, timeout: float | None, what: str, result: Any, session: Any, resume_hint: str | None
    ) -> None:
        self._running = http.running
        self._timeout = timeout
        self._what = what
        self._result = result
        self._session = session
        self._resume_hint = resume_hint
        self._scope = anyio.move_on_after(timeout)
        self._call: LongCall | None = None

    def __enter__(self) -> None:
        self._scope.__enter__()
        self._call = self._running.enter(self._scope)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._call is not None
        self._running.leave(self._call)
        swallowed = self._scope.__exit__(kind, error, trace)
        if self._scope.cancelled_caught:
            raise self._stopped(closed=self._call.closed)
        if isinstance(error, asyncio.CancelledError) and self._resume_hint is not None:
            result = self._result() if self._result else None
            note = f"Interrupted: {result._reached()}. {self._resume_hint}" if result is not None else self._resume_hint
            error.add_note(note)
            error.partial_result = result  # type: ignore[attr-defined]
            logger.info("The %s was stopped. %s", self._what, note)
        return swallowed

    def _stopped(self, *, closed: bool) -> ViOperationError | ViTimeoutError:
        result = self._result() if self._result else None
        if closed:
            error = ViOperationError(
                f"The {self._what} was cancelled because its client was closed.", suggestion=self._resume_hint
            )
            error.result = result
            return error
        return ViTimeoutError(
            f"The {self._what} did not finish within {self._timeout:g} s and was stopped.",
            result=result,
            session=self._session() if self._session else None,
            suggestion=self._resume_hint,
        )


def deadline(
    http: Http,
    timeout: float | None,
    what: str,
    result: Callable[[], Any] | None = None,
    session: Callable[[], Any] | None = None,
    *,
    resume_hint: str | None = None,
) -> Deadline:
    """Limit a block to *timeout* seconds and to the life of its client; errors name the operation as *what*.

    *result* and *session* return what the error carries; *resume_hint* says how to resume the operation.
    """
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0):
        raise must_be("timeout", "seconds above 0", timeout)
    return Deadline(http, timeout, what, result, session, resume_hint)
