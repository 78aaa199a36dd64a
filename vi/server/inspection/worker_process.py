"""One worker process as the service sees it: starting it, asking it, and how it ends.

Starting one never runs this program again: a frozen program is started only if it becomes a worker before its script
begins (`frozen`), a program that embeds Python is not started, and every child carries a variable under which no
service can be started.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import attrs

from ..._interpreter import is_python
from ..._redact import redact
from ..config import IN_WORKER
from . import frozen
from .frames import FrameReader, InspectionLimits, frame, shown
from .processor_time import ProcessorTime

_START_SECONDS = 60.0
_END_SECONDS = 5.0
_LEAST_SECONDS = 0.05
"""What is left of a file's time when no more is waited for."""
_STEP = 0.25
_CEILING = 30
_LEAST_CEILING = 600.0
"""The wait for a file ends after this many seconds, or `_CEILING` times its processor limit if that is longer."""
_READ = 1 << 18
_TOLD = 4096
_PATHS = 16 << 10
"""Characters of folders of libraries on a worker's command line, of which Windows takes 32,767."""
_TEMPORARY = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


class CannotStartError(Exception):
    """A worker did not become ready; *certain* if it never can, *temporary* if the machine is short of something."""

    def __init__(self, reason: str, *, certain: bool = False, temporary: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.certain = certain
        self.temporary = temporary


class DiedError(Exception):
    """A worker process exited unexpectedly."""


class OverrunError(Exception):
    """A worker took longer over a file than it may."""


@attrs.define(eq=False)
class WorkerProcess:
    """A process that looks at files; *missing* are the libraries that it works without, and why.

    *unsupported* are the families that it refuses therefore, with the message, as it said before it had seen a file.
    *walls* says what the system keeps from it. Jobs and open files go through *channel*, where the system has such.
    """

    process: asyncio.subprocess.Process
    channel: socket.socket | None = None
    frames: FrameReader = attrs.Factory(FrameReader)
    missing: dict[str, str] = attrs.Factory(dict)
    unsupported: dict[str, str] = attrs.Factory(dict)
    walls: dict[str, str] = attrs.Factory(dict)

    @classmethod
    async def start(cls, limits: InspectionLimits, without: Mapping[str, str], *, alone: bool) -> WorkerProcess:
        """Start a process that does not try to load the libraries *without*; raises `CannotStartError`.

        One that is *alone* may take as much memory as one picture may, any other a share.

        A library that ends the process while it is loaded is left out of the next attempt.
        """
        left_out = dict(without)
        while True:
            loading: list[str] = []
            try:
                return await cls._start(limits, left_out, loading, alone)
            except CannotStartError as error:
                if not loading or loading[-1] in left_out:
                    raise
                left_out[loading[-1]] = error.reason

    @classmethod
    async def _start(
        cls, limits: InspectionLimits, without: Mapping[str, str], loading: list[str], alone: bool
    ) -> WorkerProcess:
        channel, theirs = _channel()
        try:
            process = await asyncio.create_subprocess_exec(
                *command(),
                stdin=theirs.fileno() if theirs is not None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                **_detached(),
            )
        except OSError as error:
            temporary = error.errno in _TEMPORARY
            raise CannotStartError(error.strerror or str(error), certain=not temporary, temporary=temporary) from None
        except NotImplementedError:
            raise CannotStartError(
                "this event loop cannot start processes (on Windows, use asyncio.ProactorEventLoop)", certain=True
            ) from None
        else:
            channel, worker = None, cls(process, channel)
        finally:
            for end in (channel, theirs):
                if end is not None:
                    end.close()
        telling = asyncio.ensure_future(_last_of(process.stderr))
        try:
            async with asyncio.timeout(_START_SECONDS):
                worker.send(frame({"limits": attrs.asdict(limits), "without": dict(without), "alone": alone}))
                await worker._become_ready(loading)
                await telling  # a worker that is ready has closed it
        except (DiedError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as error:
            worker.kill()
            await worker.aclose()
            said = await telling
            how = {TimeoutError: "it did not become ready", DiedError: str(error)}.get(type(error), "it wrote nonsense")
            # One that hangs is not waited for again.
            certain = isinstance(error, TimeoutError)
            raise CannotStartError(f"{how}; it said: {said}" if said else how, certain=certain) from None
        except BaseException:
            telling.cancel()
            worker.kill()
            await worker.aclose()
            raise
        return worker

    async def _become_ready(self, loading: list[str]) -> None:
        while True:
            for message, _ in self.frames.feed(await self.read()):
                if "loading" in message:
                    loading.append(str(message["loading"]))
                elif message["ready"] is True:
                    self.missing = {str(name): str(why)[:_TOLD] for name, why in message["missing"].items()}
                    self.unsupported = {str(name): str(why) for name, why in message["unsupported"].items()}
                    self.walls = {str(name): str(how)[:_TOLD] for name, how in message["walls"].items()}
                    return

    @property
    def runs(self) -> bool:
        """Whether the process has not ended."""
        return self.process.returncode is None

    def send(self, data: bytes, files: Sequence[io.FileIO] = ()) -> None:
        """Write a frame, and hand over *files* with it; a process that does not take it is killed."""
        if sys.platform == "win32" or self.channel is None:
            assert self.process.stdin is not None
            # A batch is a few kilobytes, and the next is sent when it is nearly answered: there is nothing to drain.
            # A process that has died shows when its answer is read; uvloop tells it here already.
            with suppress(RuntimeError, OSError):
                self.process.stdin.write(data)
            return
        try:
            sent = socket.send_fds(self.channel, [data], [file.fileno() for file in files])
        except ConnectionError:
            return  # it has died, which shows when its answer is read
        except OSError:
            sent = 0
        if sent != len(data):
            self.kill()

    async def read(self) -> bytes:
        """Return what the process says next; raises `DiedError`, or `OverrunError` if it used up its processor time."""
        assert self.process.stdout is not None
        data = await self.process.stdout.read(_READ)
        if not data:
            code = await self.process.wait()
            if sys.platform != "win32" and code == -signal.SIGXCPU:
                raise OverrunError
            raise DiedError(f"the worker process ended with {_exit_name(code)}")
        return data

    async def is_silent(self) -> bool:
        """Tell whether the process has said nothing that was not asked for; to be called when it owes no answer."""
        assert self.process.stdout is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await self.process.stdout.read(1)
                return False
        return self.frames.empty

    async def read_within(self, seconds: float) -> bytes:
        """Read what the process says before it has cost so many seconds; raises `OverrunError`."""
        step = min(_STEP, seconds / 2)
        cost = ProcessorTime(self.process.pid, step)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + max(_CEILING * seconds, _LEAST_CEILING)
        while True:
            try:
                async with asyncio.timeout(step):
                    return await self.read()
            except TimeoutError:
                if seconds - cost.seconds() < _LEAST_SECONDS or loop.time() > give_up:
                    raise OverrunError from None

    def kill(self) -> None:
        """Stop the process wherever it is; `aclose` waits for it."""
        with suppress(ProcessLookupError):
            self.process.kill()

    async def aclose(self) -> None:
        """Close the input of the process, which ends it at once, and wait for it to exit."""
        if self.channel is not None:
            self.channel.close()
        elif self.process.stdin is not None:
            self.process.stdin.close()
        with anyio.move_on_after(_END_SECONDS, shield=True) as patience:
            await self._drain()
        if patience.cancelled_caught:
            self.kill()
            with anyio.CancelScope(shield=True):
                await self._drain()

    async def _drain(self) -> None:
        assert self.process.stdout is not None
        while await self.process.stdout.read(_READ):
            pass
        await self.process.wait()


def _channel() -> tuple[socket.socket | None, socket.socket | None]:
    """Return both ends of what jobs and open files are sent through; raises `CannotStartError`."""
    if sys.platform == "win32":
        return None, None
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise CannotStartError(error.strerror or str(error), temporary=error.errno in _TEMPORARY) from None
    ours.setblocking(False)
    return ours, theirs


_BEGIN = (
    "import sys; sys.path += [path for path in sys.argv[1:] if path not in sys.path]; "
    f"from {__package__}.worker import main; main()"
)
"""What a worker runs: where this program found its libraries comes last, behind what its Python has by itself."""


def _known_paths() -> list[str]:
    """Return what a program that embeds Python may have added to `sys.path`, as far as a command line can be long."""
    kept, room = [], _PATHS
    for path in sys.path:
        if isinstance(path, str) and path and "\0" not in path and len(path) < room:
            kept.append(path)
            room -= len(path) + 3
    return kept


def command() -> list[str]:
    """Return what starts a worker; raises `CannotStartError` where nothing does."""
    if not getattr(sys, "frozen", False):
        return [interpreter(), "-P", "-W", "ignore", "-c", _BEGIN, *_known_paths()]
    if not frozen.can_start():
        raise CannotStartError("this program is frozen: call vi.server.freeze_support() first in it", certain=True)
    return [sys.executable, frozen.WORD]


def interpreter() -> str:
    """Return the path of a Python that can import this package; raises `CannotStartError` where there is none."""
    if getattr(sys, "frozen", False):
        raise CannotStartError("this program is frozen, and would be run again", certain=True)
    names = ("python.exe",) if sys.platform == "win32" else (f"python3.{sys.version_info[1]}", "python3", "python")
    folder = Path(sys.exec_prefix) if sys.platform == "win32" else Path(sys.exec_prefix, "bin")
    beside = [str(folder / name) for name in names]
    named = [sys.executable] if sys.executable else []
    # A program that embeds Python may name whichever is first on the PATH, of another version.
    own = any(Path(os.path.normcase(path)).is_relative_to(os.path.normcase(sys.exec_prefix)) for path in named)
    for path in named + beside if own else beside + named:
        # The program itself is often its `sys.executable`; to start it would be to run it again.
        if is_python(path) and os.access(path, os.X_OK):
            return path
    raise CannotStartError(f"there is no Python beside {sys.executable!r} to start", certain=True)


async def _last_of(stream: asyncio.StreamReader | None) -> str:
    """Return the last line that a process wrote to its standard error, fit to be shown."""
    assert stream is not None
    kept = b""
    with suppress(OSError):
        while data := await stream.read(_READ):
            kept = (kept + data)[-_TOLD:]
    lines = [line.strip() for line in kept.decode(errors="replace").splitlines() if line.strip()]
    return shown(redact(lines[-1][:300])) if lines else ""


def _exit_name(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"


_KEPT = (
    # What finds programs, libraries and the temporary folder; nothing that may be a secret.
    *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "TEMP", "TMP", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE"),
)


def _environment() -> dict[str, str]:
    """Let the child import this very package, from wherever it was imported here; it decodes, so it gets no more."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment[IN_WORKER] = "1"
    # With glibc each thread reserves 64 MiB of address space, which would be taken from what a picture may take.
    environment["MALLOC_ARENA_MAX"] = "1"
    if getattr(sys, "frozen", False):  # PyInstaller says where it has unpacked the program
        environment |= {name: value for name, value in os.environ.items() if name.startswith("_PYI_")}
        return environment
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
