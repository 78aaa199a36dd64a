"""Is the local service as fast with a million assets as with a thousand: pages, sessions, polls, deletes, downloads?"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs
import plots
from harness import Cost, Run, arguments, interleave, make_files, median, ratio, scratch_folder
from plots import Axis
from results import Answer
from service import cpu_seconds_of, fill, local_service_process, own_client

FEW, MANY, QUICK_MANY = 1_000, 1_000_000, 20_000
PAGE = 1000
SESSION_FILES = 5000


class Plain:
    """HTTP with the standard library, so that what is measured is the service: its time to answer and its CPU."""

    def __init__(self, settings: dict[str, str], pid: int) -> None:
        address = urlsplit(settings["DATATURE_VI_API_ENDPOINT"])
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
        self._pid = pid
        self.organization = settings["DATATURE_VI_ORGANIZATION_ID"]
        self._headers = {
            "Authorization": f"Bearer {settings['DATATURE_VI_SECRET_KEY']}",
            "Organization-Id": self.organization,
        }

    def dataset(self, dataset: str) -> str:
        return f"/workspaces/{self.organization}/datasets/{self.organization}_{dataset}"

    def send(self, method: str, path: str, body: bytes | None = None, *, signed: bool = False) -> bytes:
        self._connection.request(method, path, body, {} if signed else self._headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise AssertionError(f"{method} {path}: {answer.status} {data[:200]!r}")
        return data

    def document(self, method: str, path: str, body: bytes | None = None) -> Any:
        return json.loads(self.send(method, path, body))

    def first_byte(self, path: str) -> None:
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        if answer.status != 200 or not answer.read(1):
            raise AssertionError(f"{path}: {answer.status}")
        answer.read()

    def cost(self, call: Callable[[], object], times: int = 1) -> Cost:
        """Measure *times* calls, as one of them, with the CPU of the service."""
        cpu, wall = cpu_seconds_of(self._pid), time.perf_counter()
        for _ in range(times):
            call()
        return Cost((time.perf_counter() - wall) / times, (cpu_seconds_of(self._pid) - cpu) / times)


@attrs.define
class Subject:
    """What is done with one dataset."""

    plain: Plain
    dataset: str
    url: str
    """Of a real object in it."""
    pages: dict[int, str] = attrs.Factory(dict)
    """Tokens of pages, by number."""
    next_asset: int = 0

    @property
    def path(self) -> str:
        return self.plain.dataset(self.dataset)

    def walk(self, pages: int) -> None:
        """Learn the tokens of the first *pages* pages; each is had from the page before."""
        token = ""
        for number in range(1, pages + 1):
            self.pages[number] = token
            if number < pages:
                token = self.page(token)["nextPage"]

    def page(self, token: str, **more: str) -> Any:
        return self.plain.document("GET", f"{self.path}/assets?{urlencode({'s': str(PAGE), 'p': token, **more})}")

    def page_of(self, number: int, times: int, **more: str) -> Run:
        query = urlencode({"s": str(PAGE), "p": self.pages[number], **more})
        return lambda: self.plain.cost(lambda: self.plain.send("GET", f"{self.path}/assets?{query}"), times)

    def sessions(self) -> str:
        return f"{self.path}/assetSources/managed/datature/default/assetIngestionSessions"

    def create(self) -> Cost:
        """Open a session of 5,000 files and end it, which is not measured."""
        kind = {"kind": "Image", "mime": "image/jpeg", "size": 100_000, "crc32c": 1}
        files = [{**kind, "filename": f"new-{number:05}.jpg"} for number in range(SESSION_FILES)]
        spec = {"kind": "Upload", "failureMode": "FailAfterAll", "onAssetOverwritten": "RemoveLinkedResource"}
        body = json.dumps({"spec": {**spec, "assets": files}}).encode()
        made: list[Any] = []
        cost = self.plain.cost(lambda: made.append(self.plain.send("POST", self.sessions(), body)))
        identifier = json.loads(made[0])["assetIngestionSessionId"]
        self.plain.send("POST", f"{self.sessions()}/{identifier}:cancel")
        return cost

    def open_one(self) -> str:
        files = [{"kind": "Image", "filename": "open.jpg", "mime": "image/jpeg", "size": 10, "crc32c": 1}]
        body = json.dumps({"spec": {"kind": "Upload", "failureMode": "FailAfterAll", "assets": files}}).encode()
        return str(self.plain.document("POST", self.sessions(), body)["assetIngestionSessionId"])

    def take_ids(self, count: int) -> list[str]:
        """Return ids of assets that are there still."""
        items = self.page("", sortBy="assetId")["items"]
        return [item["assetId"] for item in items if not item["filename"].startswith("0000")][:count]

    def delete_one(self, times: int) -> Cost:
        ids = iter(self.take_ids(times))
        return self.plain.cost(lambda: self.plain.send("DELETE", f"{self.path}/assets/{next(ids)}"), times)


def runs(subject: Subject, times: int) -> dict[str, Run]:
    """Return the operations that both datasets allow."""
    plain, path = subject.plain, subject.path
    session = subject.open_one()
    asset = subject.take_ids(PAGE)[-1]  # deletes take the first ones
    name = urlencode({"filter": json.dumps({"filename": "open.jpg"})})
    exactly = f"{name}&strictQuery=y"
    return {
        f"page of {PAGE:,} assets": subject.page_of(1, times),
        f"page of {PAGE:,} assets with URLs": subject.page_of(1, times, contents="y"),
        f"page of {PAGE:,} assets by size, falling": subject.page_of(1, times, sortBy="metadata.fileSize", o="d"),
        "one asset": lambda: plain.cost(lambda: plain.send("GET", f"{path}/assets/{asset}"), times),
        "count of assets": lambda: plain.cost(lambda: plain.send("GET", f"{path}/assets:count"), times),
        "count of a name": lambda: plain.cost(lambda: plain.send("GET", f"{path}/assets:count?{exactly}"), times),
        "count of a name, whatever its case": lambda: plain.cost(
            lambda: plain.send("GET", f"{path}/assets:count?{name}"), 1
        ),
        "the dataset": lambda: plain.cost(lambda: plain.send("GET", path), times),
        f"session of {SESSION_FILES:,} files made": subject.create,
        "poll of a session": lambda: plain.cost(lambda: plain.send("GET", f"{subject.sessions()}/{session}"), times),
        "first byte of a download": lambda: plain.cost(lambda: plain.first_byte(subject.url), times),
        "delete of an asset": lambda: subject.delete_one(times),
    }


def main() -> None:
    given = arguments(__doc__)
    many, times = (QUICK_MANY, 3) if given.quick else (MANY, 20)
    answer = Answer(
        Path(__file__).stem,
        __doc__,
        "the standard library's http.client, one connection, one request at a time; CPU is the service's own. "
        f"The rows of {many:,} assets are put into the database directly; the object that is downloaded is real.",
    )
    with scratch_folder() as scratch:
        real = make_files(scratch / "real", 1, 100_000)
        datasets: dict[int, str] = {}
        with local_service_process(scratch) as (settings, _), own_client(settings) as client:
            for count in (FEW, many):
                datasets[count] = client.datasets.create(name=f"{count} assets").dataset_id
                client.assets.upload(datasets[count], real, show_progress=False)
        began = time.perf_counter()
        for count, dataset in datasets.items():
            fill(scratch, dataset, count - 1)
        filled = time.perf_counter() - began
        began = time.perf_counter()
        with local_service_process(scratch) as (settings, pid), own_client(settings) as client:
            started = time.perf_counter() - began
            plain = Plain(settings, pid)
            subjects = {}
            for count, dataset in datasets.items():
                asset = next(iter(client.assets.list(dataset, contents=True).all_items()))
                assert asset.contents is not None
                assert asset.contents.asset is not None
                address = urlsplit(asset.contents.asset.url)
                subjects[count] = Subject(plain, dataset, f"{address.path}?{address.query}")
            last = many // PAGE
            subjects[FEW].walk(1)
            subjects[many].walk(last)
            numbers = [1, *(last * tenth // 10 for tenth in range(1, 11))]
            depth = interleave(
                {f"page {number:,} of {last:,}": subjects[many].page_of(number, -(-times // 4)) for number in numbers},
                given.rounds,
            )
            few, much = runs(subjects[FEW], times), runs(subjects[many], times)
            both: dict[str, Run] = {}
            for name in few:
                both[f"few {name}"], both[f"many {name}"] = few[name], much[name]
            costs = interleave(both, given.rounds)
    answer.ratio(
        f"listing page {last:,} of {many:,} assets: times page 1",
        ratio(depth, f"page {last:,} of {last:,}", f"page 1 of {last:,}"),
        most=1.5,
    )
    for name in few:
        answer.ratio(f"{name}: {many:,} assets, times {FEW:,}", ratio(costs, f"many {name}", f"few {name}"))
    answer.table(
        f"{PAGE:,} assets a page, of {many:,}",
        {name: {"ms": _ms(values), "service CPU ms": _ms(values, "cpu")} for name, values in depth.items()},
    )
    answer.table(
        "Operation",
        {
            name: {
                f"ms at {FEW:,}": _ms(costs[f"few {name}"]),
                f"ms at {many:,}": _ms(costs[f"many {name}"]),
                "service CPU ms": _ms(costs[f"many {name}"], "cpu"),
            }
            for name in few
        },
    )
    if not given.quick:
        title = f"One page of {PAGE:,} assets, of {many:,}, against its number"
        points = [(number, _ms(costs)) for number, costs in zip(numbers, depth.values(), strict=True)]
        answer.tables.append(plots.write("page-depth", title, Axis("page"), Axis("ms"), {"ms a page": points}))
    answer.table("Besides", {"start of the service": {"s": started}, f"putting in {many + FEW:,} rows": {"s": filled}})
    answer.give(given)


def _ms(costs: list[Cost], of: str = "wall") -> float:
    return median([getattr(cost, of) for cost in costs]) * 1000


if __name__ == "__main__":
    main()
