"""A service that notes every request and can hold or cut any of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web

from vi.server import ServiceConfig
from vi.testing import TestedService


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
