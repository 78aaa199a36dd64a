"""Fetching one object into one file: verified while it is written, whole or not at all.

An object below the threshold comes in one stream, gathered to pieces of 1 MiB; a larger one in ranges, several at once,
all pinned to the first answer's ETag; one that an earlier download has begun is resumed. A broken stream resumes after
what has been written, if the object is still the same. A file gets its final name only after its size and digest are
verified.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable

import aiohttp
import anyio
import attrs

from .. import _checksums
from .._attempts import AGAIN, Again, Failed
from .._checksums import Expected
from .._connections import TRANSPORT_ERRORS, read_failure
from .._retry import FailureKind, read_retry_after
from ..codes import CUT_SHORT, FileCode
from ..config import TransferLimits
from . import byte_ranges, files
from .journals.downloads import KeptPart, PartJournal
from .minimum_rate import MinimumRate
from .open_folder import OpenFolder
from .outcomes import (
    ChangedError,
    NoRangesError,
    StartOverError,
    StatusRefused,
    TargetGone,
    TransferFailed,
    UrlExpired,
)
from .signed import SignedTransfer
from .storage import Storage, failed, refuse_encoding, refused
from .threads.descriptors import when_possible
from .threads.lanes import Lanes
from .threads.pool import TaskPool
from .threads.stopping import to_end_in_thread

logger = logging.getLogger("vi.transfer")

GATHER = 1 << 20
URL_RENEWALS = 3
DAMAGED_TRIES = 2
MANY_PIECES = 64

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@attrs.define(eq=False)
class RemoteFile:
    """An object to fetch: its announced size and digest, and where it is now."""

    asset_id: str
    filename: str
    size: int
    expected: Expected
    transfer: SignedTransfer
    attempts: int = 0
    counted: int = 0
    arrived: bool = False
    """Whether the file stands whole under its name; a lane sets it, so that it holds for a cancelled task too."""

    def advance(self, reached: int) -> int:
        """Return by how many bytes *reached* is further than ever, so that progress never goes back."""
        step = max(0, reached - self.counted)
        self.counted += step
        return step


Renew = Callable[[RemoteFile], Awaitable[None]]
"""Asks the service for the object again and gives it a fresh URL; raises `TargetGone` when it is gone."""


async def fetch(
    remote: RemoteFile,
    target: str,
    storage: Storage,
    lanes: Lanes,
    limits: TransferLimits,
    *,
    replace: bool,
    renew: Renew,
    moved: Callable[[int], None],
    parts: PartJournal,
) -> None:
    """Bring an object to *target*; *moved* is called with the bytes of each range of a large one.

    Raises `TransferFailed`, `TargetGone`, or the `OSError` of the disk; `FileExistsError` when the name was taken
    during the download and *replace* is false.
    """
    job = _Fetch(remote, storage, renew, target, lanes, limits, replace, moved, parts)
    storage.count_attempt()
    if remote.size >= limits.multipart_threshold:
        await job.in_ranges()
    else:
        await job.in_one()


@attrs.define(eq=False)
class Exchange:
    """Attempts at the bytes of one object: what each answer means, and when another is made."""

    remote: RemoteFile
    storage: Storage
    renew: Renew
    etag: str | None = attrs.field(default=None, init=False)

    async def _retrying(self, attempt: Callable[[MinimumRate], Awaitable[None]]) -> None:
        """Repeat *attempt* on cuts, time-outs, retried statuses, damage and expired URLs, within a limit for each."""
        renewals = 0
        changed = False

        async def once(number: int) -> Failed | Again | None:
            nonlocal renewals, changed
            if changed:
                changed = False
                await self._renew()  # the service tells whether the object was damaged on the way or replaced
            self.remote.attempts += 1
            transfer = self.remote.transfer
            try:
                if self.storage.near_expiry(transfer):
                    raise UrlExpired
                with self.storage.minimum_rate() as rate:
                    await attempt(rate)
                return None
            except StatusRefused as answer:
                return refused(transfer, answer.status, answer.retry_after, number)
            except (UrlExpired, TargetGone) as ended:
                # Gone may mean replaced: the service knows, and says so when it is asked for the URL again.
                renewals += 1
                if renewals > URL_RENEWALS:
                    if isinstance(ended, TargetGone):
                        raise
                    raise TransferFailed(FileCode.ETIMEOUT, "The download URL expired repeatedly.", number) from None
            except ChangedError:
                changed = True
                problem = TransferFailed(FileCode.ECORRUPT, "The received bytes are not the announced ones.", number)
                return Failed(problem, problem.message.rstrip("."), transfer.origin, kind=FailureKind.CUT)
            except TRANSPORT_ERRORS as error:
                if isinstance(error, OSError) and not isinstance(
                    error, (aiohttp.ClientError, TimeoutError, ConnectionError)
                ):
                    raise  # the disk's, not the wire's
                return failed(transfer, read_failure(error, transfer.url), number)
            await self._renew()
            return AGAIN

        attempts = self.storage.attempts_at(self.remote.transfer.origin)
        await attempts.make(once, method="GET", request=f"GET from {self.remote.transfer.url.host}")

    async def _renew(self) -> None:
        size, digest = self.remote.size, self.remote.expected.value
        await self.renew(self.remote)
        fresh = self.remote.expected.value
        # A digest that is stated now and was not before tells nothing of a change.
        if self.remote.size != size or (digest is not None and fresh is not None and fresh != digest):
            raise TransferFailed(
                FileCode.ECHANGED, "The asset was replaced while it was downloaded.", self.remote.attempts
            )

    def _accept(self, response: aiohttp.ClientResponse, wanted: int) -> int:
        status = response.status
        if status in (wanted, 200):
            refuse_encoding(response)
            length = response.content_length
            if status == 200 and length is not None and length != self.remote.size:
                raise ChangedError
            return status
        if status in (412, 416) and wanted == 206:
            raise StartOverError
        if status in (400, 401, 403):
            raise UrlExpired
        if status in (404, 410):
            raise TargetGone
        raise StatusRefused(status, read_retry_after(response.headers))

    def _pin(self, response: aiohttp.ClientResponse) -> None:
        tag = response.headers.get("ETag")
        if not tag or tag.startswith("W/"):
            return
        if self.etag is not None and tag != self.etag and response.status == 206:
            raise StartOverError
        self.etag = tag

    def _expected(self, response: aiohttp.ClientResponse) -> Expected:
        check = self.remote.expected.fresh()
        if not check and (digest := _checksums.from_repr_digest(response.headers.get("Repr-Digest"))) is not None:
            check = Expected("sha256", digest)
        if not check and (crc := _checksums.from_goog_hash(response.headers.get("x-goog-hash"))) is not None:
            check.expect_crc(crc)
        return check


@attrs.define(eq=False)
class _Fetch(Exchange):
    target: str
    lanes: Lanes
    limits: TransferLimits
    replace: bool
    moved: Callable[[int], None]
    parts: PartJournal
    reached: int = attrs.field(default=0, init=False)
    digest: Expected | None = None
    """What the whole must hash to: the listing's word, or else the storage's."""

    async def in_one(self) -> None:
        if self.remote.size <= GATHER:
            await self._retrying(self._small)
            return
        part = await self._new_part()
        try:
            sink = _Sink(part, byte_ranges.ByteRange(1, 0, self.remote.size), self.remote.expected.fresh())
            await self._retrying(lambda rate: self._verified_stream(sink, rate))
            await self._publish(part)
        finally:
            self.parts.dropped(part)

    async def in_ranges(self) -> None:
        problem = TransferFailed(FileCode.ECHANGED, "The object changed repeatedly while it was downloaded.")
        remote = self.remote
        kept = self.parts.kept_for(self.target, remote.asset_id, remote.size, remote.expected)
        for _ in range(DAMAGED_TRIES + (kept is not None)):
            # A new part for each try: a write of the one before may still be under way in a lane.
            part = await self._new_part(kept)
            let_go = self.parts.dropped
            try:
                check = await self._all_ranges(part, kept)
                if check.matches():
                    await self._publish(part)
                    return
                problem = TransferFailed(
                    FileCode.ECORRUPT, f"The received bytes do not have the announced {check.algorithm}."
                )
            except NoRangesError:
                break
            except StartOverError:
                pass
            except (asyncio.CancelledError, TransferFailed) as stopped:
                if not isinstance(stopped, TransferFailed) or stopped.code in CUT_SHORT:
                    let_go = self.parts.stopped
                raise
            finally:
                let_go(part)
            self.etag = self.digest = kept = None
            await self._renew()
        else:
            problem.attempts = self.remote.attempts
            raise problem
        await self.in_one()

    async def _new_part(self, kept: KeptPart | None = None) -> files.PartFile:
        async def make() -> files.PartFile:
            if kept is not None:
                return files.PartFile(self.parts.folder, kept.path, there=True)
            return files.PartFile(self.parts.folder, self.parts.path_for(self.target))

        return await when_possible(make)

    async def _all_ranges(self, part: files.PartFile, kept: KeptPart | None) -> Expected:
        there: list[tuple[byte_ranges.ByteRange, Expected]]
        if kept is None:
            others = byte_ranges.ranges(self.remote.size, self.limits.range_size)
            # The first range alone fixes the ETag that pins the others, and the digest where the listing gave none.
            sink = _Sink(part, others[0], self.remote.expected.of_range())
            await self._retrying(lambda rate: self._stream(sink, rate))
            first = others.pop(0)
            expected = self.digest or self.remote.expected
            self.parts.begun(part.path, self.target, self.remote.asset_id, self.remote.size, expected, self.etag)
            there = [(first, sink.check)]
        else:
            self.etag, expected = kept.etag, self.remote.expected
            found, others = kept.cut(self.limits.range_size)
            there = [(byte_range, Expected(None, None)) for byte_range in found]
        ranges = [*(byte_range for byte_range, _ in there), *others]
        follower = _Follower(part, sorted(ranges, key=lambda byte_range: byte_range.number), expected)
        self.reached = 0
        for byte_range, check in there:
            self._arrived(part, byte_range, check, follower)
        async with TaskPool(self.limits.parts_per_file + 1) as pool:
            await pool.submit(follower.run)
            for byte_range in others:
                await pool.submit(self._range, part, byte_range, follower)
        return follower.check

    async def _range(self, part: files.PartFile, byte_range: byte_ranges.ByteRange, follower: _Follower) -> None:
        sink = _Sink(part, byte_range, follower.check.of_range())
        await self._retrying(lambda rate: self._stream(sink, rate))
        self._arrived(part, byte_range, sink.check, follower)

    def _arrived(
        self, part: files.PartFile, byte_range: byte_ranges.ByteRange, check: Expected, follower: _Follower
    ) -> None:
        follower.arrived(byte_range, check)
        self.parts.arrived(part.path, byte_range.start, byte_range.end)
        self.reached += byte_range.size
        self.moved(self.remote.advance(self.reached))

    async def _verified_stream(self, sink: _Sink, rate: MinimumRate) -> None:
        try:
            await self._stream(sink, rate)
            right = sink.check.matches()
        except StartOverError:
            right = False
        if not right:
            sink.restart()
            self.etag = None
            raise ChangedError

    async def _publish(self, part: files.PartFile) -> None:
        await self.lanes.run(part.sync)
        part.close()  # Windows renames no file that is open
        folder, path = self.parts.folder, part.path
        if not await when_possible(
            lambda: self.lanes.run(files.publish, folder, path, self.target, replace=self.replace)
        ):
            self.parts.left(path)

    async def _small(self, rate: MinimumRate) -> None:
        left = self.remote.size
        pieces: list[bytes | bytearray] = []
        async with self.storage.get(self.remote.transfer) as response:
            self._accept(response, 200)
            while piece := await response.content.readany():
                pieces.append(piece)
                if len(pieces) == MANY_PIECES:
                    pieces = [_joined(pieces)]
                rate.moved(len(piece))
                left -= len(piece)
                if left < 0:
                    response.close()
                    raise ChangedError
            check = self._expected(response)
        if left:
            raise ChangedError
        rate.pause()
        folder, part_path = self.parts.folder, self.parts.path_for(self.target)
        given = (self.remote, folder, self.target, pieces, check, self.replace, part_path)
        if not await when_possible(lambda: self.lanes.run(_verify_and_write, *given)):
            self.parts.left(part_path)

    async def _stream(self, sink: _Sink, rate: MinimumRate) -> None:
        byte_range = sink.byte_range
        whole = byte_range.start == 0 and byte_range.end == self.remote.size
        headers = {}
        if sink.at or not whole:
            headers["Range"] = f"bytes={byte_range.start + sink.at}-{byte_range.end - 1}"
            if self.etag:
                headers["If-Match"] = self.etag
        async with self.storage.get(
            self.remote.transfer, headers=headers, read_buffer=GATHER if byte_range.size > 4 * GATHER else 1 << 18
        ) as response:
            status = self._accept(response, 206 if headers else 200)
            if status == 200:
                if not whole:
                    response.close()
                    raise NoRangesError
                sink.restart()
            elif not is_range(response, byte_range.start + sink.at, byte_range.end):
                raise ChangedError
            self._pin(response)
            if whole and not sink.at:
                sink.check = self._expected(response)
            elif self.digest is None:
                self.digest = self._expected(response)
            await self._absorb(response, sink, rate)
        if sink.at != byte_range.size:
            raise ChangedError

    async def _absorb(self, response: aiohttp.ClientResponse, sink: _Sink, rate: MinimumRate) -> None:
        pieces: list[bytes] = []
        gathered = 0
        room = sink.byte_range.size - sink.at
        try:
            async for piece in response.content.iter_any():
                rate.moved(len(piece))
                if len(piece) > room:
                    response.close()
                    raise ChangedError
                room -= len(piece)
                pieces.append(piece)
                gathered += len(piece)
                if gathered >= GATHER:
                    await self._write(sink, pieces, rate)
                    pieces, gathered = [], 0
        except aiohttp.ClientPayloadError:
            # What has come of a cut answer need not come again.
            if pieces:
                await self._write(sink, pieces, rate)
            raise
        if pieces:
            await self._write(sink, pieces, rate)

    async def _write(self, sink: _Sink, pieces: list[bytes], rate: MinimumRate) -> None:
        rate.pause()
        await self.lanes.run(sink.write, pieces)
        rate.resume()


@attrs.define(eq=False)
class _Sink:
    """A range of the file being written, *at* bytes of it so far; its write runs in a lane."""

    part: files.PartFile
    byte_range: byte_ranges.ByteRange
    check: Expected
    at: int = 0

    def write(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self.check.update(piece)
            self.part.write_at(piece, self.byte_range.start + self.at)
            self.at += len(piece)

    def restart(self) -> None:
        if self.at:
            self.at = 0
            self.check = self.check.fresh()


class _Follower:
    """Digests a file in order behind the ranges that arrive out of order.

    CRC32C of the ranges are joined; for another digest, and for what an earlier run has left, the file is read back
    from the page cache.
    """

    def __init__(self, part: files.PartFile, ranges: list[byte_ranges.ByteRange], expected: Expected) -> None:
        self.check = expected.fresh()
        self._part = part
        self._ranges = ranges
        self._arrived = {byte_range.number: anyio.Event() for byte_range in ranges}
        self._checks: dict[int, Expected] = {}

    def arrived(self, byte_range: byte_ranges.ByteRange, check: Expected) -> None:
        self._checks[byte_range.number] = check
        self._arrived[byte_range.number].set()

    async def run(self) -> None:
        if not self.check:
            return
        for byte_range in self._ranges:
            await self._arrived[byte_range.number].wait()
            if self.check.join(self._checks.pop(byte_range.number), byte_range.size):
                continue
            for start in range(byte_range.start, byte_range.end, 16 * GATHER):
                await to_end_in_thread(self._digest, start, min(start + 16 * GATHER, byte_range.end))

    def _digest(self, start: int, end: int) -> None:
        while start < end:
            data = self._part.read_at(start, min(GATHER, end - start))
            if not data:
                return
            self.check.update(data)
            start += len(data)


def _joined(pieces: list[bytes | bytearray]) -> bytearray:
    """Gather what comes in many small pieces; the first may be what was gathered before."""
    first, *others = pieces
    whole = first if isinstance(first, bytearray) else bytearray(first)
    whole += b"".join(others)
    return whole


def _verify_and_write(
    remote: RemoteFile,
    folder: OpenFolder,
    target: str,
    pieces: list[bytes | bytearray],
    check: Expected,
    replace: bool,
    part_path: str,
) -> bool:
    check = check.fresh()
    for piece in pieces:
        check.update(piece)
    if not check.matches():
        raise ChangedError
    removed = files.write_whole(folder, target, pieces, replace=replace, part_path=part_path)
    remote.arrived = True
    return removed


def is_range(response: aiohttp.ClientResponse, start: int, end: int) -> bool:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == start and int(found[2]) == end - 1
