"""What do PostgreSQL and an S3 store cost beside the embedded service, and how far do two workers go beyond one?"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import FAST, HERE, Cost, Run, arguments, client, interleave, make_files, median, rate, scratch_folder
from measured import WITHOUT
from results import Answer
from service import cpu_seconds_below, local_service_process, own_client, settle

sys.path.append(str(HERE.parent))  # the tests start PostgreSQL and SeaweedFS

from tests.support.postgres import Postgres
from tests.support.seaweed import Seaweed

COUNT, QUICK = 640, 64
SIZE, SMALL = 100_000, 2_000
DECODING = 0.05
"""Seconds for each file where decoding is the limit."""


class Site:
    """Services and workers with one database and one store."""

    def __init__(self, scratch: Path, postgres: Postgres, store: dict[str, str], seconds: str) -> None:
        self._scratch = scratch
        self._seconds = seconds
        self._words = ["--store", store["store"], "--store-endpoint", store["store_endpoint"]]
        self._environment = {**os.environ, WITHOUT: FAST, "VI_DATABASE": postgres.create()}
        self.processes: list[subprocess.Popen[bytes]] = []
        env_file = scratch / "scaled.env"
        self._start("serve", "--port", "0", "--env-file", str(env_file))
        self.settings = dict(line.split("=", 1) for line in env_file.read_text().split())

    def _start(self, verb: str, *words: str) -> None:
        data = self._scratch / f"scaled{len(self.processes)}"
        command = [sys.executable, str(HERE / "scaled_process.py"), self._seconds, verb, "--data", str(data)]
        process = subprocess.Popen([*command, *self._words, *words], stdout=subprocess.PIPE, env=self._environment)
        self.processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()

    def work_with(self, workers: int) -> None:
        """Have so many workers."""
        while len(self.processes) < workers + 1:
            self._start("worker", "--decoders", "1")
        while len(self.processes) > workers + 1:
            self._end(self.processes.pop())

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        process.communicate()

    def close(self) -> None:
        for process in reversed(self.processes):
            self._end(process)


@contextlib.contextmanager
def site(scratch: Path, postgres: Postgres, seaweed: Seaweed, seconds: str = "-") -> Iterator[Site]:
    scratch.mkdir()
    running = Site(scratch, postgres, seaweed.create(), seconds)
    try:
        yield running
    finally:
        running.close()


def upload(settings: dict[str, str], folder: Path, cache: Path, pids: Callable[[], list[int]]) -> Cost:
    """Upload until everything is settled; *more* has the CPU of the services and their decoders."""
    count = len(list(folder.iterdir()))
    before = sum(map(cpu_seconds_below, pids()))
    cost = client("client_call.py", "upload", folder, "wait", env={**settings, "VI_CACHE_DIR": str(cache)})
    service = sum(map(cpu_seconds_below, pids())) - before
    with own_client(settings) as own:
        settle(own, cost.more["dataset"], count)
    return Cost(cost.wall, cost.cpu, cost.peak, {"service": service})


def pairs(answer: Answer, scratch: Path, postgres: Postgres, seaweed: Seaweed, given: Any) -> None:
    """One embedded service beside one with PostgreSQL and a store."""
    count = QUICK if given.quick else COUNT
    folder = make_files(scratch / "images", count, SIZE)
    cache = scratch / "cache"
    with local_service_process(scratch) as (settings, pid), site(scratch / "site", postgres, seaweed) as scaled:
        costs = interleave(
            {
                "embedded": lambda: upload(settings, folder, cache, lambda: [pid]),
                "PostgreSQL and S3": lambda: upload(
                    scaled.settings, folder, cache, lambda: [one.pid for one in scaled.processes]
                ),
            },
            given.rounds,
        )
    answer.ratio("settled, of the embedded service's rate", rate(costs, "PostgreSQL and S3", "embedded"))
    answer.table(
        f"{count} x 100 KB, settled",
        {
            name: {
                "files/s": count / median([one.wall for one in values]),
                "client CPU ms a file": median([one.cpu for one in values]) / count * 1000,
                "service CPU ms a file, decoders too": median([one.more["service"] for one in values]) / count * 1000,
            }
            for name, values in costs.items()
        },
    )


def workers(answer: Answer, scratch: Path, postgres: Postgres, seaweed: Seaweed, given: Any) -> None:
    """One worker beside two."""
    count = QUICK * 2 if given.quick else COUNT
    folder = make_files(scratch / "small", count, SMALL)
    with site(scratch / "workers", postgres, seaweed, str(DECODING)) as scaled:

        def with_(number: int) -> Run:
            def run() -> Cost:
                scaled.work_with(number)
                return upload(scaled.settings, folder, scratch / "cache", list)

            return run

        costs = interleave({"1 worker": with_(1), "2 workers": with_(2)}, given.rounds)
    answer.ratio("2 workers, times the rate of 1", rate(costs, "2 workers", "1 worker"), least=1.6)
    answer.costs(f"{count} x 2 KB, {DECODING * 1000:.0f} ms of decoding each", costs, count)


def main() -> None:
    given = arguments(__doc__)
    answer = Answer(
        Path(__file__).stem,
        __doc__,
        "the embedded service has SQLite and a folder; the other a PostgreSQL without fsync and a SeaweedFS, both on this "
        "machine, whose CPU is in the wall time alone. Where workers are compared, the service looks at no file, and each "
        "worker waits in place of decoding: what adds up is then no matter of processors.",
    )
    try:
        with scratch_folder() as scratch, Postgres.started() as postgres, Seaweed.started() as seaweed:
            pairs(answer, scratch, postgres, seaweed, given)
            workers(answer, scratch, postgres, seaweed, given)
    except pytest.skip.Exception as missing:
        sys.stderr.write(f"bench_scaled is left out: {missing}\n")
        return
    answer.give(given)


if __name__ == "__main__":
    main()
