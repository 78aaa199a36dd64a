"""Looking at arrived files in processes of our own.

Each worker process takes batches, the next before it is done with the last, and answers file by file, in order, so that
when it dies the file it was at is known. That file is tried once more in a new worker, because a worker can also be
killed for reasons that are not the file's; if it dies again the file is ECORRUPT. A worker that overruns the time of a
file is killed and the file is EUNKNOWN. Either way the rest is done by another worker.

Sizes, digests and types are measured here, before a worker gets the file; videos, of which nothing is decoded, are done
then. Where no worker can be started, images are refused with the reason, and another start is tried later.

Work happens inside `Inspector.inspect`, without a background task; cancelling it kills the workers it was using.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from importlib.util import find_spec

import attrs

from ...codes import FileCode
from . import walls
from .frames import InspectionJob, InspectionLimits, Verdict, read_answer, write_jobs
from .measuring import InspectionUnavailableError, Measured, Measurer
from .memory import within_memory
from .worker_process import CannotStartError, DiedError, OverrunError, WorkerProcess
from .worker_slots import Slots

__all__ = [
    "InspectionJob",
    "InspectionLimits",
    "InspectionState",
    "InspectionUnavailableError",
    "Inspector",
    "Verdict",
]

logger: logging.Logger = logging.getLogger("vi.server")

_BATCH = 8
_AHEAD = 2
"""Files that a worker still has when it gets the next batch."""
_STINT = 16
"""Files after which a worker is given to others who wait for one."""
_SLOW = 2.0
_SLOW_WORKERS = 4
_STARTS = 3
"""Attempts to start a worker that end without a word before it is taken that none can be started."""
_START_PAUSE = 0.2
_REST_SECONDS = 30.0
"""After which a start is tried again."""
_SHORTAGE_SECONDS = 60.0
"""How long a machine may be short of processes or memory before that counts as not being able to start."""


@attrs.frozen
class InspectionState:
    """Whether images can be looked at: *reason* says why not, *missing* which libraries are not there, and why.

    *walls* says for each thing that is to enclose a decoder whether it does ("on"), or why not.
    """

    reason: str | None = None
    missing: dict[str, str] = attrs.Factory(dict)
    walls: dict[str, str] = attrs.Factory(dict)


@attrs.frozen
class _Lost:
    """Why a worker did not finish its batch; *overrun* if it took too long, *idle* if it may have ended before."""

    reason: str
    overrun: bool = False
    idle: bool = False


class Inspector:
    """A bounded set of worker processes, started when there is work for them.

    A few more are started when some take long over a file, so that others do not wait for it.
    """

    def __init__(self, *, workers: int | None = None, limits: InspectionLimits | None = None) -> None:
        wanted = workers or _processors()
        self._limits, most = within_memory(limits or InspectionLimits(), wanted + _SLOW_WORKERS)
        self._workers = min(wanted, most)
        self._large = asyncio.Lock()
        self._slots = Slots(self._workers, most - self._workers)
        self._measurer = Measurer(most)
        self._starts = _Starts()
        self._idle: list[_Worker] = []
        self._idle_alone: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed = False

    @property
    def state(self) -> InspectionState:
        """What is known of the workers so far; before the first was wanted, what this system should have."""
        starts = self._starts
        return InspectionState(starts.reason, dict(starts.missing), dict(starts.walls) or walls.available())

    async def inspect(
        self, jobs: Sequence[InspectionJob], found: dict[int, Verdict] | None = None, *, urgent: bool = False
    ) -> list[Verdict]:
        """Return one verdict per job, in order; each also enters *found*, by its index, as soon as it is known.

        Those that are *urgent* wait for no other: a worker of their own looks at them, while there is room for one.
        """
        round_ = _Round(list(jobs), 1 if urgent else min(self._workers, len(jobs)), {} if found is None else found)
        if round_.lanes == 1:
            await self._serve(round_, urgent=urgent)
        elif round_.lanes:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(round_.lanes):
                        group.create_task(self._serve(round_))
            except* InspectionUnavailableError as errors:
                raise errors.exceptions[0] from None
        return [round_.verdicts[index] for index in range(len(jobs))]

    async def aclose(self) -> None:
        """End every worker; whatever is still being looked at is given up."""
        self._closed = True
        self._measurer.stop()
        for worker in self._busy:
            worker.process.kill()
        await self._slots.empty()  # once each call that was under way has noticed
        for worker in self._idle + self._idle_alone:
            await worker.process.aclose()
        self._idle.clear()
        self._idle_alone.clear()
        await self._measurer.aclose()

    async def _serve(self, round_: _Round, *, urgent: bool = False) -> None:
        while batch := round_.take():
            if self._closed:
                raise InspectionUnavailableError("The inspector is closed.")
            async with self._slots.hold(urgent=urgent) as make_room:
                await self._serve_batch(round_, batch, make_room)

    async def _serve_batch(self, round_: _Round, batch: list[int], make_room: Callable[[], None]) -> None:
        slow = asyncio.get_running_loop().call_later(_SLOW, make_room)
        try:
            open_ = await self._measured(round_, batch)
        finally:
            slow.cancel()
        large: list[tuple[int, Measured]] = []
        try:
            await self._look_at(round_, open_, make_room, large)
            while large:
                waiting = asyncio.get_running_loop().call_later(_SLOW, make_room)
                async with self._large:
                    waiting.cancel()
                    await self._look_at(round_, large[:1], make_room, None)
                del large[0]
        finally:
            for _, measured in open_ + large:
                measured.close()

    async def _look_at(
        self,
        round_: _Round,
        open_: list[tuple[int, Measured]],
        make_room: Callable[[], None],
        large: list[tuple[int, Measured]] | None,
    ) -> None:
        """Tell the verdicts on *open_* and on what the round adds, but for the pictures that go to *large*.

        Without *large* a worker looks that may take as much memory as one picture may.
        """
        while open_:
            try:
                async with self._borrowed(alone=large is None) as worker:
                    done, lost = await worker.look(
                        round_, open_, make_room, self._slots, self._measured if large is not None else None, large
                    )
            except CannotStartError as error:
                message = f"The service cannot look into images now, because no decoder starts: {error.reason}."
                for index, measured in open_:
                    round_.tell(index, attrs.evolve(measured.verdict, error=FileCode.EUNKNOWN, message=message))
                return
            del open_[:done]
            if lost is not None and lost.idle:
                continue  # another process looks; a new one is never lost so
            if lost and open_ and round_.blame(*open_[0], lost, self._limits):
                open_[0][1].close()
                del open_[0]
            elif lost and open_ and large is not None:
                large.append(open_.pop(0))  # it may have died for lack of memory

    async def _measured(self, round_: _Round, batch: Sequence[int]) -> list[tuple[int, Measured]]:
        """Measure the files of a batch; returns those that a decoder is to look at, and tells the rest."""
        open_: list[tuple[int, Measured]] = []
        try:
            async with aclosing(self._measurer.measure([round_.jobs[index] for index in batch])) as found:
                index = iter(batch)
                async for measured in found:
                    if measured.file is None:
                        round_.tell(next(index), measured.verdict)
                    else:
                        open_.append((next(index), measured))
        except BaseException:
            for _, measured in open_:
                measured.close()
            raise
        return open_

    @asynccontextmanager
    async def _borrowed(self, *, alone: bool) -> AsyncIterator[_Worker]:
        """Lend a worker; it goes back only if its answers are complete."""
        if self._closed:
            raise InspectionUnavailableError("The inspector is closed.")
        idle = self._idle_alone if alone else self._idle
        while idle and not idle[-1].usable:
            await idle.pop().process.aclose()
        worker = idle.pop() if idle else _Worker(await self._starts.start(self._limits, alone=alone), self._limits)
        self._busy.add(worker)
        try:
            yield worker
        finally:
            self._busy.discard(worker)
            if worker.usable and not self._closed:
                idle.append(worker)
            else:
                worker.process.kill()
                await worker.process.aclose()


class _Starts:
    """Starts workers, and knows when that is in vain."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.missing: dict[str, str] = {}
        self.walls: dict[str, str] = {}
        self._again = 0.0
        self._short_since: float | None = None

    async def start(self, limits: InspectionLimits, *, alone: bool) -> WorkerProcess:
        """Start a worker; raises `CannotStartError` where none can be, `InspectionUnavailableError` if it may pass."""
        loop = asyncio.get_running_loop()
        attempts = _STARTS
        if self.reason is not None:
            if loop.time() < self._again:
                raise CannotStartError(self.reason)
            # Callers that arrive during the attempt get the same reason: one attempt at a time is enough.
            attempts, self._again = 1, loop.time() + _REST_SECONDS
        for attempt in range(1, attempts + 1):
            try:
                process = await WorkerProcess.start(limits, self.missing, alone=alone)
            except CannotStartError as error:
                if error.temporary and not self._lasts(loop.time()):
                    raise InspectionUnavailableError(f"A worker process cannot be started: {error.reason}.") from None
                if attempt == attempts or error.certain or error.temporary:
                    self._give_up(error.reason, loop.time())
                    raise
                await asyncio.sleep(_START_PAUSE * attempt)
            else:
                self._note(process)
                return process
        raise AssertionError("unreachable")

    def _lasts(self, now: float) -> bool:
        if self._short_since is None:
            self._short_since = now
        return now - self._short_since > _SHORTAGE_SECONDS

    def _give_up(self, reason: str, now: float) -> None:
        if self.reason is None:
            logger.error("Images cannot be inspected and are refused, because no decoder starts: %s", reason)
        self.reason, self._again = reason, now + _REST_SECONDS

    def _note(self, process: WorkerProcess) -> None:
        if self.reason is not None:
            logger.warning("Images are inspected again")
        self.reason = self._short_since = None
        for name, why in process.missing.items():
            if name not in self.missing:
                level = logging.INFO if find_spec(name) is None else logging.WARNING  # some systems have no wheel of it
                logger.log(level, "%s cannot be used, and files that need it are refused: %s", name, why)
        self.missing = dict(process.missing)
        self.walls = dict(process.walls)


