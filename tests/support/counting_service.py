"""A service that counts what it is sent and can end its client at any request, and what a dataset then holds.

`stop` ends an upload early, and `go_on` makes the same call again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web

import vi
from tests.support import engines
from tests.support.pictures import tiny
from vi import _samples
from vi._transfer.journals.uploads import Unfinished, read_journal
from vi.api.types import PaginationParams
from vi.server import ServiceConfig
from vi.testing import TestedService

# A store takes no parts below 5 MiB from clients.
LARGE, PART_BYTES = ((5120, 4096), 5_242_885) if engines.CHOSEN == "direct" else ((320, 240), 20_000)
PARTS = 12
"""Of a large file of `make_files`."""
LONGER_THAN_SESSIONS = 25 * 60_000
"""Milliseconds: the last file of a session that goes straight to a store is given up after 20 minutes."""
LIMITS = vi.TransferLimits(max_concurrency=16, multipart_threshold=100_000, parts_per_file=2)
DOWN_LIMITS = vi.TransferLimits(max_concurrency=8, multipart_threshold=4 << 20, range_size=256 << 10, parts_per_file=2)
RETRIES = vi.RetryPolicy(backoff=0.02, backoff_max=0.2)


@attrs.frozen
class Put:
    """Bytes that arrived, or were asked for: a whole file, or a part of one."""

    name: str
    size: int


class CountingService(TestedService):
    """A service that counts. *at* is asked before, and *after* after, each request with its number."""

    def __init__(self, data: Path) -> None:
        self._answering = 0
        self.ahead_ms = 0
        """How far the service's clock is ahead; it must not go back."""
        self.at: Callable[[int, web.Request], None] = _nothing
        self.after: Callable[[int, web.Request], None] = _nothing
        self.rewrite: Callable[[web.Request, Any], Any] | None = None
        """Given the request and the document of each JSON answer, what to answer instead."""
        self.reset()
        config = ServiceConfig(part_bytes=PART_BYTES, sweep_seconds=0.1)
        super().__init__(data, config, clock=self._now, middlewares=[self._count])

    def reset(self) -> None:
        """Count from nothing, and let everything through; what is still being answered is waited for."""
        deadline = time.monotonic() + 10
        while self._answering:
            assert time.monotonic() < deadline, "the service does not come to rest"
            time.sleep(0.002)
        self.count = 0
        self.puts: list[Put] = []
        self.gets: list[Put] = []
        self.asked: list[str] = []
        self.at = self.after = _nothing
        self.rewrite = None

    def client(self, **settings: Any) -> vi.Client:
        return super().client(**{"limits": LIMITS, "retries": RETRIES, **settings})

    def async_client(self, **settings: Any) -> vi.AsyncClient:
        return super().async_client(**{"limits": LIMITS, "retries": RETRIES, **settings})

    def open_sessions(self, dataset: str) -> list[str]:
        """The ids of the upload sessions of *dataset* that have not ended."""
        organization = self.organization_id
        path = f"/workspaces/{organization}/datasets/{organization}_{dataset}/assetSources/managed/datature/default"
        found, token = [], ""
        while True:
            request = urllib.request.Request(
                f"{self.url}{path}/assetIngestionSessions?s=1000{token}",
                headers={"Authorization": f"Bearer {self.secret_key}", "Organization-Id": organization},
            )
            with urllib.request.urlopen(request) as answer:
                page = json.load(answer)
            for session in page["items"]:
                conditions = {one["condition"]: one["status"] for one in session["status"]["conditions"]}
                if conditions["Finished"] == "Waiting":
                    found.append(session["assetIngestionSessionId"])
            if not page.get("nextPage"):
                return found
            token = f"&p={page['nextPage']}"

    def _now(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self._answering += 1
        try:
            return await self._answer(request, handler)
        finally:
            self._answering -= 1

    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.count += 1
        number = self.count
        self.asked.append(f"{request.method} {request.path}")
        self.at(number, request)
        answer: web.StreamResponse = await handler(request)
        if request.method == "PUT" and answer.status < 300:
            _, kind, upload, *_, last = request.path.split("/")
            name = f"{upload}/{last}" if kind == "part" else last
            self.puts.append(Put(name, request.content_length or 0))
        if request.path.startswith("/dl/"):
            self.gets.append(Put(request.path.rpartition("/")[2], answer.content_length or 0))
        self.after(number, request)
        if self.rewrite is not None and isinstance(answer, web.Response) and answer.content_type == "application/json":
            assert isinstance(answer.body, bytes)
            answer = web.json_response(self.rewrite(request, json.loads(answer.body)), status=answer.status)
        return answer


def _nothing(number: int, request: web.Request) -> None:
    return


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingService]:
    running = CountingService(tmp_path_factory.mktemp("counting") / "data")
    yield running
    running.stop()


