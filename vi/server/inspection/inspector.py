"""Looking at arrived files in processes of our own.

Each worker process takes batches, the next before it is done with the last, and answers file by file, in order, so that
when it dies the file it was at is known. That file is tried once more in a new worker, because a worker can also be killed
for reasons that are not the file's; if it dies again the file is ECORRUPT. A worker that overruns the time of a file is
killed and the file is EUNKNOWN; where the system says so, time without a processor does not count. Either way the rest is
done by another worker.

There is no background task: work happens inside `Inspector.inspect`, and cancelling that kills the workers it was using.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import attrs

from ...errors import ViServerError
from .frames import FrameReader, InspectionJob, InspectionLimits, Verdict, frame, read_verdict, write_jobs
from .worker_slots import Slots

__all__ = ["InspectionJob", "InspectionLimits", "InspectionUnavailableError", "Inspector", "Verdict"]

_BATCH = 8
_AHEAD = 2
"""Files that a worker still has when it gets the next batch."""
_STINT = 16
"""Files after which a worker is given to others who wait for one."""
_SLOW = 2.0
_SLOW_WORKERS = 4
_START_SECONDS = 60.0
_END_SECONDS = 5.0
_LEAST_SECONDS = 0.05
"""What is left of a file's time when no more is waited for."""
_READ = 1 << 18


class InspectionUnavailableError(ViServerError):
    """No worker process can be started; it says nothing about the files."""


class _DiedError(Exception):
    """A worker process ended by itself."""


@attrs.frozen
class _Lost:
    """Why a worker did not finish its batch; *overrun* if it was for taking too long."""

    reason: str
    overrun: bool = False


class Inspector:
    """A bounded set of worker processes, started when there is work for them.

    A few more are started when some take long over a file, so that others do not wait for it.
    """

    def __init__(self, *, workers: int | None = None, limits: InspectionLimits | None = None) -> None:
        self._workers = workers or _processors()
        self._limits = limits or InspectionLimits()
        self._slots = Slots(self._workers, _SLOW_WORKERS)
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._closed = False

    async def inspect(self, jobs: Sequence[InspectionJob], found: dict[int, Verdict] | None = None) -> list[Verdict]:
        """Return one verdict per job, in order; each is put into *found*, by its index, as soon as it is known."""
        round_ = _Round(list(jobs), min(self._workers, len(jobs)), {} if found is None else found)
        if round_.lanes == 1:
            await self._serve(round_)
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
        for worker in self._busy:
            worker.kill()
        await self._slots.empty()  # once each call that was under way has noticed
        while self._idle:
            await self._idle.pop().aclose()

    async def _serve(self, round_: _Round) -> None:
        while batch := round_.take():
            if self._closed:
                raise InspectionUnavailableError("The inspector is closed.")
            async with self._slots.hold() as make_room:
                await self._serve_batch(round_, batch, make_room)

    async def _serve_batch(self, round_: _Round, batch: list[int], make_room: Callable[[], None]) -> None:
        while batch:
            async with self._borrowed() as worker:
                done, lost = await worker.look(round_, batch, make_room, self._slots)
            del batch[:done]
            if lost and batch and round_.blame(batch[0], lost, self._limits):
                del batch[0]

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[_Worker]:
        """Lend a worker; it goes back only if its answers are complete."""
        if self._closed:
            raise InspectionUnavailableError("The inspector is closed.")
        while self._idle and not self._idle[-1].usable:
            await self._idle.pop().aclose()
        worker = self._idle.pop() if self._idle else await _Worker.start(self._limits)
        self._busy.add(worker)
        try:
            yield worker
        finally:
            self._busy.discard(worker)
            if worker.usable and not self._closed:
                self._idle.append(worker)
            else:
                worker.kill()
                await worker.aclose()


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

    def blame(self, index: int, lost: _Lost, limits: InspectionLimits) -> bool:
        """Settle the file at which a worker was lost; false if it is to be tried once more."""
        job = self.jobs[index]
        if lost.overrun:
            message = f"Looking at the file took more than {limits.seconds_for(job.size):.0f} seconds."
            self.tell(index, Verdict("EUNKNOWN", message, job.size, mime=job.mime))
            return True
        if index not in self._suspects:
            self._suspects.add(index)
            return False
        self.tell(index, Verdict("ECORRUPT", f"Decoding the file failed: {lost.reason}.", job.size, mime=job.mime))
        return True


