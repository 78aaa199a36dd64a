"""Where the bytes of an upload come from: a path, bytes in memory, an open file, or an asynchronous stream.

A source can be read again from any offset, so a retry never continues from where a broken attempt stopped. The one
exception is a stream of known size, which is sent once. What was read at preparation is remembered as a `Stamp`; a
file whose stamp or checksum has changed by the time it is sent is not stored.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import hashlib
import os
import stat
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import IO, Any, Literal, NamedTuple, Protocol, Self, TypeGuard, cast

import aiofiles.threadpool
import attrs

from ..._checksums import crc32c
from ..._media import SNIFF_BYTES, sniff
from ...errors import ViInvalidParameterError
from ..outcomes import SourceChangedError, SourceFailedError
from ..threads.descriptors import open_when_possible, when_possible
from ..threads.stopping import in_thread, to_end_in_thread

CHUNK = 1 << 20
HASHED_AT_ONCE = 256 << 10
SPOOL_IN_MEMORY = 8 << 20

_OPEN = (
    os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
)  # O_NONBLOCK: a pipe that took the file's place must not hang the open
_NOWAIT = getattr(os, "RWF_NOWAIT", None)


class Stamp(NamedTuple):
    """What tells whether a file is still the one that was prepared.

    Not its inode: some file systems give a file another number at each look. The checksum guards what is sent.
    """

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns)


@attrs.frozen
class Facts:
    """What examining a source found: size, CRC32C (None while unknown), what its first bytes show, and its stamp."""

    size: int
    crc32c: int | None
    family: str | None
    stamp: Stamp | None = None
    sha256: str | None = None
    """Where it was asked for, in hex."""
    data: bytes | bytearray | None = attrs.field(default=None, repr=False)
    """All of the file, where it was read at once or was to be kept."""


Reach = Literal["head", "crc32c", "digests"]
"""How much of a source is examined: its first bytes, or all of it for one digest or for every digest."""


class Digesting:
    """The digests of a source, which is read once."""

    __slots__ = ("_sha256", "crc32c", "family", "size")

    def __init__(self, reach: Reach) -> None:
        self.size = 0
        self.crc32c = 0
        self.family: str | None = None
        self._sha256 = hashlib.sha256() if reach == "digests" else None

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        if not self.size:
            self.family = sniff(bytes(data[:SNIFF_BYTES]))
        self.size += len(data)
        self.crc32c = crc32c(data, self.crc32c)
        if self._sha256 is not None:
            self._sha256.update(data)

    def facts(self, stamp: Stamp | None = None, data: bytes | bytearray | None = None) -> Facts:
        """Return what was found."""
        sha256 = self._sha256.hexdigest() if self._sha256 is not None else None
        return Facts(self.size, self.crc32c, self.family, stamp, sha256, data)


def shown(text: str) -> str:
    """Return *text* in a form that can always be printed."""
    return text.encode("utf-8", "backslashreplace").decode()


class Source(Protocol):
    """A named range of bytes that can be opened again at any offset."""

    label: str
    repeatable: bool

    async def examine(self, reach: Reach) -> Facts: ...

    def chunks(self, start: int, end: int) -> AsyncGenerator[bytes | memoryview]: ...

    async def still(self, stamp: Stamp | None) -> bool: ...

    def close(self) -> None:
        """Release what is held for the source; it is not read again."""
        ...


class PathSource:
    """A file on disk."""

    __slots__ = ("label", "path")
    repeatable = True

    def __init__(self, path: str, label: str | None = None) -> None:
        self.path = path
        self.label = label if label is not None else shown(path)

    async def examine(self, reach: Reach, *, keeps: bool = False) -> Facts:
        stop = threading.Event()
        try:
            return await in_thread(functools.partial(examine_path, self.path, reach, stop, keeps=keeps))
        finally:
            stop.set()

    def reading(self) -> Reading:
        """Return a block in which the file is open."""
        return Reading(self.path)

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes | memoryview]:
        async with self.reading() as reading:
            reading.file.seek(start)
            left = end - start
            ahead = reading.read(min(CHUNK, left)) if left else None
            while ahead is not None:
                data = await asyncio.shield(ahead)
                if not data:
                    raise SourceChangedError(f"{self.label} has become shorter")
                left -= len(data)
                ahead = reading.read(min(CHUNK, left)) if left else None
                yield data

    async def still(self, stamp: Stamp | None) -> bool:
        try:
            return stamp is None or Stamp.of(os.stat(self.path)) == stamp  # noqa: PTH116 - hot path
        except OSError:
            return False

    def close(self) -> None:
        """Nothing is held between readings."""


class Reading:
    """A file while it is read by threads, one piece at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._under_way: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Self:
        async def open_() -> IO[bytes]:
            # In this thread: a file opened in another is lost when the wait for it is cancelled.
            return os.fdopen(os.open(self._path, _OPEN), "rb", buffering=0)

        self.file = await when_possible(open_)
        self.descriptor = self.file.fileno()
        self._threaded = aiofiles.threadpool.wrap(self.file)
        return self

    async def __aexit__(self, *error: object) -> None:
        # A thread may still be reading: its descriptor must not become another file's before it is done.
        if self._under_way is None or self._under_way.done():
            self._close(self._under_way)
        else:
            self._under_way.add_done_callback(self._close)

    def _close(self, last: asyncio.Future[Any] | None) -> None:
        if last is not None and not last.cancelled():
            last.exception()  # the caller may be gone
        self.file.close()

    def read(self, count: int) -> asyncio.Future[bytes]:
        """Begin to read on; wait for it behind a shield, for the thread cannot be stopped."""
        future: asyncio.Future[bytes] = asyncio.ensure_future(self._threaded.read(count))
        self._under_way = future
        return future

    def crc32c(self, start: int, end: int, value: int) -> asyncio.Future[int]:
        """Begin to hash a range, continuing from *value*; it is in the page cache once that is done."""
        loop = asyncio.get_running_loop()
        future = self._under_way = loop.run_in_executor(None, _crc_of, self.descriptor, start, end, value)
        return future


