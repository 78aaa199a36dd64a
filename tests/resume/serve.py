"""A service that dies: ``serve.py DATA PORT AT WHEN`` is killed ``before`` or ``after`` its AT-th request.

With AT 0 it lives until its input ends. It prints a line when it listens.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from aiohttp import web

from tests.resume.stage import PART_BYTES, kill
from vi.server import ServiceConfig, serve


async def main(data: str, port: str, at: str, when: str) -> None:
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

    config = ServiceConfig(part_bytes=PART_BYTES)
    async with await serve(data, port=int(port), config=config, middlewares=[die]) as service:
        told = {"url": service.url, "secret_key": service.secret_key, "organization_id": service.organization_id}
        print(json.dumps(told), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
