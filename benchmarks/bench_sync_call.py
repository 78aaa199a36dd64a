"""What does a synchronous call cost over the awaited one?"""

from __future__ import annotations

import asyncio
import os

from harness import arguments, interleave, local_service, median, report

import vi


def main() -> None:
    given = arguments(__doc__)
    calls = 100 if given.quick else 1000
    with local_service() as settings:
        os.environ.update(settings)
        with vi.Client() as client, asyncio.Runner() as runner:
            dataset = client.datasets.create(name="calls").dataset_id
            async_client = vi.AsyncClient()

            def blocking() -> None:
                for _ in range(calls):
                    client.datasets.get(dataset)

            async def awaited() -> None:
                for _ in range(calls):
                    await async_client.datasets.get(dataset)

            costs = interleave({"sync": blocking, "async": lambda: runner.run(awaited())}, given.rounds)
            runner.run(async_client.aclose())
    extra = median([a.wall - b.wall for a, b in zip(costs["sync"], costs["async"], strict=True)]) / calls
    report(str(__doc__), {"microseconds more per call": round(extra * 1e6, 1), "calls": calls})


if __name__ == "__main__":
    main()
