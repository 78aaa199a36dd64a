"""A process that looks at images: batches of jobs in by stdin, one answer per file out by stdout.

Started by `vi.server.inspection.inspector`, never by hand. It lives as long as its stdin: a thread waits there, so that
the process ends at once when its parent dies, also in the middle of a decode. With each batch come the open
descriptors of its files, where the system can hand them over: once everything is imported, no path can be opened.
"""

from __future__ import annotations

import array
import math
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import IO, Any

from . import walls
from .frames import FrameReader, InspectionLimits, frame, read_jobs, write_answer

_NICE = 10
_FILES = 64
_INHERITED = 1 << 16
_THREAD = 16 << 20
"""Address space of the thread that reads, which starts later."""


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        # uvloop leaves its children second copies of the standard streams: none could ever be closed here.
        os.closerange(3, _INHERITED)
    # Decoders print to the standard streams as they please: stdout must hold frames alone.
    out = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    files: deque[int] = deque()
    received = _receive(files)
    asked = next(received)
    limits, alone = InspectionLimits(**asked["limits"]), bool(asked["alone"])
    if choose := getattr(sys, "set_lazy_imports_filter", None):  # of 3.15: what is imported late could not be opened
        choose(lambda importing, imported, names: False)
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
    decode = decoding.Decoder(limits, missing, alone)
    memory = limits.memory_for(alone=alone)
    _restrict(memory)
    group = _open_group()
    os.dup2(nowhere, 2)
    standing = walls.raise_all()
    messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_collect, args=(received, messages), daemon=True).start()
    _say(out, {"ready": True, "missing": missing, "unsupported": decode.unsupported(), "walls": standing})
    gives_way, number = _give_way(group), 0
    while True:
        for job in read_jobs(messages.get()):
            gives_way = gives_way or _give_way(group)
            # Flushed one by one: if the next file kills the process, this one is known to be done.
            _allow(limits.seconds_for(job.size))
            number += 1
            file = files.popleft() if not job.path else None
            answer = checking.inspect(job, file, decode.of_job(job), memory, alone=alone)
            out.write(write_answer(answer, number))
            out.flush()


def _say(out: IO[bytes], message: dict[str, Any]) -> None:
    out.write(frame(message))
    out.flush()


def _collect(received: Iterator[dict[str, Any]], messages: queue.SimpleQueue[dict[str, Any]]) -> None:
    for message in received:
        messages.put(message)
    os._exit(0)


def _receive(files: deque[int]) -> Iterator[dict[str, Any]]:
    """Yield what the parent sends; the descriptors that come along are in *files* by then."""
    reader = FrameReader()
    if sys.platform == "win32":
        while data := os.read(0, 1 << 16):
            yield from (message for message, _ in reader.feed(data))
        return
    source = socket.socket(fileno=0)
    room = socket.CMSG_SPACE(_FILES * array.array("i").itemsize)
    while True:
        data, handed, _, _ = source.recvmsg(1 << 16, room)
        for level, kind, packed in handed:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(packed[: len(packed) - len(packed) % numbers.itemsize])
                files.extend(numbers)
        if not data:
            return
        yield from (message for message, _ in reader.feed(data))


def _restrict(memory: int) -> None:
    """Bound what a decoder may take, and let the service's own work go first."""
    if sys.platform == "win32":
        return
    import resource

    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes to its parent alone, through a pipe
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.platform != "linux":
        # Linux counts threads too, which decoders start: there a filter tells them from processes.
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        space = _address_space() + _THREAD + memory
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
    except (OSError, ValueError):  # some systems know the limit and do not set it
        return


def _allow(seconds: float) -> None:
    """Let the system end this process if the next file takes more than *seconds* of processor time."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(time.process_time() + seconds) + 1
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _open_group() -> IO[bytes] | None:
    """Open what says how nice this process is as a session, before nothing can be opened; None where there is none."""
    try:
        return open("/proc/self/autogroup", "wb", buffering=0)  # noqa: PTH123 - a pathlib import would cost more
    except OSError:
        return None


def _give_way(group: IO[bytes] | None) -> bool:
    """Be nice as a session too: where these share alike (autogroups, sched(7)), niceness counts within one only.

    False if it is to be tried again: the system takes one such wish in a tenth of a second, and workers start together.
    """
    if group is None:
        return True
    try:
        group.write(str(_NICE).encode())
    except BlockingIOError:
        return False
    except OSError:
        pass  # not supported by this system
    return True


def _address_space() -> int:
    if sys.platform == "win32":
        raise NotImplementedError
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - a pathlib import would cost more than the read
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 1 << 30
