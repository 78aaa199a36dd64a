"""A local service in the event loop of a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from ..client import AsyncClient, Client
from ..server import LocalService, ServiceConfig, serve
from .faults import Faults

T = TypeVar("T")


class TestedService:
    """A running local service; start it with `start` and end it with `stop`."""

    __test__ = False

    def __init__(self, local: LocalService, faults: Faults, loop: asyncio.AbstractEventLoop, thread: threading.Thread):
        self._local = local
        self._loop = loop
        self._thread = thread
        self.faults = faults
        self.url: str = local.url
        self.organization_id: str = local.organization_id

    @classmethod
    def start(cls, data: Path, config: ServiceConfig | None = None) -> TestedService:
        """Serve the folder *data* on a free loopback port."""
        faults = Faults()
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="vi-tested-service", daemon=True)
        thread.start()
        try:
            local = _run(loop, serve(data, config=config, middlewares=[faults.middleware]))
        except BaseException:
            _end(loop, thread)
            raise
        return cls(local, faults, loop, thread)

    @property
    def secret_key(self) -> str:
        """The key of the organization."""
        return self._local.secret_key

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which ``Client()`` and other processes find the service."""
        return {
            "DATATURE_VI_API_ENDPOINT": self.url,
            "DATATURE_VI_SECRET_KEY": self.secret_key,
            "DATATURE_VI_ORGANIZATION_ID": self.organization_id,
        }

    def client(self, **settings: Any) -> Client:
        """Return a client of the service; *settings* are the client's own."""
        return Client(self.secret_key, self.organization_id, self.url, **settings)

    def async_client(self, **settings: Any) -> AsyncClient:
        """Return an async client of the service; *settings* are the client's own."""
        return AsyncClient(self.secret_key, self.organization_id, self.url, **settings)

    def stop(self) -> None:
        """End the service."""
        _run(self._loop, self.faults.aclose())
        _run(self._loop, self._local.aclose())
        _end(self._loop, self._thread)

    def __repr__(self) -> str:
        return f"TestedService(url={self.url!r}, organization_id={self.organization_id!r})"


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result(60)


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()