class _Round:
    """The jobs of one call and what is known of them."""

    def __init__(self, jobs: list[InspectionJob], lanes: int, found: dict[int, Verdict]) -> None:
        self.jobs = jobs
        self.lanes = lanes
        self.verdicts: dict[int, Verdict] = {}
        self._found = found
        self._next = 0
        self._suspects: set[int] = set()

    def take(self) -> list[int]:
        """Return the next batch: large at first, small near the end so that no lane is left with much."""
        left = len(self.jobs) - self._next
        size = min(_BATCH, -(-left // (2 * self.lanes)))
        batch = list(range(self._next, self._next + size))
        self._next += size
        return batch

    def tell(self, index: int, verdict: Verdict) -> None:
        """Note what is known of a file."""
        self.verdicts[index] = self._found[index] = verdict

    def blame(self, index: int, measured: Measured, lost: _Lost, limits: InspectionLimits) -> bool:
        """Settle the file at which a worker was lost; false if it is to be tried once more."""
        if lost.overrun:
            seconds = limits.seconds_for(measured.job.size)
            message = f"Looking at the file took more than {seconds:.0f} seconds of a processor."
            self.tell(index, attrs.evolve(measured.verdict, error=FileCode.EUNKNOWN, message=message))
            return True
        if index not in self._suspects:
            self._suspects.add(index)
            return False
        message = f"Decoding the file failed: {lost.reason}."
        self.tell(index, attrs.evolve(measured.verdict, error=FileCode.ECORRUPT, message=message))
        return True


@attrs.define(eq=False)
class _Worker:
    """A process with the files that it has not answered yet."""

    process: WorkerProcess
    limits: InspectionLimits
    waiting: int = 0
    answered: int = 0
    lost: bool = False

    @property
    def usable(self) -> bool:
        """Whether the process runs, owes no answer, and has written nothing but answers."""
        return self.waiting == 0 and not self.lost and self.process.runs

    async def look(
        self,
        round_: _Round,
        batch: list[tuple[int, Measured]],
        make_room: Callable[[], None],
        slots: Slots,
        measure: Callable[[_Round, Sequence[int]], Awaitable[list[tuple[int, Measured]]]] | None,
        large: list[tuple[int, Measured]] | None,
    ) -> tuple[int, _Lost | None]:
        """Tell *round_* a verdict per file; returns how many, and why not all when the worker is lost before the last.

        Adds to *batch* while the round has more, so that the worker never waits for us, but only a few times when
        others wait for one of the *slots*. Calls *make_room* when a file takes long. Pictures that are to be decoded
        alone are added to *large*. One that has said more than it was asked for before looks at nothing.
        """
        if self.answered and not await self.process.is_silent():
            self.lost = True
            return 0, None
        loop = asyncio.get_running_loop()
        done, used = 0, self.answered > 0
        self._hand_over(batch)
        while self.waiting > 0:
            slow = loop.call_later(_SLOW, make_room)
            try:
                data = await self.process.read_within(self.limits.seconds_for(batch[done][1].job.size))
                for message, blob in self.process.frames.feed(data):
                    index, measured = batch[done]
                    if message["number"] != self.answered + 1:
                        raise ValueError("an answer that was not asked for")
                    if message.get("alone") is True and large is not None:
                        large.append((index, measured))
                    else:
                        round_.tell(index, read_answer(message, blob, measured.verdict))
                        measured.close()
                    done += 1
                    self.answered += 1
                    self.waiting -= 1
                ahead = self.waiting <= _AHEAD and (len(batch) < _STINT or not slots.wanted)
                if ahead and measure is not None and (more := round_.take()):
                    handed = await measure(round_, more)
                    batch += handed
                    self._hand_over(handed)
            except OverrunError:
                return done, _Lost("it took too long", overrun=True)
            except DiedError as died:
                return done, _Lost(str(died), idle=used and not done)
            except (ValueError, KeyError, TypeError, IndexError):
                self.lost = True
                return done, _Lost("its worker wrote nonsense")
            finally:
                slow.cancel()
        return done, None

    def _hand_over(self, batch: Sequence[tuple[int, Measured]]) -> None:
        self.waiting += len(batch)
        files = [measured.file for _, measured in batch if measured.file is not None]
        if files:
            jobs = [measured.job for _, measured in batch]
            self.process.send(write_jobs(jobs, handed_over=self.process.channel is not None), files)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
