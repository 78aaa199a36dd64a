"""Ids of what the service makes."""

from __future__ import annotations

from collections.abc import Callable


class Identifiers:
    """Makes ids that sort by the time they were made; lower-case hex, so never an underscore (protocol section 2.1)."""

    def __init__(self, clock: Callable[[], int], token: Callable[[int], str]) -> None:
        self._clock = clock
        self._token = token
        self._last = 0

    def __call__(self) -> str:
        """Return a new id."""
        self._last = max(self._last + 1, self._clock() << 12)
        return f"{self._last:015x}{self._token(4)}"
