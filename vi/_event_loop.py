"""Which event loop runs in the threads and processes that are ours, and what a client needs of the caller's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from .errors import ViOperationError


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return how a loop of ours is made, None for as usual: on Windows, one that starts processes."""
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop
    return None


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the loop that runs this call; `ViOperationError` where none of asyncio does, as under trio."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ViOperationError(
            "AsyncClient needs a running event loop of asyncio.",
            suggestion="Use asyncio.run(); under trio, call a vi.Client by trio.to_thread.run_sync.",
        ) from None


def in_asyncio() -> None:
    """Let this call know that asyncio runs it: it has the context of its caller, where anyio may run trio."""
    if (sniffio := sys.modules.get("sniffio")) is not None:
        sniffio.current_async_library_cvar.set("asyncio")
