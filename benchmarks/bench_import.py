"""What does ``import vi`` cost, and the first client?"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from harness import arguments, interleave, median, peer_python, program
from results import Answer

CLIENT = "import vi and the first client"
ASSETS = "the same, and client.assets"
FIRST_CLIENT = "import vi; vi.Client('dtvi_' + 'a' * 98, 'o', 'http://127.0.0.1:1').close()"


def main() -> None:
    given = arguments(__doc__)
    codes = {
        "Python alone": "pass",
        "import vi": "import vi",
        CLIENT: FIRST_CLIENT,
        ASSETS: FIRST_CLIENT.replace(".close()", ".assets"),
        "import aiohttp": "import aiohttp",
    }
    runs = {name: partial(program, [sys.executable, "-c", code]) for name, code in codes.items()}
    if peer := peer_python():
        runs["the peer: Python alone"] = partial(program, [peer, "-c", "pass"])
        runs["the peer: import vi"] = partial(program, [peer, "-c", "import vi"])
    costs = interleave(runs, given.rounds * 2)
    answer = Answer(
        Path(__file__).stem, __doc__, "the same interpreter started for nothing; whole processes are counted."
    )
    base = [cost.wall for cost in costs["Python alone"]]
    own = median([one.wall - two for one, two in zip(costs["import vi"], base, strict=True)])
    answer.ratio("import vi, over Python alone", own, most=0.2, unit=" s")
    cpu = [one.cpu - two.cpu for one, two in zip(costs[CLIENT], costs["import vi"], strict=True)]
    answer.ratio("the first client, CPU over import vi", median(cpu), most=0.25, unit=" s")
    answer.table(
        "Process",
        {
            name: {"wall ms": median([c.wall for c in values]) * 1000, "CPU ms": median([c.cpu for c in values]) * 1000}
            for name, values in costs.items()
        },
    )
    answer.give(given)


if __name__ == "__main__":
    main()
