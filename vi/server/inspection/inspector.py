"""Looking at arrived files in processes of our own.

Each worker process takes batches, the next before it is done with the last, and answers file by file, in order, so that
when it dies the file it was at is known. That file is tried once more in a new worker, because a worker can also be
killed for reasons that are not the file's; if it dies again the file is ECORRUPT. A worker that overruns the time of a
file is killed and the file is EUNKNOWN. Either way the rest is done by another worker.

A worker may have been taken over by an earlier file. What it says of a later one counts only where it agrees with what
the service reads of its header (`declared`); a refusal, another size, a crash and an overrun are settled by a worker
that looks at this file alone.

Sizes, digests and types are measured here, before a worker gets the file; videos, of which nothing is decoded, are done
then. Where no worker can be started, images are refused with the reason, and another start is tried later.

Work happens inside `Inspector.inspect`, without a background task; cancelling it kills the workers it was using.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext
from functools import partial
from importlib.util import find_spec

import attrs

from ... import _media
from ...codes import FileCode
from . import walls
from .declared import Declared
from .frames import InspectionJob, InspectionLimits, Verdict, read_answer, write_jobs
from .measuring import InspectionUnavailableError, Measured, Measurer
from .memory import may_lack, within_memory
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
_MOST_BYTES = 24
"""Bytes of memory that a decoder may need for a pixel."""
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
    """Why a worker did not finish its batch; *overrun* if it took too long, *idle* if it may have ended before.

    *shared* if it had looked at another file before.
    """

    reason: str
    shared: bool
    overrun: bool = False
    idle: bool = False


@attrs.frozen(eq=False)
class _Open:
    """A file that a decoder is to look at: *alone* with all memory that one picture may take, in an *own* process.

    *doubted* is a worker whose answer did not count, and the answer.
    """

    index: int
    measured: Measured
    alone: bool = False
    own: bool = False
    doubted: tuple[_Worker, Verdict] | None = None

    def is_confirmed(self, verdict: Verdict, process: WorkerProcess, limits: InspectionLimits) -> bool:
        """Tell whether *verdict* is what the service itself can say of the picture."""
        said, family = self.measured.declared, _media.family_of(self.measured.job.mime)
        if verdict.error == FileCode.EBADMIME:
            return family in process.unsupported
        if verdict.error == FileCode.EBADSIZE:
            return said is not None and said.width * said.height > limits.max_pixels
        return verdict.error is None and said == Declared(verdict.width, verdict.height, verdict.frames)

    def settle(self, verdict: Verdict) -> None:
        """End the worker that said otherwise."""
        if self.doubted is None:
            return
        worker, said = self.doubted
        if attrs.evolve(said, thumbnail=None, message=None) != attrs.evolve(verdict, thumbnail=None, message=None):
            logger.warning("A decoder gave an answer that a new one does not confirm, and was ended")
            worker.lost = True
            worker.process.kill()


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
        open_: list[_Open] = []
        later: list[_Open] = []
        try:
            slow = asyncio.get_running_loop().call_later(_SLOW, make_room)
            try:
                open_ = await self._measured(round_, later, batch)
            finally:
                slow.cancel()
            await self._look_at(round_, open_, make_room, later)
            while later:
                waiting = asyncio.get_running_loop().call_later(_SLOW, make_room)
                async with self._large if later[0].alone else nullcontext():
                    waiting.cancel()
                    await self._look_at(round_, later[:1], make_room, later, alone=later[0].alone, own=later[0].own)
                del later[0]
        finally:
            for one in open_ + later:
                one.measured.close()

    async def _look_at(
        self,
        round_: _Round,
        open_: list[_Open],
        make_room: Callable[[], None],
        later: list[_Open],
        *,
        alone: bool = False,
        own: bool = False,
    ) -> None:
        """Tell the verdicts on *open_* and on what the round adds, but for the pictures that go to *later*."""
        more = None if alone or own else partial(self._measured, round_, later)
        while open_:
            try:
                async with self._borrowed(alone=alone, own=own) as worker:
                    done, lost = await worker.look(round_, open_, make_room, self._slots, more, later)
            except CannotStartError as error:
                message = f"The service cannot look into images now, because no decoder starts: {error.reason}."
                for one in open_:
                    round_.tell(one.index, attrs.evolve(one.measured.verdict, error=FileCode.EUNKNOWN, message=message))
                return
            del open_[:done]
            if lost is None or lost.idle or not open_:
                continue  # another process looks; a new one is never lost so
            one = open_.pop(0)
            if own or (lost.overrun and not lost.shared):
                round_.blame(one, lost, self._limits)
                one.measured.close()
            else:  # it may have died for lack of memory, too
                later.append(attrs.evolve(one, alone=alone or not lost.overrun, own=True))

    async def _measured(self, round_: _Round, later: list[_Open], batch: Sequence[int]) -> list[_Open]:
        """Measure the files of a batch; returns those that a decoder is to look at, and tells the rest.

        What declares nothing goes to *later*.
        """
        open_: list[_Open] = []
        try:
            async with aclosing(self._measurer.measure([round_.jobs[index] for index in batch])) as found:
                index = iter(batch)
                async for measured in found:
                    if measured.file is None:
                        round_.tell(next(index), measured.verdict)
                    elif measured.declared is None:
                        later.append(_Open(next(index), measured, own=True))
                    else:
                        open_.append(_Open(next(index), measured))
        except BaseException:
            for one in open_:
                one.measured.close()
            raise
        return open_

    @asynccontextmanager
    async def _borrowed(self, *, alone: bool, own: bool) -> AsyncIterator[_Worker]:
        """Lend a worker, a new one to *own*; any other goes back if its answers are complete."""
        if self._closed:
            raise InspectionUnavailableError("The inspector is closed.")
        idle = [] if own else self._idle_alone if alone else self._idle
        while idle and not idle[-1].usable:
            await idle.pop().process.aclose()
        worker = idle.pop() if idle else _Worker(await self._starts.start(self._limits, alone=alone), self._limits)
        self._busy.add(worker)
        try:
            yield worker
        finally:
            self._busy.discard(worker)
            if worker.usable and not own and not self._closed:
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
                level = logging.WARNING if _is_found(name) else logging.INFO  # some systems have no wheel of it
                logger.log(level, "%s cannot be used, and files that need it are refused: %s", name, why)
        self.missing = dict(process.missing)
        self.walls = dict(process.walls)


def _is_found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except Exception:  # noqa: BLE001 - of a finder, or of a folder in the path of a program that embeds Python
        return True


class _Round:
    """The jobs of one call and what is known of them."""

    def __init__(self, jobs: list[InspectionJob], lanes: int, found: dict[int, Verdict]) -> None:
        self.jobs = jobs
        self.lanes = lanes
        self.verdicts: dict[int, Verdict] = {}
        self._found = found
        self._next = 0

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

    def blame(self, one: _Open, lost: _Lost, limits: InspectionLimits) -> None:
        """Settle the file at which a worker was lost."""
        code, message = FileCode.ECORRUPT, f"Decoding the file failed: {lost.reason}."
        declared, most = one.measured.declared, limits.memory_bytes
        if one.alone and declared is not None and declared.width * declared.height * _MOST_BYTES > most:
            code, message = FileCode.EBADSIZE, f"{message} {may_lack(most)}"
        if lost.overrun:
            seconds = limits.seconds_for(one.measured.job.size)
            code, message = (
                FileCode.EUNKNOWN,
                f"Looking at the file took more than {seconds:.0f} seconds of a processor.",
            )
        self.tell(one.index, attrs.evolve(one.measured.verdict, error=code, message=message))


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
        batch: list[_Open],
        make_room: Callable[[], None],
        slots: Slots,
        measure: Callable[[Sequence[int]], Awaitable[list[_Open]]] | None,
        later: list[_Open],
    ) -> tuple[int, _Lost | None]:
        """Tell *round_* a verdict per file; returns how many, and why not all when the worker is lost before the last.

        Adds to *batch* while the round has more, so that the worker never waits for us, but only a few times when
        others wait for one of the *slots*. Calls *make_room* when a file takes long. Pictures that are to be decoded
        alone, or in a process of their own, are added to *later*. One that has said more than it was asked for before
        looks at nothing.
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
                data = await self.process.read_within(self.limits.seconds_for(batch[done].measured.job.size))
                for message, blob in self.process.frames.feed(data):
                    one = batch[done]
                    if message["number"] != self.answered + 1:
                        raise ValueError("an answer that was not asked for")
                    if message.get("alone") is True and not one.alone:
                        later.append(attrs.evolve(one, alone=True))
                    else:
                        verdict = read_answer(message, blob, one.measured.verdict)
                        if self.answered and not one.is_confirmed(verdict, self.process, self.limits):
                            later.append(attrs.evolve(one, own=True, doubted=(self, verdict)))
                        else:
                            one.settle(verdict)
                            round_.tell(one.index, verdict)
                            one.measured.close()
                    done += 1
                    self.answered += 1
                    self.waiting -= 1
                ahead = self.waiting <= _AHEAD and (len(batch) < _STINT or not slots.wanted)
                if ahead and measure is not None and (more := round_.take()):
                    handed = await measure(more)
                    batch += handed
                    self._hand_over(handed)
            except OverrunError:
                return done, _Lost("it took too long", self.answered > 0, overrun=True)
            except DiedError as died:
                return done, _Lost(str(died), self.answered > 0, idle=used and not done)
            except (ValueError, KeyError, TypeError, IndexError):
                self.lost = True
                return done, _Lost("its worker wrote nonsense", self.answered > 0)
            finally:
                slow.cancel()
        return done, None

    def _hand_over(self, batch: Sequence[_Open]) -> None:
        self.waiting += len(batch)
        files = [one.measured.file for one in batch if one.measured.file is not None]
        if files:
            jobs = [one.measured.job for one in batch]
            self.process.send(write_jobs(jobs, handed_over=self.process.channel is not None), files)


def _processors() -> int:
    if sys.platform == "linux":
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return count
