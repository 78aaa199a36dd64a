"""How long do 40 web requests at once take that each upload one `UploadFile` of 10 KB through FastAPI until settled?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
from harness import FAST, HERE, Cost, arguments, interleave, median, peer_python, scratch_folder
from measured import WITHOUT
from results import Answer
from service import local_service, own_client

from vi import _samples

AT_ONCE = 40


@contextlib.contextmanager
def application(python: str, dataset: str, settings: Mapping[str, str]) -> Iterator[str]:
    """Run the application over the client of *python*; yields its address."""
    environment = {**os.environ, **settings, WITHOUT: FAST}
    command = [python, str(HERE / "client_web.py"), dataset]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd=HERE
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/upload"
        finally:
            process.terminate()
            process.wait()


async def post(address: str, image: bytes, first: int, rounds: int) -> list[float]:
    """Send *rounds* times 40 requests at once; returns the seconds of each."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(number: int) -> float:
            form = aiohttp.FormData()
            form.add_field("file", image, filename=f"{number}.jpg", content_type="image/jpeg")
            began = time.perf_counter()
            async with session.post(address, data=form) as answer:
                if answer.status != 200 or (await answer.json())["succeeded"] != 1:
                    raise AssertionError(f"{answer.status}: {await answer.text()}")
            return time.perf_counter() - began

        seconds: list[float] = []
        for turn in range(rounds):
            start = first + turn * AT_ONCE
            seconds += await asyncio.gather(*(one(start + number) for number in range(AT_ONCE)))
        return seconds


def main() -> None:
    given = arguments(__doc__)
    turns = 1 if given.quick else 2
    image = _samples.encode(1, ".jpg", (270, 200))
    pythons = {"vi": sys.executable} | ({"peer": found} if (found := peer_python()) else {})
    with contextlib.ExitStack() as stack:
        settings = stack.enter_context(local_service(stack.enter_context(scratch_folder())))
        dataset = stack.enter_context(own_client(settings)).datasets.create(name="web").dataset_id
        addresses = {n: stack.enter_context(application(p, dataset, settings)) for n, p in pythons.items()}
        sent = 0

        def run(name: str) -> Cost:
            nonlocal sent
            seconds = sorted(asyncio.run(post(addresses[name], image, sent, turns)))
            sent += turns * AT_ONCE
            p99 = statistics.quantiles(seconds, n=100)[98]
            return Cost(statistics.median(seconds), 0.0, more={"p99": p99})

        costs = interleave({name: lambda name=name: run(name) for name in addresses}, given.rounds)  # type: ignore[misc]
    answer = Answer(
        Path(__file__).stem, __doc__, "the local service; uvicorn with one process, and aiohttp as the browser."
    )
    rows = {
        name: {
            "p50 ms": median([c.wall for c in values]) * 1e3,
            "p99 ms": median([c.more["p99"] for c in values]) * 1e3,
        }
        for name, values in costs.items()
    }
    answer.ratio("p99 over p50", rows["vi"]["p99 ms"] / rows["vi"]["p50 ms"], most=4)
    answer.ratio("p50", rows["vi"]["p50 ms"], unit=" ms")
    if "peer" in rows:
        answer.ratio("p50 of the peer over ours", rows["peer"]["p50 ms"] / rows["vi"]["p50 ms"])
        answer.ratio("p99 of the peer over ours", rows["peer"]["p99 ms"] / rows["vi"]["p99 ms"])
    answer.table(f"{AT_ONCE} at once, {turns} times", rows)
    answer.give(given)


if __name__ == "__main__":
    main()
