"""A process that looks at files: batches of jobs in by stdin, one verdict per file out by stdout.

Started by `vi.server.inspection.inspector`, never by hand. It lives as long as its stdin: a thread waits there, so that
the process ends at once when its parent dies, also in the middle of a decode.
"""

from __future__ import annotations

import ctypes
import math
import os
import queue
import signal
import sys
import threading
import time
from typing import IO, Any

from .frames import FrameReader, InspectionLimits, frame, read_jobs, write_verdict

_NICE = 10
_FILES = 64
_NO_NEW_PRIVILEGES = 38
"""PR_SET_NO_NEW_PRIVS of prctl(2): no program that it starts has more rights than it."""


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Decoders print to the standard streams as they please: stdout must hold frames alone.
    out = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(messages,), daemon=True).start()
    asked = messages.get()
    limits = InspectionLimits(**asked["limits"])
    from . import checking, decoding

    decoding.prepare()
    missing: dict[str, str] = dict(asked["without"])
    for name, load in decoding.libraries().items():
        if name not in missing:
            _say(out, {"loading": name})
            try:
                load()
            except Exception as error:  # noqa: BLE001 - a library that does not load costs the files that need it
                missing[name] = f"{type(error).__name__}: {str(error)[:200]}"
    decode = decoding.Decoder(limits, missing)
    _restrict(limits)
    os.dup2(nowhere, 2)
    _say(out, {"ready": True, "missing": missing})
    gives_way = _give_way()
    while True:
        for job in read_jobs(messages.get()):
            gives_way = gives_way or _give_way()
            # Flushed one by one: if the next file kills the process, this one is known to be done.
            _allow(limits.seconds_for(job.size))
            out.write(write_verdict(checking.inspect(job, decode)))
            out.flush()


def _say(out: IO[bytes], message: dict[str, Any]) -> None:
    out.write(frame(message))
    out.flush()


def _receive(messages: queue.SimpleQueue[dict[str, Any]]) -> None:
    reader = FrameReader()
    while data := os.read(0, 1 << 16):
        for message, _ in reader.feed(data):
            messages.put(message)
    os._exit(0)


def _restrict(limits: InspectionLimits) -> None:
    """Bound what a decoder may take, and let the service's own work go first."""
    if sys.platform == "win32":
        return
    import resource

    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes to its parent alone, through a pipe
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + limits.memory_bytes,) * 2)
    except (OSError, ValueError):  # some systems know the limit and do not set it
        return


def _allow(seconds: float) -> None:
    """Let the system end this process when the next file takes it more than so many seconds of a processor."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(time.process_time() + seconds) + 1
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _give_way() -> bool:
    """Be nice as a session too: where these share alike (autogroups, sched(7)), niceness counts within one only.

    False if it is to be tried again: the system takes one such wish in a tenth of a second, and workers start together.
    """
    try:
        with open("/proc/self/autogroup", "w") as group:  # noqa: PTH123 - a pathlib import would cost more than the write
            group.write(str(_NICE))
    except BlockingIOError:
        return False
    except OSError:
        pass  # not supported by this system
    return True


def _address_space() -> int:
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - a pathlib import would cost more than the read
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 1 << 30


if __name__ == "__main__":
    main()
