"""Blocking work in a thread that stops once its caller has gone.

A thread cannot be cancelled: one that keeps reading a large tree would keep the disk busy after Ctrl+C, and the
interpreter from ending. So the work asks, now and then, whether it is still wanted.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar, TypeVarTuple

import anyio

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_stop: ContextVar[threading.Event | None] = ContextVar("vi_stop", default=None)


class StoppedError(Exception):
    """The caller of this work is gone."""


async def in_thread(call: Callable[[*Ts], R], *arguments: *Ts) -> R:
    """Run *call* in a thread; a cancelled wait returns at once, and the call ends where it asks `still_wanted`."""
    stop = threading.Event()
    token = _stop.set(stop)
    try:
        return await _begun(call, *arguments)
    finally:
        stop.set()
        _stop.reset(token)


async def to_end_in_thread(call: Callable[[*Ts], R], *arguments: *Ts) -> R:
    """Run *call* in a thread; a cancelled wait lasts until it has ended."""
    with anyio.CancelScope(shield=True):
        return await _begun(call, *arguments)
    raise AssertionError("unreachable")  # a block of anyio may swallow what ends it, says its type


def _begun(call: Callable[[*Ts], R], *arguments: *Ts) -> asyncio.Future[R]:
    # anyio's own threads end by a callback that never runs where nest_asyncio has patched asyncio, and the
    # program would not end.
    context = contextvars.copy_context()
    return asyncio.get_running_loop().run_in_executor(None, lambda: context.run(call, *arguments))


def still_wanted() -> None:
    """Raise `StoppedError` in a call of `in_thread` whose caller is gone."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise StoppedError
