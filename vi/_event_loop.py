"""Which event loop runs in the threads and processes that are ours."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return how a loop of ours is made, None for as usual: on Windows, one that starts processes."""
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop
    return None