@pytest.fixture
def service(counting: CountingService) -> Iterator[CountingService]:
    """The counting service, at rest and at zero."""
    counting.reset()
    yield counting
    counting.reset()


def other_content(path: Path) -> None:
    """Give a file of `tiny` other content of the same size, and leave its time as it was."""
    status, data = path.stat(), path.read_bytes()
    for number in range(1000, 100_000):
        other = tiny(number)
        if len(other) == len(data) and other != data:
            break
    path.write_bytes(other)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size


def make_files(folder: Path, count: int, *, large: int = 1) -> Path:
    """Make *count* tiny files, with *large* ones in parts among them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"file-{number:05d}.png").write_bytes(tiny(number))
    for number in range(large):
        place = (2 * number + 1) * count // (2 * large)
        (folder / f"file-{place:05d}-large.bmp").write_bytes(_samples.encode(number, ".bmp", LARGE))
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Name and SHA-256 of each file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def stored(client: vi.Client, dataset: str) -> dict[str, str]:
    """Name and SHA-256 of each asset; two of one name are an error."""
    assets = [*client.assets.list(dataset, PaginationParams(page_size=1000)).all_items()]
    twice = [name for name, count in Counter(asset.filename for asset in assets).items() if count > 1]
    assert not twice, f"stored more than once: {twice}"
    return {asset.filename: asset.metadata.hash.contents for asset in assets}


def journals(cache: Path) -> list[Path]:
    """The journals that there are."""
    return sorted((cache / "transfers").glob("*.jsonl"))


def left_behind(cache: Path) -> Unfinished:
    """What the journals say, all of them together."""
    found = Unfinished()
    for path in journals(cache):
        said = read_journal(path)
        assert said is not None
        found.add(said)
    return found


def at_the(
    count: int, part: str, method: str = "PUT"
) -> Callable[[Callable[[], Any]], Callable[[int, web.Request], None]]:
    """A hook that calls once, at the *count*-th request of *method* with *part* in its path."""

    def make(call: Callable[[], Any]) -> Callable[[int, web.Request], None]:
        left = [count]

        def hook(number: int, request: web.Request) -> None:
            if request.method == method and part in request.path:
                left[0] -= 1
                if not left[0]:
                    call()

        return hook

    return make


async def cancelled(
    service: CountingService, dataset: str, folder: Path, count: int, part: str, method: str = "PUT", **settings: Any
) -> None:
    """Upload, cancelled when the *count*-th answer to a request of *method* with *part* has been made."""
    loop = asyncio.get_running_loop()
    async with service.async_client(**settings) as client:
        task = asyncio.create_task(client.assets.upload(dataset, folder, show_progress=False))
        service.after = at_the(count, part, method)(lambda: loop.call_soon_threadsafe(task.cancel))
        with pytest.raises(asyncio.CancelledError):
            await task
    service.after = lambda number, request: None


def stop(
    service: CountingService, dataset: str, folder: Path, count: int = 5, part: str = "/part/", **settings: Any
) -> None:
    """End an upload of *folder* early, and start counting anew."""
    asyncio.run(cancelled(service, dataset, folder, count, part, **settings))
    service.reset()


def go_on(client: vi.Client, dataset: str, folder: Path, cache: Path) -> vi.AssetUploadResult:
    """The same call again; whatever happened, it leaves the dataset like the folder and no journal."""
    result = client.assets.upload(dataset, folder, show_progress=False)
    assert result.total_succeeded + result.total_existing == len([*folder.iterdir()]), result.summary()
    assert stored(client, dataset) == digests(folder)
    assert not journals(cache)
    return result


def ingested(client: vi.Client, dataset: str, names: Collection[str]) -> None:
    """Wait until the dataset holds the files of these *names*: what was acknowledged need not be ingested yet."""
    deadline = time.monotonic() + 60
    while missing := set(names) - stored(client, dataset).keys():
        assert time.monotonic() < deadline, missing
        time.sleep(0.02)


def whole(service: CountingService) -> set[str]:
    """The names of the files that came in one PUT."""
    return {put.name for put in service.puts if "/" not in put.name}


def in_parts(service: CountingService) -> set[str]:
    """The uploads and numbers of the parts that came."""
    return {put.name for put in service.puts if "/" in put.name}
