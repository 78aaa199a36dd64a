"""How fast is the whole, verified download call against the local service, beside the published client (unverified)?"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harness import (
    Cost,
    Run,
    arguments,
    client,
    fresh_folder,
    interleave,
    make_files,
    memory_folder,
    peer_python,
    rate,
    ratio,
    scratch_folder,
)
from results import Answer
from service import local_service, own_client, settle

COUNT, QUICK, SIZE = 1000, 300, 100_000  # a page: the published client fails on its second
MORE = {"20,000 x 2 KB": (20_000, 2_000), "40 x 25 MB": (40, 25_000_000)}


def main() -> None:
    given = arguments(__doc__)
    answer = Answer(
        Path(__file__).stem,
        __doc__,
        "the local service, in a process of its own, serves both clients in turn; files go to a folder in memory.",
    )
    shapes = {f"{QUICK if given.quick else COUNT:,} x 100 KB": (QUICK if given.quick else COUNT, SIZE)}
    if given.full:
        shapes |= MORE
    for shape, (count, size) in shapes.items():
        one_shape(answer, shape, count, size, given.rounds)
    answer.give(given)


def one_shape(answer: Answer, shape: str, count: int, size: int, rounds: int) -> None:
    peer = peer_python()
    with (
        scratch_folder() as scratch,
        memory_folder() as targets,
        local_service(scratch) as settings,
        own_client(settings) as service,
    ):
        dataset = service.datasets.create(name="bench").dataset_id
        service.assets.upload(dataset, make_files(scratch / "images", count, size), show_progress=False)
        settle(service, dataset, count, keep=True)

        def call(**python: str) -> Cost:
            with fresh_folder(targets) as target:
                cost = client("client_call.py", "download", dataset, target, env=settings, **python)
                if (found := sum(path.is_file() for path in target.rglob("*.jpg"))) != count:
                    raise AssertionError(f"{found} of {count} files came.")
                return cost

        runs: dict[str, Run] = {"vi": call}
        if peer:
            runs["peer"] = partial(call, python=peer)
        costs = interleave(runs, rounds)
    asked = size == SIZE
    if peer:
        answer.ratio(f"{shape}: times the peer's rate", rate(costs, "vi", "peer"), least=3.2 if asked else None)
        answer.ratio(f"{shape}: of its CPU", ratio(costs, "vi", "peer", "cpu"))
    answer.costs(shape, costs, count, 0 if count > 1000 or size < 1 << 20 else size)


if __name__ == "__main__":
    main()
