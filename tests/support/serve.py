"""A service in a process of its own: ``serve.py DATA PORT CONFIG AT WHEN``; tells its address as JSON.

With AT above 0 it is killed ``before`` or ``after`` its AT-th request.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial
from typing import Any

from aiohttp import web

from tests.support.store_front import serve_fronted
from vi.server import ServiceConfig, serve


def kill(pid: int) -> None:
    """End a process as a power cut does."""
    os.kill(pid, 9)


async def main(data: str, port: str, config: str, at: str, when: str) -> None:
    left = int(at)

    @web.middleware
    async def die(request: web.Request, handler: Any) -> web.StreamResponse:
        nonlocal left
        left -= 1
        if left == 0 and when == "before":
            kill(os.getpid())
        answer: web.StreamResponse = await handler(request)
        if left <= 0 < int(at):
            kill(os.getpid())
        return answer

    settings = ServiceConfig(**json.loads(config))
    start = serve if settings.store is None else partial(serve_fronted, serve)
    async with await start(data, port=int(port), config=settings, middlewares=[die]) as service:
        told = {"url": service.url, "secret_key": service.secret_key, "organization_id": service.organization_id}
        print(json.dumps(told), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
