"""The local service in a process of its own, where each answer begins a fixed time later."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from vi.testing import TestedService


def _serve(data: Path, seconds: float, told: Connection) -> None:
    service = TestedService.start(data)
    service.faults.delay(seconds, times=None)
    told.send(service.environment)
    with contextlib.suppress(EOFError):
        told.recv()
    service.stop()


@contextlib.contextmanager
def slow_service(scratch: Path, seconds: float) -> Iterator[dict[str, str]]:
    """Yield the settings of a client of a service that takes *seconds* more for each request, API and storage."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(scratch / "data", seconds, theirs))
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join()
