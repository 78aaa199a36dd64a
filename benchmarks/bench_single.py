"""How long does one image of 10 KB take, from `upload` until the local service has settled it?"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from harness import arguments, in_process, interleave, median, scratch_folder
from results import Answer
from service import local_service, own_client

from vi import RequestEvent, _samples
from vi.api.resources.datasets.assets.calls import AssetCalls


def main() -> None:
    given = arguments(__doc__)
    calls = 5 if given.quick else 30
    image = _samples.encode(1, ".jpg", (270, 200))
    requests = {"it waits": 0, "it is polled": 0}
    with scratch_folder() as scratch, local_service(scratch) as settings, own_client(settings) as client:
        dataset = client.datasets.create(name="single").dataset_id

        def upload(name: str) -> None:
            def count(event: object) -> None:
                requests[name] += isinstance(event, RequestEvent)

            remove = client.hooks.add(count)
            for number in range(calls):
                client.assets.upload(dataset, (f"{number}.jpg", image), show_progress=False)
            remove()

        def polled() -> None:
            with patch.object(AssetCalls, "can_wait", False):
                upload("it is polled")

        costs = interleave(
            {"it waits": in_process(lambda: upload("it waits")), "it is polled": in_process(polled)}, given.rounds
        )
    seconds = {name: median([cost.wall for cost in values]) / calls for name, values in costs.items()}
    each = {name: count / calls / (given.rounds + 1) for name, count in requests.items()}
    answer = Answer(
        Path(__file__).stem, __doc__, "the same client and service, without the announcement that it waits."
    )
    answer.ratio("one image until it is settled", seconds["it waits"] * 1e3, most=50, unit=" ms")
    answer.ratio("requests", each["it waits"], most=4)
    answer.table(
        f"{calls} images of {len(image) / 1000:.1f} KB, one after the other",
        {name: {"ms an image": seconds[name] * 1e3, "requests an image": each[name]} for name in costs},
    )
    answer.give(given)


if __name__ == "__main__":
    main()
