"""Disconnect clients that stop reading."""

from __future__ import annotations

import asyncio

from aiohttp import web


async def watch_readers(server: web.Server, seconds: float) -> None:
    """Cut connections on which nothing that waits to be sent has gone for *seconds*; runs until it is cancelled."""
    loop = asyncio.get_running_loop()
    waiting: dict[asyncio.WriteTransport, tuple[int, float]] = {}
    while True:
        await asyncio.sleep(seconds / 4)
        now, before, waiting = loop.time(), waiting, {}
        for connection in server.connections:
            transport = connection.transport
            if transport is None or not (size := transport.get_write_buffer_size()):
                continue
            last, since = before.get(transport, (size, now))
            if size != last:
                since = now
            if now - since >= seconds:
                transport.abort()
            else:
                waiting[transport] = size, since