@attrs.define(eq=False)
class _Worker:
    process: asyncio.subprocess.Process
    limits: InspectionLimits
    frames: FrameReader = attrs.Factory(FrameReader)
    waiting: int = 0

    @classmethod
    async def start(cls, limits: InspectionLimits) -> _Worker:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                f"{__package__}.worker",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment(),
                **_detached(),
            )
        except OSError as error:
            raise InspectionUnavailableError(f"A worker process cannot be started: {error.strerror}.") from None
        worker = cls(process, limits)
        try:
            async with asyncio.timeout(_START_SECONDS):
                worker.send(frame(attrs.asdict(limits)))
                while not list(worker.frames.feed(await worker.read())):
                    pass
        except (_DiedError, TimeoutError) as error:
            worker.kill()
            await worker.aclose()
            reason = str(error) or "it did not become ready"
            raise InspectionUnavailableError(f"A worker process cannot be started: {reason}.") from None
        except BaseException:
            worker.kill()
            await worker.aclose()
            raise
        return worker

    @property
    def usable(self) -> bool:
        """Whether the process runs and owes no answer."""
        return self.waiting == 0 and self.process.returncode is None

    async def look(
        self, round_: _Round, batch: list[int], make_room: Callable[[], None], slots: Slots
    ) -> tuple[int, _Lost | None]:
        """Tell *round_* a verdict per file; returns how many, and why not all when the worker is lost before the last.

        Adds to *batch* while the round has more, so that the worker never waits for us, but only a few times when others
        wait for one of the *slots*. Calls *make_room* when a file takes long.
        """
        loop = asyncio.get_running_loop()
        done = 0
        self._hand_over(round_, batch)
        while self.waiting > 0:
            slow = loop.call_later(_SLOW, make_room)
            try:
                data = await self._read_within(self.limits.seconds_for(round_.jobs[batch[done]].size))
                for message, blob in self.frames.feed(data):
                    round_.tell(batch[done], read_verdict(message, blob))
                    done += 1
                    self.waiting -= 1
                ahead = self.waiting <= _AHEAD and (len(batch) < _STINT or not slots.wanted)
                if ahead and (more := round_.take()):
                    batch += more
                    self._hand_over(round_, more)
            except TimeoutError:
                return done, _Lost("it took too long", overrun=True)
            except _DiedError as died:
                return done, _Lost(str(died))
            except (ValueError, KeyError, TypeError, IndexError):
                return done, _Lost("its worker wrote nonsense")
            finally:
                slow.cancel()
        return done, None

    def _hand_over(self, round_: _Round, batch: Sequence[int]) -> None:
        self.waiting += len(batch)
        self.send(write_jobs([round_.jobs[index] for index in batch]))

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        # A batch is a few kilobytes, and the next is sent when it is nearly answered: there is nothing to drain.
        # A process that has died shows when its answer is read; uvloop tells it here already.
        with suppress(RuntimeError, OSError):
            self.process.stdin.write(data)

    async def read(self) -> bytes:
        assert self.process.stdout is not None
        data = await self.process.stdout.read(_READ)
        if not data:
            code = await self.process.wait()
            raise _DiedError(f"the worker process ended with {_exit_name(code)}")
        return data

    async def _read_within(self, seconds: float) -> bytes:
        """Read within so many seconds, of which those do not count in which the process waited for a processor.

        It gives way to all others, so on a busy machine they say nothing of the file.
        """
        loop = asyncio.get_running_loop()
        began, waited, left = loop.time(), self._waited(), seconds
        while True:
            try:
                async with asyncio.timeout(left):
                    return await self.read()
            except TimeoutError:
                left = seconds - (loop.time() - began) + (self._waited() - waited)
                if left < _LEAST_SECONDS:
                    raise

    def _waited(self) -> float:
        """Return how many seconds the process has waited for a processor (proc(5)), 0 where the system does not say."""
        try:
            return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def kill(self) -> None:
        """Stop the process wherever it is; `aclose` sees to the rest."""
        with suppress(ProcessLookupError):
            self.process.kill()

    async def aclose(self) -> None:
        """Let the process see the end of its input, which ends it at once, and take leave of it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        with anyio.move_on_after(_END_SECONDS, shield=True) as patience:
            await self.process.communicate()
        if patience.cancelled_caught:
            self.kill()
            with anyio.CancelScope(shield=True):
                await self.process.communicate()


def _exit_name(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _environment() -> dict[str, str]:
    """Let the child import this very package, from wherever it was imported here; it decodes, so it gets no keys."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DATATURE_VI_")}
    root = str(Path(__file__).resolve().parents[3])
    # An installed package is found anyway, and its neighbours must not come before the standard library.
    if Path(root).name not in ("site-packages", "dist-packages"):
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = root + os.pathsep + known if known else root
    return environment


def _detached() -> dict[str, Any]:
    """Keep the terminal's Ctrl+C away from the workers: their parent decides when they end."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
