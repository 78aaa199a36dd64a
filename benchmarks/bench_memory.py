"""What memory does a client take to plan, send, list, compare and fetch many small files, against the local service?

Each step is a client of its own, so that each peak is its own. For comparison: the memory of a
client that has asked for one dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness import Cost, arguments, client, make_files, scratch_folder
from results import Answer
from service import local_service, own_client

COUNTS, QUICK = (50_000, 200_000), (500, 1_000)
SIZE = 2_000
MOST_MB = 200
STEPS = ("one request", "plan", "send", "list", "compare", "download")


def main() -> None:
    given = arguments(__doc__)
    answer = Answer(
        Path(__file__).stem,
        str(__doc__).partition("\n")[0],
        "the local service, in a process of its own; files of 2 KB.",
    )
    rows: dict[str, dict[str, object]] = {step: {} for step in STEPS}
    counts = QUICK if given.quick else COUNTS
    with scratch_folder() as scratch, local_service(scratch) as settings:
        for count in counts:
            costs = steps(settings, make_files(scratch / f"{count}", count, SIZE), count)
            for step, cost in costs.items():
                rows[step][f"{count:,} files: peak MB"] = round(cost.peak / 1e6)
                rows[step][f"{count:,} files: CPU s"] = round(cost.cpu, 1)
            highest = max(cost.peak for cost in costs.values()) / 1e6
            answer.ratio(f"{count:,} files: highest peak", highest, most=MOST_MB, unit=" MB")
    answer.table("step", rows)
    answer.give(given)


def steps(settings: Mapping[str, str], folder: Path, count: int) -> dict[str, Cost]:
    """Do every step with the files of *folder*, one round each."""
    env = {**settings, "VI_CACHE_DIR": str(folder.parent / "cache")}
    with own_client(settings) as own:
        dataset = own.datasets.create(name=f"{count} files").dataset_id

    def step(name: str) -> Cost:
        return client("client_memory.py", name, dataset, folder, count, env=env)

    return {name: step(name) for name in STEPS}


if __name__ == "__main__":
    main()
