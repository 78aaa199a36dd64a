"""Starts services whose disk fails: a line of JSON in for each, one out; forked, so that a start costs no imports.

In: ``{"data", "report", "config"}`` and, for a disk that fails, ``{"fault", "number"}``. Out: ``{"pid", "told"}`` with
what the service tells, or None if it died before that. ``{"wait": pid, "signal": n}`` answers with how it ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import attrs

from tests.service_faults.disk import Disk
from vi.server import ServiceConfig, running, serve
from vi.server.inspection import checking, decoding, measuring
from vi.server.inspection import inspector as inspection
from vi.server.inspection.frames import InspectionJob, InspectionLimits, Verdict


class Inspector:
    """Looks at files in this process: what is tested is the disk, and a worker takes half a second to start."""

    def __init__(self, **_: Any) -> None:
        self._decode = decoding.Decoder(InspectionLimits())

    async def inspect(
        self, jobs: list[InspectionJob], found: dict[int, Verdict] | None = None, *, urgent: bool = False
    ) -> list[Verdict]:
        verdicts = [self._look(job) for job in jobs]
        if found is not None:
            found.update(enumerate(verdicts))
        return verdicts

    def _look(self, job: InspectionJob) -> Verdict:
        measured = measuring.measure(job)
        if measured.file is None:
            return measured.verdict
        answer = checking.inspect(job, os.dup(measured.file.fileno()), self._decode, 4 << 30, alone=True)
        measured.close()
        fields = attrs.asdict(answer, filter=lambda field, _: field.name != "alone")
        return attrs.evolve(measured.verdict, **fields)

    async def aclose(self) -> None:
        """Nothing is held."""


async def _serve(order: dict[str, Any], out: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    disk = None
    if "fault" in order:
        disk = Disk(Path(order["data"]), order["fault"], order["number"], Path(order["report"]))
        disk.install()
    config = ServiceConfig(inspection_workers=1, **order["config"])
    async with await serve(order["data"], port=0, config=config) as service:
        told = {"url": service.url, "secret_key": service.secret_key, "organization_id": service.organization_id}
        os.write(out, json.dumps(told).encode())
        os.close(out)
        await ended.wait()


def _child(order: dict[str, Any], out: int) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asyncio.run(_serve(order, out))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Answer orders until there are none."""
    inspection.Inspector = running.Inspector = Inspector  # type: ignore[assignment,misc]
    decoding.prepare()
    for line in sys.stdin:
        order = json.loads(line)
        answer = {"status": _wait(order["wait"], order.get("signal"))} if "wait" in order else _start(order)
        print(json.dumps(answer), flush=True)


def _start(order: dict[str, Any]) -> dict[str, Any]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        log = os.open(f"{order['report']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        logging.basicConfig()
        os._exit(_child(order, write))
    os.close(write)
    told = b""
    while piece := os.read(read, 4096):
        told += piece
    os.close(read)
    return {"pid": pid, "told": json.loads(told) if told else None}


def _wait(pid: int, number: int | None) -> int | None:
    if number is None:
        done, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if done else None
    os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
