"""A service in a process of its own: ``serve.py DATA PORT CONFIG``; prints its address as JSON, ends with stdin."""

from __future__ import annotations

import asyncio
import json
import sys

from vi.server import ServiceConfig, serve


async def main(data: str, port: int, config: str) -> None:
    settings = ServiceConfig(**json.loads(config))
    async with await serve(data, port=port, config=settings) as service:
        told = {"url": service.url, "secret_key": service.secret_key, "organization_id": service.organization_id}
        print(json.dumps(told), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
