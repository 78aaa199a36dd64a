"""Interleaved runs and what they cost: wall seconds, CPU seconds of the client alone, peak memory; medians and ratios.

Each client is a process of its own for each run, so that its CPU is not mixed with that of the stores and services.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from measured import WITHOUT

HERE = Path(__file__).parent


@attrs.frozen
class Cost:
    """What one run took."""

    wall: float
    cpu: float
    peak: int = 0
    more: Mapping[str, Any] = attrs.Factory(dict)


Run = Callable[[], Cost]


FAST = "msgspec,orjson,uvloop"
"""What the extra `fast` brings, now or later; without it a client does without these, as the base install does."""


def client(
    script: str,
    *args: object,
    python: str = sys.executable,
    env: Mapping[str, str] | None = None,
    fast: bool = False,
) -> Cost:
    """Run a script of this folder, which measures itself from its imports on (measured.py).

    Ours does so as the base install would, unless *fast*.
    """
    command = [python, str(HERE / script), *map(str, args)]
    without = "" if fast or python != sys.executable else FAST
    environment = {**os.environ, **(env or {}), WITHOUT: without}
    done = subprocess.run(command, capture_output=True, env=environment)
    if done.returncode:
        sys.stderr.buffer.write(done.stderr)
        raise subprocess.CalledProcessError(done.returncode, script)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def program(command: list[str]) -> Cost:
    """Run a program and count all of it, but for its memory: what is counted there has its parent's in it."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command[0])
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def in_process(run: Callable[[], object]) -> Run:
    """Measure a call in this process."""

    def measure() -> Cost:
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        return Cost(time.perf_counter() - wall, time.process_time() - cpu)

    return measure


def interleave(runs: Mapping[str, Run], rounds: int, *, slow: Collection[str] = ()) -> dict[str, list[Cost]]:
    """Run each in turn, A B C A B C, after one round that is not counted, from which *slow* is excused."""
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            if not round_ and name in slow:
                continue
            cost = run()
            if round_:
                costs[name].append(cost)
    return costs


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def ratio(costs: Mapping[str, list[Cost]], name: str, base: str, of: str = "wall") -> float:
    """Return the median of *name*'s cost over *base*'s, taken pair by pair."""
    pairs = zip(costs[name], costs[base], strict=True)
    return median([getattr(one, of) / getattr(other, of) for one, other in pairs])


def rate(costs: Mapping[str, list[Cost]], name: str, bases: list[str] | str) -> float:
    """Return how many times as fast as the best of *bases* the runs of *name* were."""
    return min(1 / ratio(costs, name, base) for base in ([bases] if isinstance(bases, str) else bases))


def arguments(description: str | None, **more: str) -> argparse.Namespace:
    """Read the common arguments of a benchmark; *more* are flags of its own with their help."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small workloads and one round, to see that it runs")
    parser.add_argument("--full", action="store_true", help="the largest workloads too, where it takes long")
    parser.add_argument("--rounds", type=int, help="counted rounds (default 5, quick 1)")
    for name, text in more.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 5)
    return given


def peer_python() -> str | None:
    """Return the interpreter that has the published client, if there is one."""
    found = os.environ.get("VI_PEER_PYTHON")
    if not found:
        sys.stderr.write("VI_PEER_PYTHON is not set: the published client is left out.\n")
    return found


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a folder for this run (``TMPDIR`` says where)."""
    with tempfile.TemporaryDirectory(prefix="vi-bench-") as name:
        yield Path(name)


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """Yield a folder in memory, where the system has such, so that no disk is in the way of what is received."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="vi-bench-", dir=base) as name:
        yield Path(name)


@contextlib.contextmanager
def fresh_folder(where: Path) -> Iterator[Path]:
    """Yield an empty folder below *where* and remove it after."""
    with tempfile.TemporaryDirectory(dir=where) as name:
        yield Path(name)


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


PICTURES = 16
SCENE = (960, 720)


def make_files(folder: Path, count: int, size: int) -> Path:
    """Make *count* different JPEG files of *size* bytes each, whose pictures are as large as fits (SCENE at most)."""
    from vi._samples import encode

    folder.mkdir(parents=True, exist_ok=True)
    pictures = [encode(seed, ".jpg", SCENE if size >= 100_000 else (64, 48)) for seed in range(min(count, PICTURES))]
    for number in range(count):
        picture = pictures[number % PICTURES]
        if len(picture) > size - 8:
            raise ValueError(f"A picture has {len(picture)} bytes, which is more than {size}.")
        tail = number.to_bytes(8, "big") * ((size - len(picture)) // 8 + 1)
        (folder / f"{number:07}.jpg").write_bytes(picture + tail[: size - len(picture)])
    return folder
