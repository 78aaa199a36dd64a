"""Where the bytes of assets are: a folder (`vi.server.disk.blobs`) or a bucket (`vi.server.s3`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import attrs

from .disk.blobs import Staging


class StoreUnavailableError(Exception):
    """The store does not answer, fails or refuses, which says nothing about the object; the text is a code of it."""


@attrs.frozen
class Received:
    """What a client has sent to the store itself for a file; *index* is None for an address that was not given."""

    key: str
    index: int | None
    size: int
    etag: str


class Addresses(Protocol):
    """Signs addresses of the store for one answer; *seconds* say how long each lives."""

    def upload(self, session: str, index: int, seconds: float, headers: Mapping[str, str]) -> str:
        """Return where a file of a session is sent, with these *headers* and no others in their place."""
        ...

    def part(
        self, session: str, upload: str, begun: str, number: int, seconds: float, headers: Mapping[str, str]
    ) -> str:
        """Return where a part of a multipart upload is sent."""
        ...

    def download(self, blob: str, mime: str, filename: str, seconds: float) -> str:
        """Return where an object is fetched; the address ends in *filename*."""
        ...

    def thumbnail(self, blob: str, seconds: float) -> str:
        """Return where the thumbnail of an object is fetched."""
        ...


class DirectStore(Protocol):
    """A store that clients send to themselves.

    What they send may be replaced until its address has ended. So it lies apart, and becomes an object by `keep`.
    """

    async def addresses(self) -> Addresses:
        """Return what signs addresses for one answer."""
        ...

    async def received(self, session: str, most: int) -> list[Received]:
        """Return what was sent for a session, at most *most*."""
        ...

    async def keep(self, session: str, received: Received) -> str | None:
        """Make an object of what was sent and return its id; None if it is gone or was replaced."""
        ...

    async def forget(self, received: Sequence[Received]) -> None:
        """Remove what was sent."""
        ...

    async def begin(self, session: str, upload: str, mime: str) -> str:
        """Begin a multipart upload and return the id that the store gives it."""
        ...

    async def part_size(self, session: str, upload: str, begun: str, number: int, etag: str) -> int | None:
        """Return the bytes of the part that was sent and answered with *etag*; None when it does not exist."""
        ...

    async def complete(self, session: str, upload: str, begun: str, parts: Sequence[tuple[int, str]]) -> str | None:
        """Make an object of parts, each a number and an ETag, and return its id; None when they are not there."""
        ...


class ObjectStore(Protocol):
    """Objects named by ids that the store makes, and the parts of uploads that are not complete.

    What a method has stored is there after a crash, and after a loss of power. An object never changes.
    """

    @property
    def most_copied(self) -> int | None:
        """Bytes of objects that `local` may copy to this disk at once; None where it copies none."""
        ...

    def path(self, blob: str) -> Path | None:
        """Return where an object lies on this disk; None where it has to be asked for with `local`."""
        ...

    def local(self, objects: Sequence[tuple[str, int]]) -> AbstractAsyncContextManager[Sequence[Path]]:
        """Give paths of *objects*, each an id and its bytes, in a block; one that is gone has no file."""
        ...

    async def read(self, blob: str, start: int, length: int) -> bytes:
        """Return a range of the bytes of an object; raises `FileNotFoundError` when it is gone."""
        ...

    @property
    def redirects(self) -> bool:
        """Whether clients fetch objects from the store itself, at a `download_url`."""
        ...

    async def download_url(self, blob: str, mime: str, method: str) -> str:
        """Return an address at which the store answers *method*, GET or HEAD, for the next minutes."""
        ...

    @property
    def direct(self) -> DirectStore | None:
        """The same store, for clients that send to it themselves; None where all bytes pass the service."""
        ...

    async def put(self, data: bytes, session: str) -> str:
        """Store a small object of an upload session and return its id."""
        ...

    def stage(self) -> Staging:
        """Begin a large object."""
        ...

    async def adopt(self, staged: Staging, session: str) -> str:
        """Store a finished large object of an upload session and return its id."""
        ...

    async def put_thumbnails(self, thumbnails: Sequence[tuple[str, bytes]]) -> None:
        """Store the thumbnails of objects, unless the store refuses: they can be made again."""
        ...

    async def thumbnail(self, blob: str) -> bytes | None:
        """Return the thumbnail of an object; None when it is missing or damaged."""
        ...

    async def preview(self, blob: str, side: int) -> bytes | None:
        """Return the stored preview of an object that fits *side*, or None."""
        ...

    async def put_preview(self, blob: str, side: int, data: bytes) -> None:
        """Store the preview of an object, and remove the least recently used ones."""
        ...

    async def remove(self, blobs: Sequence[str]) -> None:
        """Remove objects and their pictures, or after `PARTS` the parts of an upload; ignore missing ones."""
        ...

    async def adopt_part(self, staged: Staging, session: str, upload: str, file: str) -> None:
        """Store a finished part of a multipart upload under the name *file*."""
        ...

    async def remove_part(self, session: str, upload: str, file: str) -> None:
        """Remove one part."""
        ...

    async def remove_parts(self, session: str, upload: str) -> None:
        """Remove every part of a multipart upload; what cannot be removed now is removed later."""
        ...

    async def join_parts(self, session: str, upload: str, files: Sequence[str]) -> str:
        """Make one object of the parts *files*, in this order, and return its id."""
        ...

    async def newest(self) -> list[str]:
        """Return the ids among which a crash may have left objects that no row mentions, for a start to remove."""
        ...

    async def sweep(self, uploads: Iterable[str]) -> None:
        """Remove, at a start, what this process left unfinished, and the parts of every upload but *uploads*."""
        ...

    async def aclose(self) -> None:
        """Wait for what is being written."""
        ...


def picture_type(data: bytes) -> str:
    """Return the type of a thumbnail or preview."""
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"
