"""How long does it take to open and read one asset of 10 KB, and to read one whose listing is fresh?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from harness import Cost, arguments, interleave, median, scratch_folder
from results import Answer
from service import local_service

import vi
from vi import RequestEvent, _samples

OPEN, READ, SYNC = "open and read", "read, fresh listing", "open and read, sync client"


def main() -> None:
    given = arguments(__doc__)
    calls = 20 if given.quick else 200
    image = _samples.encode(1, ".jpg", (270, 200))
    requests = dict.fromkeys((OPEN, READ, SYNC), 0)
    with scratch_folder() as scratch, local_service(scratch) as settings, asyncio.Runner() as runner:
        key, organization, endpoint = (
            settings[f"DATATURE_VI_{name}"] for name in ("SECRET_KEY", "ORGANIZATION_ID", "API_ENDPOINT")
        )
        client, sync = vi.AsyncClient(key, organization, endpoint), vi.Client(key, organization, endpoint)
        dataset = sync.datasets.create(name="open").dataset_id
        for number in range(calls):
            sync.assets.upload(dataset, (f"{number}.jpg", image), show_progress=False)
        assets = sync.assets.list(dataset, vi.PaginationParams(page_size=1000), contents=True).items
        counted = ""

        def count(event: object) -> None:
            if counted:
                requests[counted] += isinstance(event, RequestEvent)

        client.hooks.add(count)
        sync.hooks.add(count)

        async def open_one(asset: vi.Asset) -> bytes:
            async with client.assets.open(dataset, asset.asset_id) as stream:
                return await stream.read()

        async def read_one(asset: vi.Asset) -> bytes:
            return await client.assets.read(dataset, asset)

        def awaited(name: str, read: Callable[[vi.Asset], Awaitable[bytes]]) -> Callable[[], Cost]:
            async def run() -> Cost:
                nonlocal counted
                counted = name
                cpu, wall = time.process_time(), time.perf_counter()
                for asset in assets:
                    assert len(await read(asset)) == len(image)
                counted = ""
                return Cost((time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls)

            return lambda: runner.run(run())

        def blocking() -> Cost:
            nonlocal counted
            counted = SYNC
            cpu, wall = time.process_time(), time.perf_counter()
            for asset in assets:
                with sync.assets.open(dataset, asset.asset_id) as file:
                    assert len(file.read()) == len(image)
            counted = ""
            return Cost((time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls)

        costs = interleave({OPEN: awaited(OPEN, open_one), READ: awaited(READ, read_one), SYNC: blocking}, given.rounds)
        runner.run(client.aclose())
        sync.close()
    answer = Answer(Path(__file__).stem, __doc__, "none; CPU is the client's, the service is a process of its own.")
    for name, most in ((OPEN, 3.0), (READ, 1.5)):
        answer.ratio(name, median([cost.wall for cost in costs[name]]) * 1e3, most=most, unit=" ms")
    answer.table(
        f"{calls} assets of {len(image) / 1000:.1f} KB, one after the other",
        {
            name: {
                "ms": median([cost.wall for cost in values]) * 1e3,
                "client CPU ms": median([cost.cpu for cost in values]) * 1e3,
                "requests": round(requests[name] / calls / (given.rounds + 1), 2),
            }
            for name, values in costs.items()
        },
    )
    answer.give(given)


if __name__ == "__main__":
    main()