def _crc_of(descriptor: int, start: int, end: int, value: int) -> int:
    if sys.platform == "win32":  # without `sendfile`, nobody asks
        raise NotImplementedError
    buffer = memoryview(bytearray(min(HASHED_AT_ONCE, end - start)))
    while start < end:
        count = os.preadv(descriptor, [buffer[: end - start]], start)
        if not count:
            raise SourceChangedError("a file has become shorter")
        value = crc32c(buffer[:count], value)
        start += count
    return value


def examine_path(path: str, reach: Reach, stop: threading.Event | None = None, *, keeps: bool = False) -> Facts:
    """Read a file once for its facts, and for all of its bytes if it *keeps* them or is small; blocking.

    Raises `OSError`, also for what is not a regular file.
    """
    descriptor = open_when_possible(path, _OPEN)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if reach == "head":
            return Facts(status.st_size, None, sniff(os.read(descriptor, SNIFF_BYTES)), Stamp.of(status))
        found = Digesting(reach)
        # A small file is read into memory of its own size, which the next file can take once it was sent.
        count = min(status.st_size + 1, CHUNK)
        first = b""
        whole = bytearray(status.st_size if keeps and status.st_size > CHUNK else 0)
        while data := os.read(descriptor, count):
            if whole:
                whole[found.size : found.size + len(data)] = data
            found.update(data)
            first = first or data
            if stop is not None and stop.is_set():
                raise OSError(errno.ECANCELED, "given up", path)
        if found.size != status.st_size:
            raise SourceChangedError(f"{path} changed while it was read")
        if len(first) == found.size:
            return found.facts(Stamp.of(status), first)
        return found.facts(Stamp.of(status), whole or None)
    finally:
        os.close(descriptor)


def read_cached(path: str, stamp: Stamp) -> bytearray | None:
    """Return a small file's bytes if the page cache holds them all, without ever waiting for the disk; else None.

    Raises `SourceChangedError` when the file is not the one that was prepared.
    """
    if sys.platform == "win32" or _NOWAIT is None:
        return None
    try:
        descriptor = os.open(path, _OPEN)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return None
        raise
    try:
        if Stamp.of(os.fstat(descriptor)) != stamp:
            raise SourceChangedError(f"{path} has changed")
        data = bytearray(stamp.size)
        try:
            count = os.preadv(descriptor, [data], 0, _NOWAIT)
        except OSError:  # not cached, or a file system without this call
            return None
        return data if count == stamp.size else None
    finally:
        os.close(descriptor)


def read_whole(path: str, stamp: Stamp) -> bytes:
    """Return a small file's bytes; blocking. Raises `SourceChangedError` when it is not the file that was prepared."""
    descriptor = open_when_possible(path, _OPEN)
    try:
        if Stamp.of(os.fstat(descriptor)) != stamp:
            raise SourceChangedError(f"{path} has changed")
        parts = []
        left = stamp.size
        while left > 0 and (data := os.read(descriptor, left)):
            parts.append(data)
            left -= len(data)
        if left:
            raise SourceChangedError(f"{path} has become shorter")
        return b"".join(parts)
    finally:
        os.close(descriptor)


