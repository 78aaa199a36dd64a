"""What the service itself says of an arrived file: its size, digests and type by content.

A decoder may have been taken over by a file before: nothing that it says counts here. Files are read in threads, which
hash without holding up the event loop, and are handed on as open descriptors.

Order matters for the verdict: what is wrong on the way (size, then checksum) is said before what is wrong with the
content. Content that does not begin as what was announced is EBADMIME, as the SDK says before it sends it. What begins
so and cannot be read to its end is ECORRUPT; what is sound and too large to be decoded is EBADSIZE.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import sys
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from ... import _checksums, _media
from ...codes import FileCode
from ...errors import ViServerError
from ..disk.own import open_object
from . import declared
from .declared import Declared
from .frames import InspectionJob, RefusedError, Verdict

_PIECE = 1 << 20
_HEAD = 1 << 16
_GROUP_BYTES = 4 << 20
"""Bytes that are worth a hop to a thread."""
_AT_ONCE = 256 << 10
"""Bytes of a file that the event loop reads and hashes itself, if the page cache has them.

Up to about there a thread costs more than the file: each of its calls has to get the interpreter back from the loop.
"""
_NOWAIT = getattr(os, "RWF_NOWAIT", None)
_KNOWN_TYPES = frozenset({*_media.IMAGE_TYPES.values(), *_media.VIDEO_TYPES.values()})
_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class InspectionUnavailableError(ViServerError):
    """No file can be looked at just now, or the inspector is closed; it says nothing about the files."""


@attrs.define(eq=False)
class Measured:
    """A file with the service's own figures; *file* is open at its beginning if a decoder is to look at it as well.

    *declared* is what its header says then; None if that cannot be told.
    """

    job: InspectionJob
    verdict: Verdict
    file: io.FileIO | None = None
    declared: Declared | None = None

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()


class _NotCachedError(Exception):
    """The page cache does not hold all of a file."""


class Measurer:
    """Reads files: small ones that the page cache holds at once, others in threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="vi-measure")
        self._stops: set[threading.Event] = set()

    async def measure(self, jobs: Sequence[InspectionJob]) -> AsyncGenerator[Measured]:
        """Yield each job with its figures, in order; raises `InspectionUnavailableError`. Who takes one closes it."""
        begin = spent = 0
        while begin < len(jobs):
            if (small := _measure_now(jobs[begin])) is not None:
                spent += small.job.size
                begin += 1
                yield small
                if spent >= _AT_ONCE:
                    spent = 0
                    await asyncio.sleep(0)
                continue
            end, total = begin + 1, jobs[begin].size
            while end < len(jobs) and (total := total + jobs[end].size) <= _GROUP_BYTES:
                end += 1
            for measured in await self._hop(jobs[begin:end]):
                yield measured
            begin = end

    async def _hop(self, jobs: Sequence[InspectionJob]) -> list[Measured]:
        stop = threading.Event()
        self._stops.add(stop)
        future = asyncio.get_running_loop().run_in_executor(self._pool, _measure_all, jobs, stop)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stop.set()
            future.add_done_callback(_drop)
            raise
        finally:
            self._stops.discard(stop)

    def stop(self) -> None:
        """Let everything that is being read end with `InspectionUnavailableError`."""
        for stop in self._stops:
            stop.set()

    async def aclose(self) -> None:
        """Wait for the threads."""
        await asyncio.to_thread(self._pool.shutdown)


def _drop(future: asyncio.Future[list[Measured]]) -> None:
    if not future.cancelled() and future.exception() is None:
        for measured in future.result():
            measured.close()


def _measure_all(jobs: Sequence[InspectionJob], stop: threading.Event) -> list[Measured]:
    done: list[Measured] = []
    try:
        for job in jobs:
            done.append(measure(job, stop))
    except BaseException:
        for measured in done:
            measured.close()
        raise
    return done


def _measure_now(job: InspectionJob) -> Measured | None:
    """Measure a small file without waiting for the disk; None for any other."""
    if job.size > _AT_ONCE or _NOWAIT is None or not _checksums.is_fast():
        return None
    try:
        return measure(job, cached=True)
    except _NotCachedError:
        return None


