"""The body of one attempt at an upload: of known length, built again for each attempt, in big pieces.

A range of a file on a plain connection that takes bytes quickly is handed to the kernel (`os.sendfile`) and is not
copied here. It is hashed in a thread first, which also brings it into the page cache, so that the loop never waits for
the disk. On a slow line, over TLS, and where the last piece must be held back until the checksum is known, pieces are
read and written.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from .. import _checksums
from .minimum_rate import MinimumRate
from .outcomes import SourceChangedError, SourceFailedError
from .sources.local import PathSource, Source

AHEAD = 4 << 20
SEAM = 64 << 10
QUICK_BYTES_PER_SECOND = 16 << 20

_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EOVERFLOW})
"""What a file system answers whose files the kernel cannot send."""


class Body(Payload):
    """The body of one attempt. *broken* is why its source could not be read to the end, *left* what was not sent."""

    _default_content_type = "application/octet-stream"
    _autoclose = True

    def __init__(self, value: Any, size: int) -> None:
        super().__init__(value)
        self._size = size
        self.left = size
        self.rate: MinimumRate | None = None
        self.broken: Exception | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a body is not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)


class BytesBody(Body):
    """Bytes in memory as a request body."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        super().__init__(data, len(data))

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if self.rate is not None:
            self.rate.moved(len(self._value))
        self.left = 0
        await writer.write(self._value)


class SourceBody(Body):
    """A range of a source. With *expected_crc*, a body whose checksum is another is never sent to its end."""

    def __init__(self, source: Source, start: int, end: int, *, expected_crc: int | None = None) -> None:
        super().__init__(source, end - start)
        self._source = source
        self._start = start
        self._end = end
        self._expected_crc = expected_crc
        self._kernel_can = True
        self.crc32c = 0
        """Of what has been read; it is that of the whole range before the last of it is sent."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        try:
            if self._expected_crc is not None:
                await self._send_checked(writer, self._expected_crc)
            else:
                await self._send(writer)
        except (SourceChangedError, SourceFailedError, OSError) as error:
            if not isinstance(error, ConnectionError):
                self.broken = error
            raise

    async def _send_checked(self, writer: AbstractStreamWriter, expected: int) -> None:
        """Hold back the last piece until the checksum is known to be right: a body that is short never counts."""
        crc, held = 0, memoryview(b"")
        async with aclosing(self._pieces(self._start)) as pieces:
            async for piece in pieces:
                self.crc32c = crc = _checksums.crc32c(piece, crc)
                if held:
                    await self._write(writer, held)
                held = memoryview(piece)
        if crc != expected:
            raise SourceChangedError(f"{self._source.label} has changed since it was prepared")
        if held:
            await self._write(writer, held)

    async def _send(self, writer: AbstractStreamWriter) -> None:
        crc, at = 0, self._start
        began, kernel = time.monotonic(), _takes_files(writer, self._source)
        async with aclosing(self._pieces(at)) as pieces:
            async for piece in pieces:
                self.crc32c = crc = _checksums.crc32c(piece, crc)
                await self._write(writer, piece)
                at += len(piece)
                if kernel and len(piece) / QUICK_BYTES_PER_SECOND > time.monotonic() - began:
                    break
                began = time.monotonic()
        if at < self._end:
            await self._send_by_kernel(writer, at, crc)

    async def _send_by_kernel(self, writer: AbstractStreamWriter, at: int, crc: int) -> None:
        if sys.platform == "win32":
            raise NotImplementedError
        assert isinstance(self._source, PathSource)
        transport = writer.transport
        assert transport is not None
        sock = transport.get_extra_info("socket")
        # Waiting for the transport then means waiting until the kernel has everything.
        transport.set_write_buffer_limits(high=0)
        try:
            async with self._source.reading() as reading:
                hashing = reading.crc32c(at, min(at + AHEAD, self._end), crc)
                while at < self._end:
                    upto = min(at + AHEAD, self._end)
                    self.crc32c = crc = await self._off_the_wire(asyncio.shield(hashing))
                    if upto < self._end:
                        hashing = reading.crc32c(upto, min(upto + AHEAD, self._end), crc)
                    while at < upto:
                        # What a full socket leaves is waited for behind a little that goes through the transport.
                        seam = os.pread(reading.descriptor, min(SEAM, upto - at), at)
                        if not seam:
                            raise SourceChangedError(f"{self._source.label} has become shorter")
                        at += len(seam)
                        await self._write(writer, seam)
                        await writer.drain()
                        if transport.is_closing():
                            raise ConnectionResetError
                        at = self._fill(sock, reading.descriptor, at, upto)
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits()

    def _fill(self, sock: Any, descriptor: int, at: int, upto: int) -> int:
        """Hand the kernel what it takes at once; return how far that reaches."""
        if sys.platform == "win32":
            raise NotImplementedError
        while at < upto and self._kernel_can:
            try:
                sent = os.sendfile(sock.fileno(), descriptor, at, upto - at)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno in _CANNOT:
                    self._kernel_can = False
                    break
                if error.errno == errno.EIO:
                    raise
                # The file has just been read: this is the connection's, which is not always a ConnectionError.
                raise ConnectionResetError(error.errno, error.strerror) from None
            if not sent:
                raise SourceChangedError(f"{self._source.label} has become shorter")
            at += sent
            self.left -= sent
            if self.rate is not None:
                self.rate.moved(sent)
        return at

    async def _write(self, writer: AbstractStreamWriter, piece: Any) -> None:
        if self.rate is not None:
            self.rate.moved(len(piece))
        self.left -= len(piece)
        await writer.write(piece)

    async def _pieces(self, at: int) -> AsyncGenerator[bytes | memoryview]:
        async with aclosing(self._source.chunks(at, self._end)) as pieces:
            while True:
                try:
                    piece = await self._off_the_wire(anext(pieces))
                except StopAsyncIteration:
                    return
                yield piece

    async def _off_the_wire(self, work: Any) -> Any:
        """Wait for the source; the time that takes is not the network's."""
        if self.rate is not None:
            self.rate.pause()
        try:
            return await work
        finally:
            if self.rate is not None:
                self.rate.resume()


def _takes_files(writer: AbstractStreamWriter, source: Source) -> bool:
    """Tell whether the kernel can send a file on this connection: no TLS, no compression, a socket of its own."""
    transport = writer.transport
    return (
        isinstance(source, PathSource)
        and sys.platform != "win32"
        and hasattr(os, "sendfile")
        and hasattr(os, "preadv")
        and transport is not None
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )
