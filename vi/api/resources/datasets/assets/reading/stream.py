"""`client.assets.open`: the bytes of one asset, read at the caller's pace.

`AssetStream` asks the service once when it is opened and the storage at the first read; `AssetFile` is the same as a
file object. Both renew an expired URL and resume a broken connection where it broke.
"""

from __future__ import annotations

import contextlib
import io
import operator
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from ......_checks import must_be
from ......_closing import AsyncClosing, Opening
from ......_redact import brief
from ......_transfer.download import RemoteFile
from ......_transfer.outcomes import TargetGone, TransferFailed
from ......_transfer.storage import Storage
from ......_transfer.streaming import ObjectStream
from ......codes import FileCode
from ......errors import (
    ViDownloadError,
    ViError,
    ViInvalidParameterError,
    ViNetworkError,
    ViNotFoundError,
    ViOperationError,
    ViTimeoutError,
)
from .....pagination import Run
from ..calls import AssetCalls
from ..download.remote_files import renew
from ..responses import Asset
from .one import OneAsset

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class AssetStream(AsyncClosing):
    """The bytes of an asset from *start* up to but excluding *end*, as an asynchronous iterator of pieces.

    Bytes are requested as they are read. Read whole and in order from its first byte, an asset is compared with its
    digest before the last piece is given; a damaged one is a `ViDownloadError` and never complete. After a read
    that failed, the next one continues where it began.
    """

    def __init__(self, calls: AssetCalls, storage: Storage, asset: Asset, remote: RemoteFile) -> None:
        self._calls = calls
        self._storage = storage
        self._remote = remote
        self.asset = asset
        self.size: int = remote.size
        """Bytes of the whole asset."""
        self.content_type: str = asset.metadata.mime_type or "application/octet-stream"
        self.start: int = 0
        self.end: int = remote.size
        self._rest = b""
        self._closed = False
        self._stream = self._begin(0, remote.size)

    @classmethod
    async def open(cls, calls: AssetCalls, storage: Storage, one: OneAsset, start: int, end: int | None) -> AssetStream:
        """Ask for an asset, unless it is at hand with a fresh URL; `ViNotFoundError` if there is none."""
        try:
            asset, remote = await one.ready(calls, storage)
        except TransferFailed as problem:
            raise ViDownloadError(
                f"{one.filename or one.asset_id}: {problem.message}", error_code=problem.code
            ) from None
        stream = cls(calls, storage, asset, remote)
        await stream.select(start, end)
        return stream

    @property
    def etag(self) -> str | None:
        """A strong HTTP entity tag of the content, made from its digest; None if the service states none."""
        digest = self.asset.metadata.hash
        return f'"{digest.algorithm}-{digest.contents}"' if digest.contents.isalnum() else None

    @property
    def connected(self) -> bool:
        """Whether a connection is open that closing releases."""
        return self._stream.connected

    async def select(self, start: int = 0, end: int | None = None) -> None:
        """Continue with the bytes from *start* up to but excluding *end* (the end of the asset if None)."""
        start, end = check_range(start, end, self.size)
        await self._stream.aclose()
        self._rest = b""
        self.start, self.end = start, end
        self._stream = self._begin(start, end)

    async def read(self, size: int | None = -1) -> bytes:
        """Return exactly *size* bytes, fewer only at the end and none after it; all that is left if negative or None.

        So fewer bytes than *size* mean that the asset, or the range, has ended. Iterate instead to take pieces as they
        come. A read that fails or is cancelled loses nothing: the next one begins where it began.
        """
        pieces: list[bytes] = []
        left = size = -1 if size is None else operator.index(size)
        try:
            while left and (piece := await self.read_some(left)):
                pieces.append(piece)
                left -= len(piece) if size > 0 else 0
        except BaseException:
            self._rest = b"".join([*pieces, self._rest])
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill *buffer* and return how many bytes it got, fewer than it has room for only at the end."""
        view = memoryview(buffer).cast("B")
        data = await self.read(len(view))
        view[: len(data)] = data
        return len(data)

    async def read_some(self, size: int = -1) -> bytes:
        """Return the next piece as it came: at least one byte, at most *size* if that is positive; empty at the end."""
        if not self._rest:
            self._rest = await self._next()
        if not 0 < size < len(self._rest):
            given, self._rest = self._rest, b""
        else:
            given, self._rest = self._rest[:size], self._rest[size:]
        return given

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := self._rest or await self._next():
            self._rest = b""
            yield piece

    async def aclose(self) -> None:
        """Release the connection; reading is over. Closing twice is allowed."""
        self._closed = True
        self._rest = b""
        await self._stream.aclose()

    def __repr__(self) -> str:
        return f"AssetStream({self.asset.filename!r}, start={self.start}, end={self.end}, size={self.size})"

    def _begin(self, start: int, end: int) -> ObjectStream:
        return ObjectStream(self._remote, self._storage, self._renew, start, end)

    async def _renew(self, remote: RemoteFile) -> None:
        await renew(self._calls, remote)

    async def _next(self) -> bytes:
        name = self.asset.filename
        if self._closed:
            raise ViOperationError(f"{name}: the stream is closed.")
        try:
            return await self._stream.next()
        except TransferFailed as problem:
            raise error_of(problem, name) from None
        except TargetGone:
            raise gone(name) from None


def gone(name: str) -> ViNotFoundError:
    """Return the error for an asset that has been deleted."""
    return ViNotFoundError(f"{name}: the asset is gone.", status_code=404)


def error_of(problem: TransferFailed, name: str) -> ViError:
    """Return the error by which a caller learns what failed at the asset *name*."""
    message = f"{name}: {problem.message}"
    if problem.code == FileCode.ETIMEOUT:
        return ViTimeoutError(message)
    if problem.code == FileCode.ENETWORK:
        return ViNetworkError(message)
    return ViDownloadError(message, error_code=problem.code)


def check_range(start: int, end: int | None, size: int) -> tuple[int, int]:
    """Return a range within *size* bytes; an *end* beyond it means all the rest."""
    for name, value in (("start", start), ("end", end)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (name == "end" and value is None)) or (value is not None and value < 0):
            raise must_be(name, "a number of bytes, 0 or more", value)
    end = size if end is None else min(end, size)
    if start > end:
        raise ViInvalidParameterError(
            f"start must not be behind the end: {start} of {end} bytes were asked for.", parameter="start"
        )
    return start, end


class AssetOpening(Opening[AssetStream]):
    """An asset about to be opened: enter it, or await it and close the stream yourself."""


class AssetFile(io.BufferedReader):
    """The bytes of an asset, or of the range asked for, as a binary file opened for reading.

    It is what ``open(path, "rb")`` returns: reads are filled, and ``peek``, ``readinto`` and lines work. Positions
    count from the beginning of the range. A seek out of the buffer costs a request once something is read there. A read
    that fails moves nothing: the position is where it was.
    """

    def __init__(self, stream: AssetStream, run: Run) -> None:
        super().__init__(_RawAsset(stream, run), BUFFER)
        self.asset: Asset = stream.asset
        self.size: int = stream.size
        """Bytes of the whole asset."""
        self.content_type: str = stream.content_type
        self.etag: str | None = stream.etag

    @classmethod
    def of(cls, opening: AssetOpening, run: Run) -> AssetFile:
        """Open an asset and return it as a file."""
        return cls(run(opening._open), run)

    def read(self, size: int | None = -1, /) -> bytes:
        with self._unmoved_by_failure():
            return super().read(size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with self._unmoved_by_failure():
            return super().readinto(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        with self._unmoved_by_failure():
            return super().readline(size)

    @contextlib.contextmanager
    def _unmoved_by_failure(self) -> Iterator[None]:
        """Go back where a read began that took some pieces and failed at the next: they are not lost."""
        at = self.tell()
        try:
            yield
        except BaseException:
            if not self.closed:
                self.seek(at)
            raise

    def __repr__(self) -> str:
        return f"AssetFile({self.asset.filename!r}, size={self.size})"


class _RawAsset(io.RawIOBase):
    """What an `AssetFile` buffers: reads give what has come."""

    def __init__(self, stream: AssetStream, run: Run) -> None:
        self._stream = stream
        self._run = run
        self._start, self._end = stream.start, stream.end
        self._at = 0
        self._piece = memoryview(b"")
        self._piece_at = 0
        """Where the piece at hand begins."""
        self._damage: ViDownloadError | None = None
        self.name: str = stream.asset.filename
        self.mode = "rb"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Give what has come, as far as *buffer* has room; 0 at the end."""
        self._check_open()
        view = memoryview(buffer).cast("B")
        if not view or self._at >= self._end - self._start:
            return 0
        if not self._piece_at <= self._at < self._piece_at + len(self._piece):
            self._fetch()
        offset = self._at - self._piece_at
        part = self._piece[offset : offset + len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def readall(self) -> bytes:
        self._check_open()
        pieces: list[bytes | memoryview] = []
        while self._at < self._end - self._start:
            if not self._piece_at <= self._at < self._piece_at + len(self._piece):
                self._fetch(everything=True)
            pieces.append(self._piece[self._at - self._piece_at :])
            self._at += len(pieces[-1])
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._check_open()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end - self._start}.get(whence)
        if base is None:
            raise ValueError(f"whence must be 0, 1 or 2, got {brief(whence)}")
        if base + offset < 0:
            raise ValueError(f"the position {base + offset} is before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        self._check_open()
        return self._at

    def close(self) -> None:
        if not self.closed:
            self._piece = memoryview(b"")
            try:
                # A closed client has released it, and must not be started again.
                if self._stream.connected:
                    self._run(self._stream.aclose)
            finally:
                super().close()

    def _fetch(self, *, everything: bool = False) -> None:
        if self._damage is not None and self._at:
            raise self._damage  # reading past the damage would hide it
        self._damage = None
        if self._at != self._piece_at + len(self._piece):
            self._piece, self._piece_at = memoryview(b""), self._at
            self._run(lambda: self._stream.select(self._start + self._at, self._end))
        try:
            piece = self._run(self._stream.read if everything else self._stream.read_some)
        except ViDownloadError as error:
            self._damage = error
            self._piece, self._piece_at = memoryview(b""), -1
            raise
        self._piece, self._piece_at = memoryview(piece), self._at

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the asset is closed")


BUFFER = 64 << 10
