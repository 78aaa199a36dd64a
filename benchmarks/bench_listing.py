"""What does a page of 1,000 assets cost the local service, with signed URLs and without?"""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from harness import Cost, arguments, interleave, median, scratch_folder
from results import Answer
from service import cpu_seconds_of, fill, local_service_process, own_client

PAGE = 1_000


def main() -> None:
    given = arguments(__doc__)
    times = 10 if given.quick else 60
    with scratch_folder() as scratch:
        with local_service_process(scratch) as (settings, _), own_client(settings) as client:
            dataset = client.datasets.create(name="listing").dataset_id
        fill(scratch, dataset, PAGE)
        with local_service_process(scratch) as (settings, pid):
            key, organization, endpoint = (
                settings[f"DATATURE_VI_{name}"] for name in ("SECRET_KEY", "ORGANIZATION_ID", "API_ENDPOINT")
            )
            connection = HTTPConnection(urlsplit(endpoint).netloc)
            headers = {"Authorization": f"Bearer {key}", "Organization-Id": organization}
            path = f"/workspaces/{organization}/datasets/{organization}_{dataset}/assets?s={PAGE}"

            def pages(query: str) -> Callable[[], Cost]:
                def run() -> Cost:
                    cpu, wall = cpu_seconds_of(pid), time.perf_counter()
                    for _ in range(times):
                        connection.request("GET", path + query, headers=headers)
                        answer = connection.getresponse()
                        assert (answer.status, len(answer.read()) > PAGE) == (200, True)
                    return Cost((time.perf_counter() - wall) / times, (cpu_seconds_of(pid) - cpu) / times)

                return run

            costs = interleave({"a page": pages(""), "with URLs": pages("&contents=y")}, given.rounds)
            connection.close()
    answer = Answer(
        Path(__file__).stem, __doc__, "the standard library's http.client, one request at a time; CPU is the service's."
    )
    for (name, values), most in zip(costs.items(), (12, 20), strict=True):
        answer.ratio(f"{name}: CPU", median([cost.cpu for cost in values]) * 1e3, most=most, unit=" ms")
    answer.table(
        f"{PAGE:,} assets with custom metadata",
        {
            name: {
                "ms": median([cost.wall for cost in values]) * 1e3,
                "CPU ms": median([cost.cpu for cost in values]) * 1e3,
            }
            for name, values in costs.items()
        },
    )
    answer.give(given)


if __name__ == "__main__":
    main()