class BytesSource:
    """Bytes in memory."""

    __slots__ = ("data", "label")
    repeatable = True

    def __init__(self, label: str, data: bytes | bytearray | memoryview) -> None:
        self.label = label
        self.data = memoryview(data).cast("B") if not isinstance(data, bytes) else memoryview(data)

    async def examine(self, reach: Reach) -> Facts:
        found = Digesting(reach)
        if len(self.data) > CHUNK:
            await to_end_in_thread(found.update, self.data)
        else:
            found.update(self.data)
        return found.facts()

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes | memoryview]:
        for at in range(start, end, CHUNK):
            yield self.data[at : min(at + CHUNK, end)]

    async def still(self, stamp: Stamp | None) -> bool:
        return True

    def close(self) -> None:
        """The caller's bytes stay the caller's."""


class FileObjectSource:
    """An open binary file that can seek. It is read from its beginning and left open; its position moves."""

    __slots__ = ("_file", "_lock", "label")
    repeatable = True

    def __init__(self, label: str, file: IO[bytes]) -> None:
        self.label = label
        self._file = file
        self._lock = threading.Lock()

    async def examine(self, reach: Reach) -> Facts:
        return await to_end_in_thread(self._examine, reach)

    def _examine(self, reach: Reach) -> Facts:
        found = Digesting(reach)
        while data := self._read(found.size, CHUNK):
            if not isinstance(data, bytes):
                raise ViInvalidParameterError(f"{self.label} is not open in binary mode.", parameter="paths")
            found.update(data)
        return found.facts()

    def _read(self, offset: int, count: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            return self._file.read(count)

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes | memoryview]:
        at = start
        while at < end:
            data = await to_end_in_thread(self._read, at, min(CHUNK, end - at))
            if not data:
                raise SourceChangedError(f"{self.label} has become shorter")
            at += len(data)
            yield data

    async def still(self, stamp: Stamp | None) -> bool:
        return True

    def close(self) -> None:
        """Leave the caller's file open."""


class StreamSource:
    """An asynchronous stream of bytes of known size. It can be sent once: an attempt that breaks cannot be repeated."""

    __slots__ = ("_pending", "_size", "_stream", "_used", "label")
    repeatable = False

    def __init__(self, label: str, stream: AsyncIterable[bytes], size: int) -> None:
        self.label = label
        self._stream = _guarded(label, stream)
        self._size = size
        self._pending: list[bytes] = []
        self._used = False

    async def examine(self, reach: Reach) -> Facts:
        head = b""
        async for data in self._stream:
            self._pending.append(data)
            head += data[: SNIFF_BYTES - len(head)]
            if len(head) >= SNIFF_BYTES:
                break
        return Facts(self._size, None, sniff(head))

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes | memoryview]:
        if start or self._used:
            raise SourceChangedError(f"{self.label} is a stream and can only be read once")
        self._used = True
        left = end
        for data in self._pending:
            left -= len(data)
            yield data
        self._pending.clear()
        async for data in self._stream:
            left -= len(data)
            if left < 0:
                raise SourceChangedError(f"{self.label} is longer than the {self._size} bytes announced")
            yield data
        if left:
            raise SourceChangedError(f"{self.label} ended {left} bytes short of the {self._size} announced")

    async def still(self, stamp: Stamp | None) -> bool:
        return True

    def close(self) -> None:
        """Drop what was read ahead."""
        self._pending.clear()


class SpooledSource(FileObjectSource):
    """A stream of unknown size, read when it is prepared: in memory up to 8 MiB, then in an unnamed temporary file."""

    __slots__ = ("_stream",)

    def __init__(self, label: str, stream: AsyncIterable[bytes]) -> None:
        super().__init__(label, cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY)))  # noqa: SIM115
        self._stream = _guarded(label, stream)

    async def examine(self, reach: Reach) -> Facts:
        held = 0
        async for data in self._stream:
            held += len(data)
            if held <= SPOOL_IN_MEMORY:
                self._file.write(data)
            else:
                await to_end_in_thread(self._file.write, data)
        return await super().examine(reach)

    def close(self) -> None:
        """Remove what was taken in."""
        self._file.close()

    def __del__(self) -> None:
        self._file.close()


async def _guarded(label: str, stream: AsyncIterable[Any]) -> AsyncIterator[bytes]:
    """Pass on what the caller's stream gives; what it raises becomes the failure of this file alone."""
    try:
        async for data in stream:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"it gave {type(data).__name__}, not bytes")
            yield bytes(data)
    except Exception as error:
        raise SourceFailedError(f"reading {label} failed: {str(error) or type(error).__name__}") from error


def is_seekable(file: Any) -> TypeGuard[IO[bytes]]:
    """Tell whether *file* is an open file that can be read again."""
    try:
        return bool(file.seekable())
    except (AttributeError, ValueError):
        return False
