"""How long does a page of 1,000 assets take to become objects, beside msgspec's own structs?"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harness import Run, arguments, client, interleave, median, ratio
from results import Answer

PAGES, QUICK = 50, 5
YARDSTICK = "msgspec, its own structs"


def main() -> None:
    given = arguments(__doc__)
    times = QUICK if given.quick else PAGES
    runs: dict[str, Run] = {
        "vi, base install": partial(client, "client_pages.py", times, "vi"),
        "vi, extra fast": partial(client, "client_pages.py", times, "vi", fast=True),
        YARDSTICK: partial(client, "client_msgspec.py", times, fast=True),
        "json alone, plain dictionaries": partial(client, "client_pages.py", times, "json"),
    }
    costs = interleave(runs, given.rounds)
    size = costs[YARDSTICK][0].more["bytes"]
    answer = Answer(
        Path(__file__).stem, __doc__, f"msgspec decoding the same {size:,} bytes into structs with the same fields."
    )
    for name, most in (("vi, base install", 4.5), ("vi, extra fast", 1.5)):
        answer.ratio(f"{name[4:]}: CPU, times msgspec's own structs", ratio(costs, name, YARDSTICK, "cpu"), most=most)
    answer.table(
        "A page of 1,000 assets",
        {
            name: {
                "ms a page": median([c.wall for c in values]) / times * 1000,
                "CPU ms a page": median([c.cpu for c in values]) / times * 1000,
                "peak MB": round(median([c.peak for c in values]) / 1e6),
            }
            for name, values in costs.items()
        },
    )
    answer.give(given)


if __name__ == "__main__":
    main()
