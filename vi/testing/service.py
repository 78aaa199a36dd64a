"""A local service in the event loop of a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp.typedefs import Middleware

from .._event_loop import loop_factory
from ..client import AsyncClient, Client
from ..server import LocalService, ServiceConfig, serve
from ..server.lifecycle import wall_clock
from .faults import Faults

T = TypeVar("T")


class TestedService:
    """A running local service; start it with `start` and end it with `stop`."""

    __test__ = False

    def __init__(
        self,
        data: Path,
        config: ServiceConfig | None = None,
        *,
        middlewares: Sequence[Middleware] = (),
        clock: Callable[[], int] = wall_clock,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.data = data
        self.faults: Faults = Faults()
        self._loop = (loop_factory() or asyncio.new_event_loop)()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vi-tested-service", daemon=True)
        self._thread.start()
        outer = [*middlewares, self.faults.middleware]
        try:
            self._local: LocalService = self._run(
                serve(data, host=host, port=port, config=config, clock=clock, middlewares=outer)
            )
        except BaseException:
            self._end()
            raise
        self.url: str = self._local.url
        self.organization_id: str = self._local.organization_id

    @classmethod
    def start(
        cls,
        data: Path,
        config: ServiceConfig | None = None,
        *,
        middlewares: Sequence[Middleware] = (),
        clock: Callable[[], int] = wall_clock,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> Self:
        """Serve the folder *data*; port 0 takes a free one.

        *middlewares* are aiohttp middlewares that see each request before the faults and the service; *clock* returns
        the service's time in milliseconds since 1970 and must not go back.
        """
        return cls(data, config, middlewares=middlewares, clock=clock, host=host, port=port)

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
        """End the service, once."""
        if self._thread.is_alive():
            self._run(self.faults.aclose())
            self._run(self._local.aclose())
            self._end()

    def __repr__(self) -> str:
        return f"TestedService(url={self.url!r}, organization_id={self.organization_id!r})"

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def _end(self) -> None:
        self._run(_cancel_the_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


async def _cancel_the_rest() -> None:
    """End what connections left a moment ago still do, as `asyncio.run` does when it ends."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
