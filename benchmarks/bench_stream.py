"""How much faster than one `open` after another does `stream` give the same verified bytes, at 30 ms a request?"""

from __future__ import annotations

from pathlib import Path

from harness import arguments, in_process, interleave, make_files, median, rate, scratch_folder
from results import Answer
from service import own_client
from slow import slow_service

COUNT, QUICK, SIZE = 400, 40, 100_000
DELAY = 0.03


def main() -> None:
    given = arguments(__doc__)
    count = QUICK if given.quick else COUNT
    with scratch_folder() as scratch, slow_service(scratch, DELAY) as settings, own_client(settings) as client:
        dataset = client.datasets.create(name="stream").dataset_id
        client.assets.upload(dataset, make_files(scratch / "images", count, SIZE), show_progress=False)

        def one_after_another() -> None:
            for asset in client.assets.list(dataset).all_items():
                with client.assets.open(dataset, asset.asset_id) as file:
                    assert len(file.read()) == asset.metadata.file_size

        def streamed() -> None:
            assert sum(1 for _ in client.assets.stream(dataset)) == count

        runs = {"open": in_process(one_after_another), "stream": in_process(streamed)}
        costs = interleave(runs, given.rounds)
    answer = Answer(Path(__file__).stem, __doc__, "`assets.open` of the same client, one asset after another.")
    answer.ratio(
        f"{count} x 100 KB, {DELAY * 1000:.0f} ms: times the rate of open", rate(costs, "stream", "open"), least=6
    )
    answer.table(
        f"{count} x 100 KB, each request {DELAY * 1000:.0f} ms later",
        {name: {"images/s": count / median([c.wall for c in values])} for name, values in costs.items()},
    )
    answer.give(given)


if __name__ == "__main__":
    main()
