"""A service that notes every request and can hold any of them, and the pictures that tests move."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web
from PIL import Image

import vi
from vi.server import ServiceConfig
from vi.testing import TestedService

ROOT = Path(__file__).parents[2]


@attrs.frozen
class Seen:
    """A request as the service met it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int | None

    @property
    def is_api(self) -> bool:
        return self.path.startswith("/workspaces")


class Hold:
    """Keeps the requests that match, or their answers, waiting until `release`; the first sets *reached*."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, matches: Callable[[web.Request], bool], after: int, answers: bool
    ) -> None:
        self.reached = threading.Event()
        self.answers = answers
        self._loop = loop
        self._matches = matches
        self._left = after
        self._open = asyncio.Event()

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    async def pass_(self, request: web.Request) -> None:
        if self._open.is_set() or not self._matches(request):
            return
        if self._left:
            self._left -= 1
            return
        self.reached.set()
        await self._open.wait()


class RecordedService(TestedService):
    """A service that notes every request and can hold or cut any."""

    def __init__(self, data: Path, config: ServiceConfig | None = None, port: int = 0) -> None:
        self._seen: list[Seen] = []
        self._storage_now = 0
        self.storage_at_once = 0
        self._holds: list[Hold] = []
        self._cuts: list[tuple[str, str, Callable[[], bool]]] = []
        super().__init__(data, config, port=port, middlewares=[self._note])

    def forget(self) -> None:
        """Start a new list of requests."""
        self._seen = []
        self.storage_at_once = 0

    def requests(self, method: str | None = None, ending: str = "", *, storage: bool | None = None) -> list[Seen]:
        """Return what was asked since `forget`, oldest first."""
        return [
            seen
            for seen in list(self._seen)
            if (method is None or seen.method == method)
            and seen.path.endswith(ending)
            and (storage is None or seen.is_api is not storage)
        ]

    @contextmanager
    def hold(self, method: str, part: str, *, after: int = 0, answers: bool = False) -> Iterator[Hold]:
        """Hold requests of *method* with *part* in their path, once *after* of them have passed.

        With *answers* the service acts on the request and the answer is held.
        """
        hold = Hold(self._loop, lambda request: request.method == method and part in request.path, after, answers)
        self._holds.append(hold)
        try:
            yield hold
        finally:
            hold.release()
            self._holds.remove(hold)

    @contextmanager
    def cut(self, method: str, part: str, *, until: Callable[[], bool]) -> Iterator[None]:
        """Act on the first request that matches, and once *until* is true cut its connection in place of an answer."""
        self._cuts.append((method, part, until))
        try:
            yield
        finally:
            self._cuts.clear()

    async def _cut(self, request: web.Request) -> None:
        for entry in list(self._cuts):
            method, part, until = entry
            if request.method == method and part in request.path:
                self._cuts.remove(entry)
                while not await asyncio.to_thread(until):
                    pass
                assert request.transport is not None
                request.transport.abort()

    @property
    def _note(self) -> Any:
        @web.middleware
        async def note(request: web.Request, handler: Any) -> web.StreamResponse:
            seen = self._seen
            status: int | None = None
            moves_bytes = not request.path.startswith("/workspaces")
            self._storage_now += moves_bytes
            self.storage_at_once = max(self.storage_at_once, self._storage_now)
            try:
                holds = list(self._holds)
                for hold in holds:
                    if not hold.answers:
                        await hold.pass_(request)
                answer: web.StreamResponse = await handler(request)
                status = answer.status
                for hold in holds:
                    if hold.answers:
                        await hold.pass_(request)
                await self._cut(request)
                return answer
            finally:
                self._storage_now -= moves_bytes
                seen.append(Seen(request.method, request.path, dict(request.query), dict(request.headers), status))

        return note


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedService]:
    running = RecordedService(tmp_path_factory.mktemp("service") / "data")
    yield running
    running.stop()


@pytest.fixture
def service(shared_service: RecordedService) -> RecordedService:
    """The shared service with an empty list of requests."""
    shared_service.forget()
    return shared_service


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., RecordedService]]:
    """Starts services with settings of a test's own."""
    running: list[RecordedService] = []

    def start(**settings: Any) -> RecordedService:
        running.append(RecordedService(tmp_path / f"data-{len(running)}", ServiceConfig(**settings)))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def client(service: RecordedService) -> Iterator[vi.Client]:
    with service.client() as client:
        yield client


@pytest.fixture
def dataset(client: vi.Client, service: RecordedService) -> str:
    """The id of an empty dataset; what it took to make it is not on the list of requests."""
    dataset_id = client.datasets.create(name="test").dataset_id
    service.forget()
    return dataset_id


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """Makes the bytes of small images: one for each seed."""

    def make(seed: int = 0, side: int = 8) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (side, side), (seed % 256, seed // 256 % 256, 7)).save(out, "PNG")
        return out.getvalue()

    return make


@pytest.fixture
def folder(tmp_path: Path, png: Callable[..., bytes]) -> Callable[..., Path]:
    """Makes folders of images: by number, or by name."""

    def make(count: int = 3, *, name: str = "images", names: list[str] | None = None, seed: int = 0) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for number, filename in enumerate(names or [f"image-{n:03d}.png" for n in range(count)]):
            path = root / filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(seed * 1000 + number))
        return root

    return make


def content_of(folder: Path) -> dict[str, str]:
    """Return the digest of every file below *folder*, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, str]]:
    """Reads a folder as name and digest."""
    return content_of


@pytest.fixture
def stored(client: vi.Client) -> Callable[[str], dict[str, str]]:
    """Reads what a dataset holds as name and digest, from the service alone."""

    def read(dataset_id: str) -> dict[str, str]:
        return {a.filename: a.metadata.hash.contents for a in client.assets.list(dataset_id).all_items()}

    return read


@pytest.fixture
def script(tmp_path: Path, service: RecordedService) -> Callable[..., subprocess.Popen[str]]:
    """Starts a Python program that finds the service in its environment, with warnings shown."""

    def start(source: str, *arguments: str, under: str | None = None) -> subprocess.Popen[str]:
        path = tmp_path / "script.py"
        path.write_text(source)
        command = [sys.executable, str(path), *arguments]
        if under is not None:
            # The second command keeps the shell from handing its process over to the first.
            command = [under, "-c", f"{shlex.join(command)}; exit $?"]
        environment = {**os.environ, **service.environment, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
        return subprocess.Popen(
            command,
            env=environment,
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start