def measure(job: InspectionJob, stop: threading.Event | None = None, *, cached: bool = False) -> Measured:
    """Read a file; never raises for what it holds, and `InspectionUnavailableError` once *stop* is set.

    Only if it is *cached*: raises `_NotCachedError` for one that is not.
    """
    verdict = Verdict(None, None, 0, mime=job.mime)
    try:
        file = open_object(job.path)
    except OSError as error:
        if error.errno in _SHORT:
            raise InspectionUnavailableError(f"No file can be opened: {error.strerror}.") from None
        return Measured(job, _unreadable(verdict, error))
    try:
        verdict = Verdict(None, None, file.seek(0, io.SEEK_END), mime=job.mime)
        _check_size(job, verdict.size)
        file.seek(0)
        if cached:
            crc, digest, head = _read_cached(file, verdict.size)
        else:
            crc, digest, head = _read(file, verdict.size, stop or threading.Event())
        if job.crc32c is not None and _checksums.to_unsigned(job.crc32c) != crc:
            raise RefusedError(FileCode.ECORRUPT, "The bytes do not match the announced CRC32C.")
        _check_family(job, head)
        verdict = Verdict(None, None, verdict.size, crc, digest, job.mime)
        if job.kind == "Video":
            file.close()
            return Measured(job, verdict)
        says = declared.read(_media.family_of(job.mime), head, file)
        file.seek(0)
    except RefusedError as refused:
        file.close()
        return Measured(job, attrs.evolve(verdict, error=refused.code, message=refused.message))
    except OSError as error:
        file.close()
        return Measured(job, _unreadable(verdict, error))
    except BaseException:
        file.close()
        raise
    return Measured(job, verdict, file, says)


def _unreadable(verdict: Verdict, error: OSError) -> Verdict:
    return attrs.evolve(verdict, error=FileCode.EUNKNOWN, message=f"The stored bytes cannot be read: {error.strerror}.")


def _read(file: io.FileIO, size: int, stop: threading.Event) -> tuple[int, str, memoryview]:
    """Return CRC32C, SHA-256 and the first bytes, which are all of a small file."""
    crc, digest, head = 0, hashlib.sha256(), memoryview(b"")
    buffer = bytearray(_PIECE if size > _PIECE else size)
    view = memoryview(buffer)
    while length := file.readinto(buffer):
        if stop.is_set():
            raise InspectionUnavailableError("The inspector is closed.")
        piece = view[:length]
        head = head or (piece if size <= _PIECE else memoryview(bytes(piece[:_HEAD])))
        crc = _checksums.crc32c(piece, crc)
        digest.update(piece)
    return crc, digest.hexdigest(), head


def _read_cached(file: io.FileIO, size: int) -> tuple[int, str, memoryview]:
    """Do as `_read` does for a small file, if the page cache holds it."""
    data = bytearray(size)
    try:
        if sys.platform == "win32" or os.preadv(file.fileno(), [data], 0, _NOWAIT or 0) != size:
            raise _NotCachedError
    except OSError:  # not cached, or a file system without this call
        raise _NotCachedError from None
    return _checksums.crc32c(data), hashlib.sha256(data).hexdigest(), memoryview(data)


def _check_size(job: InspectionJob, size: int) -> None:
    if size == 0:
        raise RefusedError(FileCode.EBADSIZE, "The file is empty.")
    if size != job.size:
        raise RefusedError(FileCode.EBADSIZE, f"{job.size} bytes were announced, {size} arrived.")
    if size > (limit := _media.size_limit(job.kind)):
        raise RefusedError(FileCode.EBADSIZE, f"The file has {size} bytes; the limit is {limit}.")
    if job.mime not in _KNOWN_TYPES:
        raise RefusedError(FileCode.EBADMIME, f"Files of type {job.mime[:80]!r} are not accepted.")
    if (job.kind == "Video") != (_media.family_of(job.mime) == "video"):
        raise RefusedError(FileCode.EBADMIME, f"The type {job.mime} does not belong to the kind {job.kind[:80]}.")


def _check_family(job: InspectionJob, head: memoryview) -> None:
    announced, found = _media.family_of(job.mime), _media.sniff(bytes(head[: _media.SNIFF_BYTES]))
    if found is None:
        raise RefusedError(FileCode.EBADMIME, f"The content is not {job.mime}, nor any other supported type.")
    if found != announced:
        raise RefusedError(FileCode.EBADMIME, f"The file was announced as {job.mime} but holds {found} data.")
