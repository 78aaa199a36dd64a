"""Fetching one object into memory: given whole and verified, or not at all.

A cut answer is resumed at its next byte, pinned to the first answer's ETag. Bytes that do not match the digest are
dropped and asked for again, as often as the retry policy says.
"""

from __future__ import annotations

import attrs

from .._checksums import Expected
from .download import Exchange, RemoteFile, Renew, is_range
from .minimum_rate import MinimumRate
from .outcomes import ChangedError, StartOverError
from .storage import Storage
from .threads.lanes import Lanes

READ_BUFFER = 256 << 10
DIGEST_AT_ONCE = 256 << 10
"""Bytes whose digest takes less than a hop to a thread and back."""


async def fetch_bytes(remote: RemoteFile, storage: Storage, lanes: Lanes, renew: Renew) -> bytes:
    """Return the bytes of an object; raises `TransferFailed`, or `TargetGone` when it is gone.

    Memory holds the object once, and once more for a moment at the end.
    """
    job = _Whole(remote, storage, renew, lanes)
    storage.count_attempt()
    await job._retrying(job.receive)
    return job.whole


@attrs.define(eq=False)
class _Whole(Exchange):
    lanes: Lanes
    whole: bytes = attrs.field(default=b"", init=False)
    _data: bytearray = attrs.field(factory=bytearray, init=False)
    _check: Expected = attrs.field(factory=lambda: Expected(None, None), init=False)

    async def receive(self, rate: MinimumRate) -> None:
        """Take what is missing, and check all of it."""
        try:
            await self._fetch(rate)
        except StartOverError:
            self._restart()
            raise ChangedError from None
        rate.pause()
        whole = self._verify() if self.remote.size <= DIGEST_AT_ONCE else await self.lanes.run(self._verify)
        self._restart()
        if whole is None:
            raise ChangedError
        self.whole = whole

    async def _fetch(self, rate: MinimumRate) -> None:
        size = self.remote.size
        if self._data and not self.etag:
            self._restart()
        headers = {}
        if self._data:
            headers = {"Range": f"bytes={len(self._data)}-{size - 1}", "If-Match": self.etag or ""}
        async with self.storage.get(self.remote.transfer, headers=headers, read_buffer=READ_BUFFER) as response:
            status = self._accept(response, 206 if headers else 200)
            if status == 200:
                self._restart()
            elif not is_range(response, len(self._data), size):
                raise StartOverError
            self._pin(response)
            if not self._data:
                self._check = self._expected(response)
            while piece := await response.content.readany():
                rate.moved(len(piece))
                if len(self._data) + len(piece) > size:
                    response.close()
                    raise StartOverError
                self._data += piece
        if len(self._data) != size:
            raise StartOverError

    def _verify(self) -> bytes | None:
        self._check.update(self._data)
        return bytes(self._data) if self._check.matches() else None

    def _restart(self) -> None:
        self._data = bytearray()
        self.etag = None
