"""``timeout=`` of the long operations: the block is cancelled, and the error says how far it came."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import anyio

from ...errors import ViInvalidParameterError, ViTimeoutError


class Deadline(AbstractContextManager[None]):
    """Cancels the block after *timeout* seconds and raises `ViTimeoutError` with what was reached."""

    def __init__(self, timeout: float, message: str, result: Any, session: Any) -> None:
        self._timeout = timeout
        self._message = message
        self._result = result
        self._session = session
        self._scope = anyio.move_on_after(timeout)

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(self, *exc: Any) -> bool | None:
        swallowed = self._scope.__exit__(*exc)
        if self._scope.cancelled_caught:
            raise ViTimeoutError(
                f"{self._message} within {self._timeout:g} s and was cancelled.",
                result=self._result() if self._result else None,
                session=self._session() if self._session else None,
            )
        return swallowed


def deadline(
    timeout: float | None,
    message: str,
    result: Callable[[], Any] | None = None,
    session: Callable[[], Any] | None = None,
) -> AbstractContextManager[None]:
    """Bound a block to *timeout* seconds; *result* and *session* are asked for what the error should carry."""
    if timeout is None:
        return nullcontext()
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise ViInvalidParameterError(f"timeout must be seconds above 0, got {timeout!r}.", parameter="timeout")
    return Deadline(timeout, message, result, session)
