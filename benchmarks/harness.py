"""Interleaved runs and what they cost: wall seconds, CPU seconds of the process and its children, medians, ratios."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs


@attrs.frozen
class Cost:
    """What one run took."""

    wall: float
    cpu: float


Run = Callable[[], None]


def measure(run: Run) -> Cost:
    """Run once and return the cost; CPU counts this process and finished children."""
    cpu, wall = _cpu(), time.perf_counter()
    run()
    return Cost(time.perf_counter() - wall, _cpu() - cpu)


def _cpu() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def interleave(runs: dict[str, Run], rounds: int) -> dict[str, list[Cost]]:
    """Run each in turn, A B C A B C, after one round that is not counted."""
    costs: dict[str, list[Cost]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            cost = measure(run)
            if round_:
                costs[name].append(cost)
    return costs


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def ratio(costs: dict[str, list[Cost]], name: str, base: str, of: str = "wall") -> float:
    """Return the median of *name*'s cost over *base*'s, taken pair by pair."""
    pairs = zip(costs[name], costs[base], strict=True)
    return median([getattr(one, of) / getattr(other, of) for one, other in pairs])


def machine() -> dict[str, str]:
    """Describe where a figure was taken."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "date": time.strftime("%Y-%m-%d"),
    }


def arguments(description: str) -> argparse.Namespace:
    """Read the common arguments of a benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a small workload and one round, to see that it runs")
    parser.add_argument("--rounds", type=int, help="counted rounds (default 5, quick 1)")
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 5)
    return given


def report(question: str, rows: dict[str, object]) -> None:
    """Print the answer as one JSON line."""
    print(json.dumps({"question": question, **rows, **machine()}))


@contextlib.contextmanager
def local_service() -> Iterator[dict[str, str]]:
    """Run the local service in a process of its own; yields the settings of a client."""
    with tempfile.TemporaryDirectory(prefix="vi-bench-") as scratch:
        env_file = Path(scratch) / "vi.env"
        command = [sys.executable, "-m", "vi", "serve", "--data", f"{scratch}/data", "--port", "0"]
        with subprocess.Popen([*command, "--env-file", str(env_file)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            lines = env_file.read_text().split()
            try:
                yield dict(line.split("=", 1) for line in lines)
            finally:
                process.terminate()
                process.wait()


def make_files(folder: Path, count: int, size: int) -> Path:
    """Make *count* valid JPEG files of *size* bytes each, all different."""
    from vi._samples import encode

    folder.mkdir(parents=True, exist_ok=True)
    picture = encode(1, ".jpg", (64, 48))
    for number in range(count):
        tail = number.to_bytes(8, "big") * ((size - len(picture)) // 8 + 1)
        (folder / f"{number:07}.jpg").write_bytes(picture + tail[: max(8, size - len(picture))])
    return folder
