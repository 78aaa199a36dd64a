"""Sending one prepared file: in one PUT, or in parts that are retried alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol

import anyio
import attrs

from .. import _checksums
from ..codes import CUT_SHORT, FileCode
from ..config import TransferLimits
from ..errors import ViTimeoutError
from . import byte_ranges
from .bodies import Body, BytesBody, SourceBody
from .outcomes import SourceChangedError, TargetGone, TransferFailed, UrlExpired
from .record import FileRecord
from .signed import SignedTransfer
from .sources.local import CHUNK, BytesSource, PathSource, Stamp, read_cached, read_whole
from .storage import Storage, check_stored
from .threads.lanes import Lanes
from .threads.pool import TaskPool

DAMAGED_TRIES = 2


class PartTarget(Protocol):
    """Where the parts of one large file go (protocol section 10)."""

    async def begin(self) -> int:
        """Open the multipart upload and return the number of parts."""
        ...

    async def part(self, number: int) -> PartTransfer:
        """Return a fresh signed URL for a part."""
        ...

    async def part_done(self, number: int, crc32c: int, headers: Mapping[str, str], body: bytes) -> None:
        """Report what the storage answered for a part."""
        ...

    async def complete(self) -> None:
        """Join the parts."""
        ...

    async def abort(self) -> None:
        """Drop all parts."""
        ...


@attrs.frozen
class PartTransfer:
    """A part's URL and what of the storage's answer must be reported."""

    transfer: SignedTransfer
    wanted_headers: list[str]
    wants_body: bool


async def send_whole(record: FileRecord, storage: Storage, lanes: Lanes) -> None:
    """Send a file in one PUT. A file that is no longer what was prepared is not stored: `SourceChangedError`."""
    assert record.upload is not None
    make_body = await _body_maker(record, lanes)
    while True:
        try:
            answer = await storage.put(record.upload, make_body, record.size, repeatable=record.source.repeatable)
        except TargetGone:
            if not record.damaged:
                raise
            # The service has judged the damaged bytes and ended the session: the right ones need another.
            raise UrlExpired from None
        record.attempts += answer.attempts
        if record.crc32c is None:
            break
        try:
            check_stored(answer, record.crc32c)
            break
        except TransferFailed:
            record.damaged += 1
            if record.damaged == DAMAGED_TRIES or not record.source.repeatable:
                raise
    if not await record.source.still(record.stamp):
        raise SourceChangedError(f"{record.path} changed while it was sent")


async def _body_maker(record: FileRecord, lanes: Lanes) -> Callable[[], Body]:
    source = record.source
    if record.kept is not None and record.kept.data is not None:
        if isinstance(source, PathSource) and Stamp.of(os.stat(source.path)) != record.stamp:  # noqa: PTH116 - hot path
            raise SourceChangedError(f"{record.path} has changed")
        kept = record.kept.data  # its checksum was computed of these very bytes
        if len(kept) <= CHUNK:
            return lambda: BytesBody(kept)
        whole = BytesSource(source.label, kept)
        return lambda: SourceBody(whole, 0, record.size)
    data: bytes | bytearray | memoryview | None = None
    if record.size <= CHUNK:
        if isinstance(source, PathSource) and record.stamp is not None:
            data = read_cached(source.path, record.stamp)
            if data is None:
                data = await lanes.run(read_whole, source.path, record.stamp)
        elif isinstance(source, BytesSource):
            data = source.data
    if data is None:
        return lambda: SourceBody(source, 0, record.size, expected_crc=record.crc32c)
    if record.crc32c is not None and _checksums.crc32c(data) != record.crc32c:
        raise SourceChangedError(f"{record.path} has changed")
    return lambda: BytesBody(data)


async def send_parts(
    record: FileRecord,
    target: PartTarget,
    storage: Storage,
    limits: TransferLimits,
    moved: Callable[[int], None],
    done: Mapping[int, int] | None = None,
) -> None:
    """Send a file in parts, several at once, each read at its offset; *moved* is called with the bytes of each.

    *done* holds the CRC32C of parts that the service has from an earlier run. The parts are dropped when the file turns
    out not to be storable; they are kept if the run is only cut short, so that a later one can resume.
    """
    count = await target.begin()
    ranges = byte_ranges.parts(record.size, count)
    crcs: dict[int, int] = dict(done or {})
    reached = sum(byte_range.size for byte_range in ranges if byte_range.number in crcs)

    async def send(byte_range: byte_ranges.ByteRange) -> None:
        nonlocal reached
        await _send_part(record, byte_range, target, storage, crcs)
        reached += byte_range.size
        moved(record.advance(reached))

    try:
        async with TaskPool(limits.parts_per_file) as pool:
            for byte_range in ranges:
                if byte_range.number not in crcs:
                    await pool.submit(send, byte_range)
        whole = 0
        for byte_range in ranges:
            whole = _checksums.combine(whole, crcs[byte_range.number], byte_range.size)
        if record.crc32c is not None and whole != record.crc32c:
            raise SourceChangedError(f"{record.path} changed while it was sent")
        if not await record.source.still(record.stamp):
            raise SourceChangedError(f"{record.path} changed while it was sent")
        await target.complete()
    except (TransferFailed, SourceChangedError, OSError) as problem:
        cut_short = (
            problem.code in CUT_SHORT if isinstance(problem, TransferFailed) else isinstance(problem, ViTimeoutError)
        )
        if not cut_short:
            with anyio.CancelScope(shield=True), anyio.move_on_after(ABORT_SECONDS):
                await target.abort()
        raise


PART_TRIES = 4
ABORT_SECONDS = 2.0


async def _send_part(
    record: FileRecord, byte_range: byte_ranges.ByteRange, target: PartTarget, storage: Storage, crcs: dict[int, int]
) -> None:
    for _ in range(PART_TRIES):
        part = await target.part(byte_range.number)
        bodies: list[SourceBody] = []

        def make_body(bodies: list[SourceBody] = bodies) -> SourceBody:
            bodies.append(SourceBody(record.source, byte_range.start, byte_range.end))
            return bodies[-1]

        try:
            answer = await storage.put(part.transfer, make_body, byte_range.size, keep_body=part.wants_body)
        except UrlExpired:
            continue
        record.attempts += answer.attempts
        crcs[byte_range.number] = bodies[-1].crc32c
        stored = _checksums.from_goog_hash(answer.headers.get("x-goog-hash"))
        if stored is not None and stored != crcs[byte_range.number]:
            continue
        headers = {name: answer.headers.get(name, "") for name in part.wanted_headers}
        await target.part_done(byte_range.number, crcs[byte_range.number], headers, answer.body)
        return
    raise TransferFailed(FileCode.EUNKNOWN, f"Part {byte_range.number} repeatedly expired or was damaged on the way.")
