"""Fetching one object, or a range of it, in order and piece by piece, for a reader that sets the pace.

Nothing runs between two reads: what the reader leaves alone waits in the socket, so memory is bounded by one piece. A
broken stream resumes at the next byte, pinned to the first answer's ETag. A whole object's digest is checked before its
last piece is handed out, so a reader that got every byte has the right ones.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import aiohttp
import attrs

from .._checksums import Expected
from ..codes import FileCode
from .download import Exchange, is_range
from .minimum_rate import BYTES_PER_SECOND, MinimumRate
from .outcomes import ChangedError, StartOverError, TransferFailed

READ_BUFFER = 256 << 10


@attrs.define(eq=False)
class ObjectStream(Exchange):
    """The bytes of one object from *at* up to but excluding *end*."""

    at: int = 0
    end: int = 0
    _response: aiohttp.ClientResponse | None = attrs.field(default=None, init=False)
    _held: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)
    _check: Expected | None = attrs.field(default=None, init=False)
    _given: bool = attrs.field(default=False, init=False)
    _piece: bytes = attrs.field(default=b"", init=False)
    _waited: float = attrs.field(default=0.0, init=False)
    _arrived: int = attrs.field(default=0, init=False)

    @property
    def connected(self) -> bool:
        """Whether a connection is held that must be released."""
        connection = self._response.connection if self._response is not None else None
        return connection is not None and connection.transport is not None and not connection.transport.is_closing()

    async def next(self) -> bytes:
        """Return the next piece as it comes from the wire, empty at the end.

        Raises `TransferFailed`, or `TargetGone` when the object is gone.
        """
        if self.at >= self.end:
            await self.aclose()
            return b""
        if self._response is None and not self._given:
            self.storage.count_attempt()
        try:
            await self._retrying(self._receive)
        except BaseException:
            await self.aclose()
            raise
        self._given = True
        self.at += len(self._piece)
        return self._piece

    async def aclose(self) -> None:
        """Release the connection without waiting for the rest."""
        response, self._response = self._response, None
        if response is not None and not response.content.at_eof():
            response.close()
        held, self._held = self._held, AsyncExitStack()
        await held.aclose()

    async def _receive(self, rate: MinimumRate) -> None:
        """Take one piece from the wire, and check it when it is the last."""
        try:
            if self._response is None:
                await self._connect()
            rate.begin()
            await self._read_piece()
        except StartOverError:
            await self.aclose()
            if self._given:
                raise TransferFailed(
                    FileCode.ECHANGED, "The asset was replaced while it was read.", self.remote.attempts
                ) from None
            self.etag = None
            raise ChangedError from None
        except BaseException:
            await self.aclose()
            raise

    async def _connect(self) -> None:
        whole = self.at == 0 and self.end == self.remote.size
        headers = {}
        if not whole:
            headers["Range"] = f"bytes={self.at}-{self.end - 1}"
            if self.etag:
                headers["If-Match"] = self.etag
        pinned = self.etag
        response = await self._held.enter_async_context(
            self.storage.get(self.remote.transfer, headers=headers, read_buffer=READ_BUFFER)
        )
        self._response = response
        self.storage.connections.close_with(response)
        status = self._accept(response, 206 if headers else 200)
        if status == 206 and not is_range(response, self.at, self.end):
            raise ChangedError
        self._pin(response)
        if whole and not self._given:
            self._check = self._expected(response)
        if status == 200 and not whole:
            # A storage without ranges sends everything: what is not wanted is read and dropped.
            if self._given and self.etag != pinned:
                raise StartOverError
            await self._drop(response, self.at)

    async def _drop(self, response: aiohttp.ClientResponse, count: int) -> None:
        while count:
            data = await self._any(response, count)
            count -= len(data)

    async def _read_piece(self) -> None:
        assert self._response is not None
        room = self.end - self.at
        piece = await self._any(self._response, READ_BUFFER)
        if len(piece) > room:
            if self.end == self.remote.size:
                raise ChangedError
            piece = piece[:room]
        if self._check is not None:
            self._check.update(piece)
            if len(piece) == room and not self._check.matches():
                if self._given:
                    raise TransferFailed(
                        FileCode.ECORRUPT,
                        f"The received bytes do not have the announced {self._check.algorithm}.",
                        self.remote.attempts,
                    )
                raise ChangedError
        self._piece = piece

    async def _any(self, response: aiohttp.ClientResponse, limit: int) -> bytes:
        """Read up to *limit* bytes, at least one; a trickle below the minimum rate is a time-out."""
        began = time.monotonic()
        data = await response.content.read(limit)
        self._waited += time.monotonic() - began
        self._arrived += len(data)
        stall = self.storage.settings.timeouts.stall
        if self._waited >= stall:
            slow = self._arrived < BYTES_PER_SECOND * self._waited
            self._waited, self._arrived = 0.0, 0
            if slow:
                raise TimeoutError
        if not data:
            raise ChangedError  # shorter than announced
        return data
