"""A service that differs from the contract on purpose: every answer passes here and may be changed on its way."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import attrs
from aiohttp import web
from multidict import CIMultiDict

_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "upgrade")


@attrs.define
class Passing:
    """An answer on its way, with what was asked."""

    method: str
    path: str
    query: Mapping[str, str]
    asked: Mapping[str, str]
    status: int
    headers: CIMultiDict[str]
    body: bytes
    number: int
    """How many answers this difference has changed before."""

    def edit(self, change: Callable[[Any], Any]) -> None:
        """Change the JSON in place; a function that returns something replaces it."""
        document = json.loads(self.body)
        changed = change(document)
        self.body = json.dumps(document if changed is None else changed).encode()


@attrs.frozen
class Difference:
    """One way to differ, and the *rule* that must find it.

    *hides* are patterns of rules that cannot be checked, or differ too, because of it.
    """

    rule: str
    method: str
    path: str
    change: Callable[[Passing], None]
    query: str = ""
    hides: tuple[str, ...] = ()

    def meets(self, passing: Passing) -> bool:
        asked = "&".join(f"{name}={value}" for name, value in passing.query.items())
        return (
            self.method == passing.method
            and re.fullmatch(self.path, passing.path) is not None
            and re.search(self.query, asked) is not None
        )

    def prevents(self, other: Difference) -> bool:
        return self is not other and any(re.fullmatch(pattern, other.rule) for pattern in self.hides)


class Served:
    """Answers requests in a thread of its own."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="different", daemon=True)
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        self.url = f"http://{host}:{port}"

    async def answer(self, request: web.Request) -> web.Response:
        raise NotImplementedError

    async def _start(self) -> int:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self.answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return int(self._runner.addresses[0][1])

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _stop(self) -> None:
        await self._session.close()
        await self._runner.cleanup()


class DifferentService(Served):
    """A proxy before the service at *inner*."""

    def __init__(self, inner: str, differences: Sequence[Difference] = (), host: str = "127.0.0.1") -> None:
        self._inner = inner
        self.differences = list(differences)
        self._met: dict[int, int] = {}
        super().__init__(host)

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with self._session.request(
            request.method,
            f"{self._inner}{request.raw_path}",
            headers=headers,
            data=io.BytesIO(await request.read()),
            allow_redirects=False,
        ) as answer:
            kept = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in _HOP)
            passing = Passing(
                request.method, request.path, request.query, request.headers, answer.status, kept,
                (await answer.read()).replace(self._inner.encode(), self.url.encode()), 0,
            )  # fmt: skip
        for one in self.differences:
            if one.meets(passing):
                passing.number = self._met.get(id(one), 0)
                self._met[id(one)] = passing.number + 1
                one.change(passing)
        self.passed(passing)
        return web.Response(status=passing.status, headers=passing.headers, body=passing.body)

    def passed(self, passing: Passing) -> None:
        """Notice an answer."""
