"""What does a synchronous call cost over the awaited one?"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from harness import arguments, in_process, interleave, median, scratch_folder
from results import Answer
from service import local_service

import vi


def main() -> None:
    given = arguments(__doc__)
    calls = 100 if given.quick else 1000
    with scratch_folder() as scratch, local_service(scratch) as settings:
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

            runs = {"sync": in_process(blocking), "async": in_process(lambda: runner.run(awaited()))}
            costs = interleave(runs, given.rounds)
            runner.run(async_client.aclose())
    extra = median([a.wall - b.wall for a, b in zip(costs["sync"], costs["async"], strict=True)]) / calls
    answer = Answer(Path(__file__).stem, __doc__, "the awaited call of the same client to the same service.")
    answer.ratio("a sync call over the async one", extra * 1e6, most=150, unit=" us")
    answer.table(
        f"{calls:,} calls, one after the other",
        {
            name: {
                "us a call": median([c.wall for c in values]) / calls * 1e6,
                "CPU us a call": median([c.cpu for c in values]) / calls * 1e6,
            }
            for name, values in costs.items()
        },
    )
    answer.give(given)


if __name__ == "__main__":
    main()
