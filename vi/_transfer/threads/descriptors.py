"""Wait for a file descriptor instead of failing: what needs one waits until another is closed.

Connections that are only kept for later are closed first: they would hold theirs for a minute.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from ..._sockets import close_idle

R = TypeVar("R")

_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
_WAITS = (0.02, 0.05, 0.1, 0.2, *(0.5,) * 40)


async def when_possible(call: Callable[[], Awaitable[R]]) -> R:
    """Return what *call* gives, calling again, for about twenty seconds, until a descriptor is free."""
    for seconds in _WAITS:
        try:
            return await call()
        except OSError as error:
            if error.errno not in _NONE_LEFT:
                raise
        close_idle()
        await anyio.sleep(seconds)
    return await call()


def open_when_possible(path: str, flags: int, mode: int = 0o666) -> int:
    """Open *path* as `os.open` does, waiting likewise; blocking."""
    for seconds in _WAITS:
        try:
            return os.open(path, flags, mode)
        except OSError as error:
            if error.errno not in _NONE_LEFT:
                raise
        time.sleep(seconds)
    return os.open(path, flags, mode)
