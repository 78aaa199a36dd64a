"""What a process has cost: processor time of all its threads, and time in which none of them wanted a processor.

A decoder gives way to everything else on the machine, and some decode in helper threads. So neither the clock on the
wall nor what the main thread did says what a file costs. Time in which a thread waits for a processor costs nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import attrs

_TICKS_PER_SECOND: int = 100
if sys.platform != "win32":
    _TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_RUNNABLE = b"R"


@attrs.define(eq=False)
class ProcessorTime:
    """The cost of process *pid* from now on, looked at once in *step* seconds or more often."""

    pid: int
    step: float
    clock: Callable[[], float] = time.monotonic
    _charged: float = 0.0
    _used: float = attrs.field(init=False)
    _at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._used = _used(self.pid)
        self._at = self.clock()

    def seconds(self) -> float:
        """Return the cost so far; if the system has no figures for processes, all time is counted."""
        used, now = _used(self.pid), self.clock()
        if used > self._used:
            self._charged += used - self._used
        elif not _wants_a_processor(self.pid):
            # Who looks may have been without a processor too: more than two steps say nothing.
            self._charged += min(now - self._at, 2 * self.step)
        self._used, self._at = used, now
        return self._charged


def _used(pid: int) -> float:
    """Return the processor seconds of all threads, 0 where the system does not say."""
    fields = _fields(f"/proc/{pid}/stat")
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND if fields else 0.0


def _wants_a_processor(pid: int) -> bool:
    """Tell whether any thread runs, or waits to."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - a hundred times a second, without paths
    except OSError:
        return False
    return any(_fields(f"/proc/{pid}/task/{thread}/stat")[:1] == [_RUNNABLE] for thread in threads)


def _fields(path: str) -> list[bytes]:
    """Return what follows the name in a stat file (proc(5)); nothing for a process or system that has none."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
            return file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return []
