"""A TCP relay that delivers everything half a round trip later, in each direction, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections import deque
from collections.abc import Iterator

from neutral import _wait_for, free_port

WINDOW = 8 << 20


class Relay(asyncio.Protocol):
    """One direction of one connection."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes] = deque()
        self._held = 0
        self.transport: asyncio.Transport | None = None
        self.other: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._waiting.append(data)
        self._held += len(data)
        if self._held > WINDOW and self.transport is not None:
            self.transport.pause_reading()
        self._loop.call_later(self._delay, self._deliver)

    def _deliver(self) -> None:
        data = self._waiting.popleft()
        self._held -= len(data)
        if self.other is not None and not self.other.is_closing():
            self.other.write(data)
        if self._held <= WINDOW and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self._loop.call_later(self._delay, self.other.close)


class Front(Relay):
    """The client's side: its connection to the target takes a round trip, as a real one does."""

    def __init__(self, delay: float, port: int) -> None:
        super().__init__(delay)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._task = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        await asyncio.sleep(2 * self._delay)
        back, protocol = await self._loop.create_connection(lambda: Relay(self._delay), "127.0.0.1", self._port)
        protocol.other = self.transport
        self.other = back
        assert self.transport is not None
        self.transport.resume_reading()


def _serve(listen: int, port: int, round_trip: float) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Front(round_trip / 2, port), "127.0.0.1", listen, backlog=1024)
        await asyncio.Event().wait()

    asyncio.run(main())


@contextlib.contextmanager
def far_away(address: str, round_trip: float) -> Iterator[str]:
    """Yield an address that leads to *address* with *round_trip* seconds between."""
    listen = free_port()
    target = int(address.rpartition(":")[2])
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(listen, target, round_trip), daemon=True
    )
    process.start()
    try:
        _wait_for(listen)
        yield f"http://127.0.0.1:{listen}"
    finally:
        process.terminate()
        process.join()
