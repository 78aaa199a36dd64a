"""What does a command cost before it does anything, over Python alone?"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from harness import arguments, interleave, median, program, scratch_folder
from results import Answer
from service import local_service, own_client

LIST = "vi-sdk datasets ls, of three"


def main() -> None:
    given = arguments(__doc__)
    vi_sdk = [sys.executable, str(Path(sys.executable).with_name("vi-sdk"))]
    with scratch_folder() as scratch, local_service(scratch) as settings, own_client(settings) as client:
        for name in ("north", "south", "west"):
            client.datasets.create(name=name)
        os.environ.update(settings)
        commands = {
            "Python alone": [sys.executable, "-c", "pass"],
            "argparse alone": [sys.executable, "-c", "import argparse"],
            "vi-sdk --version": [*vi_sdk, "--version"],
            "vi-sdk --help": [*vi_sdk, "--help"],
            "vi-sdk completion bash": [*vi_sdk, "completion", "bash"],
            "import aiohttp": [sys.executable, "-c", "import aiohttp"],
            LIST: [*vi_sdk, "datasets", "ls"],
        }
        costs = interleave({name: partial(program, command) for name, command in commands.items()}, given.rounds * 2)
    answer = Answer(Path(__file__).stem, __doc__, "the same interpreter started for nothing; CPU of whole processes.")
    base = [cost.cpu for cost in costs["Python alone"]]
    over = {
        name: median([one.cpu - two for one, two in zip(values, base, strict=True)]) for name, values in costs.items()
    }
    for name in ("vi-sdk --version", "vi-sdk --help", "vi-sdk completion bash"):
        answer.ratio(f"{name}: CPU over Python alone", over[name], most=0.1, unit=" s")
    answer.ratio(f"{LIST}: CPU over Python alone", over[LIST], most=0.3, unit=" s")
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
