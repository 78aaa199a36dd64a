"""Blocking work in a thread that ends soon after nobody waits for it any more.

A thread cannot be cancelled: one that goes on reading a large tree would keep the disk busy after Ctrl+C, and the
interpreter from ending. So the work asks, now and then, whether it is still wanted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar, TypeVarTuple

import anyio.to_thread

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_stop: ContextVar[threading.Event | None] = ContextVar("vi_stop", default=None)


class StoppedError(Exception):
    """Nobody waits for this work any more."""


async def in_thread(call: Callable[[*Ts], R], *arguments: *Ts) -> R:
    """Run *call* in a thread; a cancelled wait returns at once, and the call ends where it asks `still_wanted`."""
    stop = threading.Event()
    token = _stop.set(stop)
    try:
        return await anyio.to_thread.run_sync(call, *arguments, abandon_on_cancel=True)
    finally:
        stop.set()
        _stop.reset(token)


def still_wanted() -> None:
    """Raise `StoppedError` in a call of `in_thread` that nobody waits for."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise StoppedError
