"""Clients that send to the bucket themselves, by signed addresses.

An address works until its time is over, whatever was sent before. So what it leads to is never an object of the
service: a copy is, made inside the store of exactly what was listed. Of a multipart upload no copy is needed, because
its addresses end when the service completes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..objects import Received
from . import keys
from .bucket import Bucket
from .presigning import Presigner


class S3Addresses:
    """Signs addresses of the bucket."""

    def __init__(self, presigner: Presigner) -> None:
        self._presigner = presigner

    def upload(self, session: str, index: int, seconds: float, headers: Mapping[str, str]) -> str:
        """Return where a file of a session is sent, with these *headers* and no others in their place."""
        return self._presigner.upload(keys.sent_to(session, index), seconds, headers)

    def part(
        self, session: str, upload: str, begun: str, number: int, seconds: float, headers: Mapping[str, str]
    ) -> str:
        """Return where a part of a multipart upload is sent."""
        key = keys.key_of(keys.blob_of_upload(session, upload))
        return self._presigner.part(key, begun, number, seconds, headers)

    def download(self, blob: str, mime: str, filename: str, seconds: float) -> str:
        """Return where an object is fetched; the address ends in *filename*."""
        return self._presigner.download(keys.key_of(blob), mime, filename, seconds)

    def thumbnail(self, blob: str, seconds: float) -> str:
        """Return where the thumbnail of an object is fetched."""
        return self._presigner.picture(keys.key_of(blob) + keys.THUMBNAIL, seconds)


class S3Direct:
    """What clients send to a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def addresses(self) -> S3Addresses:
        """Return what signs addresses for one answer."""
        return S3Addresses(await self._bucket.presigner())

    async def received(self, session: str, most: int) -> list[Received]:
        """Return what was sent for a session, at most *most*."""
        found = await self._bucket.listed(keys.sent_to(session, ""), most)
        return [Received(one.key, keys.index_at(session, one.key), one.size, one.etag) for one in found]

    async def keep(self, session: str, received: Received) -> str | None:
        """Make an object of what was sent and return its id; None when it is not there any more, or was replaced."""
        blob = keys.fresh_blob(session)
        try:
            await self._bucket.copy(received.key, keys.key_of(blob), received.etag)
        except FileNotFoundError:
            return None
        return blob

    async def forget(self, received: Sequence[Received]) -> None:
        """Remove what was sent."""
        await self._bucket.remove([one.key for one in received])

    async def begin(self, session: str, upload: str, mime: str) -> str:
        """Begin a multipart upload and return the id that the store gives it."""
        return await self._bucket.begin(keys.key_of(keys.blob_of_upload(session, upload)), mime)

    async def part_size(self, session: str, upload: str, begun: str, number: int, etag: str) -> int | None:
        """Return the bytes of the part that was sent and answered with *etag*; None when it does not exist."""
        key = keys.key_of(keys.blob_of_upload(session, upload))
        try:
            sent = dict(await self._bucket.part(key, begun, number))
        except FileNotFoundError:
            return None
        return sent.get(etag)

    async def complete(self, session: str, upload: str, begun: str, parts: Sequence[tuple[int, str]]) -> str | None:
        """Make an object of parts, each a number and an ETag, and return its id; None when they are not there."""
        blob = keys.blob_of_upload(session, upload)
        key = keys.key_of(blob)
        try:
            await self._bucket.complete(key, begun, parts)
        except FileNotFoundError:
            try:
                await self._bucket.size(key)  # completed before, by a process that has ended since
            except FileNotFoundError:
                return None
        return blob
