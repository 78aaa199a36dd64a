"""The long operations: bounded by ``timeout=``, ended with their client, and saying how to go on when they are stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import anyio

from ..._http import Http
from ..._running import LongCall
from ...errors import ViInvalidParameterError, ViOperationError, ViTimeoutError

logger: logging.Logger = logging.getLogger("vi")


class Deadline(AbstractContextManager[None]):
    """Cancels the block after *timeout* seconds, or when the client is closed, and raises with what was reached."""

    def __init__(
        self, http: Http, timeout: float | None, message: str, result: Any, session: Any, resume_hint: str | None
    ) -> None:
        self._running = http.running
        self._timeout = timeout
        self._message = message
        self._result = result
        self._session = session
        self._goes_on = resume_hint
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
        if isinstance(error, asyncio.CancelledError) and self._goes_on is not None:
            error.add_note(self._goes_on)
            logger.info("%s and was cancelled. %s", self._message, self._goes_on)
        return swallowed

    def _stopped(self, *, closed: bool) -> ViOperationError | ViTimeoutError:
        result = self._result() if self._result else None
        if closed:
            error = ViOperationError(
                f"{self._message} before its client was closed, and was cancelled.", suggestion=self._goes_on
            )
            error.result = result  # type: ignore[attr-defined]
            return error
        return ViTimeoutError(
            f"{self._message} within {self._timeout:g} s and was cancelled.",
            result=result,
            session=self._session() if self._session else None,
            suggestion=self._goes_on,
        )


def deadline(
    http: Http,
    timeout: float | None,
    message: str,
    result: Callable[[], Any] | None = None,
    session: Callable[[], Any] | None = None,
    *,
    resume_hint: str | None = None,
) -> Deadline:
    """Bound a block to *timeout* seconds and to the life of its client.

    *result* and *session* are asked for what the error should carry; *resume_hint* says what to do after a stop.
    """
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0):
        raise ViInvalidParameterError(f"timeout must be seconds above 0, got {timeout!r}.", parameter="timeout")
    return Deadline(http, timeout, message, result, session, resume_hint)
