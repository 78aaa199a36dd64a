"""``vi-sdk serve`` or ``worker`` on a shared database, one process of `bench_scaled`: only workers look at files.

``scaled_process.py SECONDS serve ...`` receives files alone. ``scaled_process.py SECONDS worker ...`` takes SECONDS for
each file, one after the other, as if decoding were that slow: how far workers add up is then no matter of processors.
With ``-`` in place of SECONDS nothing is changed.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import measured  # noqa: F401 - before vi

from vi.cli import main
from vi.server.inspection.inspector import Inspector
from vi.server.shared_ingestion import SharedIngestion


async def _nothing(_: Any) -> None:
    await asyncio.Event().wait()


def slow_down(seconds: float) -> None:
    actual, turn = Inspector.inspect, asyncio.Lock()

    async def inspect(self: Inspector, jobs: Sequence[Any], found: Any = None, **options: Any) -> Any:
        verdicts = await actual(self, jobs, found, **options)
        async with turn:
            await asyncio.sleep(seconds * len(jobs))
        return verdicts

    Inspector.inspect = inspect  # type: ignore[method-assign]


if __name__ == "__main__":
    if sys.argv[1] != "-":
        if sys.argv[2] == "worker":
            slow_down(float(sys.argv[1]))
        else:
            SharedIngestion._inspect_queue = _nothing  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
