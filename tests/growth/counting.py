"""Counting what is done, not how long it takes: lines of this package that run, in chosen threads.

A line in a loop counts each time round, so work that grows with the square of the files shows on any machine.
What others' code does for one of these lines is not counted.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa

import vi

PACKAGE = f"{Path(vi.__file__).parent}{os.sep}"


class Operations:
    """A count that several threads may add to."""

    def __init__(self) -> None:
        self._ticks = itertools.count()
        self._tick = self._ticks.__next__
        self._reads = 0

    @property
    def count(self) -> int:
        self._reads += 1
        return self._tick() - (self._reads - 1)

    def enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Count the lines of a call if it is of this package."""
        return self._inside if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _inside(self, frame: FrameType, event: str, argument: Any) -> Any:
        self._tick()
        return self._inside

    @contextmanager
    def here(self) -> Iterator[None]:
        """Count in this thread."""
        before = sys.gettrace()
        sys.settrace(self.enter)
        try:
            yield
        finally:
            sys.settrace(before)


@contextmanager
def in_new_threads(counter_for: Callable[[str], Operations]) -> Iterator[None]:
    """Count in the threads that are started meanwhile, for as long as they live, with the counter for their name."""
    before = threading.gettrace()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        return counter_for(threading.current_thread().name).enter(frame, event, argument)

    threading.settrace(enter)
    try:
        yield
    finally:
        threading.settrace(before)  # type: ignore[arg-type]


class Steps:
    """What a database does for a piece of work: statements, and steps of SQLite's machine (a few for each row)."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.statements = 0
        self.steps = 0
        sa.event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, *_: Any) -> None:
        self.statements += 1

    def of(self, work: Callable[[sa.Connection], Any]) -> Any:
        """Run *work* in a transaction and count it anew; returns what it returns."""
        with self._engine.begin() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            self.statements = self.steps = 0
            driver.set_progress_handler(self._step, 1)
            try:
                return work(connection)
            finally:
                driver.set_progress_handler(None, 0)

    def _step(self) -> int:
        self.steps += 1
        return 0
