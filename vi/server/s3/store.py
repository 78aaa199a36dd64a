"""Stored bytes in an S3 bucket. Ids of objects carry their upload session, so that each session is one prefix.

What is stored is there once the store has said so, and no row mentions an object before. What a crash leaves is an
object of a session that no row mentions: `SessionSweep` removes it some time after the session has ended. Small bodies
pass through memory, large ones through a file of this disk; both are sent with their CRC32C. Decoders work on copies
that are bounded in size, and removed with the block that asked for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from ... import _checksums
from ..._disk import open_private, write_all
from ..._redact import brief
from ...errors import ViConfigurationError
from ..disk.blobs import PARTS, Staging
from ..disk.own import make_own_folder
from ..disk.previews import Previews
from ..objects import StoreUnavailableError, picture_type
from . import keys
from .address import StoreAddress
from .bucket import Bucket, TooLongError
from .direct import S3Direct

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MARKER = "service.json"
"""Says whose bytes a prefix holds, and up to when sessions are swept."""
_SMALLEST_PART = 5 << 20
_PIECE = 8 << 20
_PICTURE = 4 << 20
_NOTE = 64 << 10
_MOST_PARTS = 10_000
_COPIED = 1 << 30
_FETCHED_AT_ONCE = 16
_TRIES = 3

logger: logging.Logger = logging.getLogger("vi.server")


class S3Store:
    """The objects of one service in a bucket; *root* is a folder of this disk for what is on its way."""

    def __init__(self, bucket: Bucket, root: Path, *, redirects: bool) -> None:
        self._bucket = bucket
        self._staging = root / "staging"
        for folder in (root, self._staging):
            make_own_folder(folder)
        self._previews = Previews(root / "previews")
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="vi-bytes")
        self._start = secrets.token_hex(6)
        self._names = itertools.count()
        self._room = _Room(_COPIED)
        self._redirects = redirects
        self._direct = S3Direct(bucket)

    @classmethod
    async def open(
        cls,
        address: StoreAddress,
        organization_id: str,
        root: Path,
        *,
        redirects: bool,
        check: Callable[[str, str], None] = lambda place, endpoint: None,
    ) -> S3Store:
        """Connect; raises `ViConfigurationError` for a prefix that holds the bytes of another organization.

        *check* gets the place and the address of the store before anything is written there, and may raise too.
        """
        bucket = await Bucket.open(address)
        try:
            await asyncio.to_thread(check, str(address), bucket.endpoint)
            await claim(bucket, address, organization_id)
            return cls(bucket, root, redirects=redirects)
        except BaseException:
            await bucket.aclose()
            raise

    @property
    def endpoint(self) -> str:
        """The address of the store; empty for AWS."""
        return self._bucket.endpoint

    @property
    def most_copied(self) -> int | None:
        """Bytes of objects that `local` copies at once, except for a single larger one."""
        return _COPIED // 4

    @property
    def redirects(self) -> bool:
        """Whether clients fetch objects from the store itself."""
        return self._redirects

    def path(self, blob: str) -> Path | None:
        """Return None: no object is on this disk."""
        return None

    @contextlib.asynccontextmanager
    async def local(self, objects: Sequence[tuple[str, int]]) -> AsyncIterator[list[Path]]:
        """Copy objects to this disk for the length of a block; one that is gone has no file."""
        paths = [self._staging / self._fresh_name() for _ in objects]
        places = asyncio.Semaphore(_FETCHED_AT_ONCE)

        async def fetch(blob: str, size: int, path: Path) -> None:
            async with places:
                await self._fetch(blob, path, size)

        async with self._room.taking(sum(size for _, size in objects)):
            try:
                await together(fetch(blob, size, path) for (blob, size), path in zip(objects, paths, strict=True))
                yield paths
            finally:
                await self._hop(_drop_all, paths)

    async def _fetch(self, blob: str, path: Path, size: int) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                file = await self._hop(_create, path)
                try:
                    async for piece in self._bucket.pieces(keys.key_of(blob), size):
                        await self._hop(write_all, file, piece)
                except TooLongError:
                    await self._hop(write_all, file, b"\0")  # so it is refused for its size, and read no further
                finally:
                    await self._hop(file.close)
            except FileNotFoundError:
                await self._hop(_drop_all, [path])
                return
            except StoreUnavailableError:
                if attempt == _TRIES:
                    raise
            else:
                return

    async def read(self, blob: str, start: int, length: int) -> bytes:
        """Return a stretch of an object; raises `FileNotFoundError` when it is gone."""
        return await self._bucket.read_range(keys.key_of(blob), start, length)

    async def download_url(self, blob: str, mime: str, method: str) -> str:
        """Return a signed address of an object for the next minutes."""
        return await self._bucket.link(keys.key_of(blob), mime, method)

    @property
    def direct(self) -> S3Direct:
        """The same store, for clients that send to it themselves."""
        return self._direct

    async def put(self, data: bytes, session: str) -> str:
        """Store a small object of an upload session and return its id."""
        blob = keys.fresh_blob(session)
        await self._bucket.put(keys.key_of(blob), data, _checksums.crc32c(data))
        return blob

    def stage(self) -> Staging:
        """Begin a large object, in a file of this disk."""
        return Staging(self._staging / self._fresh_name(), self._pool, durable=False)

    async def adopt(self, staged: Staging, session: str) -> str:
        """Store a finished large object of an upload session and return its id."""
        blob = keys.fresh_blob(session)
        await self._send(staged, keys.key_of(blob))
        return blob

    async def adopt_part(self, staged: Staging, session: str, upload: str, file: str) -> None:
        """Store a finished part of a multipart upload under the name *file*."""
        await self._send(staged, keys.part_of(session, upload, file))

    async def _send(self, staged: Staging, key: str) -> None:
        if staged.size <= 2 * _PIECE:
            await self._bucket.put(key, await self._hop(staged.path.read_bytes), staged.crc32c)
        else:
            length = max(_PIECE, -(-staged.size // _MOST_PARTS))
            await self._bucket.put_pieces(key, self._pieces(staged.path, length))
        await self._hop(_drop_all, [staged.path])

    async def _pieces(self, path: Path, length: int) -> AsyncIterator[bytes]:
        with await self._hop(path.open, "rb") as file:
            while piece := await self._hop(file.read, length):
                yield piece

    async def put_thumbnails(self, thumbnails: Sequence[tuple[str, bytes]]) -> None:
        """Store the thumbnails of objects, unless the store refuses: they can be made again."""
        places = asyncio.Semaphore(_FETCHED_AT_ONCE)

        async def send(blob: str, data: bytes) -> None:
            async with places:
                with contextlib.suppress(StoreUnavailableError, OSError):
                    key, mime = keys.key_of(blob) + keys.THUMBNAIL, picture_type(data)
                    await self._bucket.put(key, data, _checksums.crc32c(data), mime)

        await together(send(blob, data) for blob, data in thumbnails)

    async def thumbnail(self, blob: str) -> bytes | None:
        """Return the thumbnail of an object; None when it is missing."""
        try:
            return await self._bucket.read(keys.key_of(blob) + keys.THUMBNAIL, _PICTURE)
        except FileNotFoundError:
            return None

    async def preview(self, blob: str, side: int) -> bytes | None:
        """Return the preview of an object that fits *side*; None when this disk does not keep it."""
        return await self._hop(self._previews.read, blob, side)

    async def put_preview(self, blob: str, side: int, data: bytes) -> None:
        """Keep the preview of an object on this disk, in place of the least recently requested ones."""
        await self._hop(self._previews.write, blob, side, data)

    async def remove(self, blobs: Sequence[str]) -> None:
        """Remove objects and their pictures, or after `PARTS` the parts of an upload; ignore missing ones."""
        doomed: list[str] = []
        for blob in blobs:
            if blob.startswith(PARTS):
                if (found := keys.upload_of(blob)) is None:
                    continue
                session, upload = found
                doomed += [one.key for one in await self._bucket.listed(keys.part_of(session, upload, ""))]
                await self._bucket.abort_all(keys.key_of(keys.blob_of_upload(session, upload)))
            elif keys.is_blob(blob):
                doomed += [keys.key_of(blob), keys.key_of(blob) + keys.THUMBNAIL]
                await self._hop(self._previews.remove, blob)
        await self._bucket.remove(doomed)

    async def remove_part(self, session: str, upload: str, file: str) -> None:
        """Remove one part."""
        await self._bucket.remove([keys.part_of(session, upload, file)])

    async def remove_parts(self, session: str, upload: str) -> None:
        """Remove every part of a multipart upload; what the store refuses now goes with the rest of the session."""
        with contextlib.suppress(StoreUnavailableError):
            await self.remove([f"{PARTS}{session}/{upload}"])

    async def join_parts(self, session: str, upload: str, files: Sequence[str]) -> str:
        """Make one object of parts, inside the store where they are large enough for that."""
        sources = [keys.part_of(session, upload, file) for file in files]
        sizes = {one.key: one.size for one in await self._bucket.listed(keys.part_of(session, upload, ""))}
        if all(sizes.get(key, 0) >= _SMALLEST_PART for key in sources[:-1]):
            blob = keys.fresh_blob(session)
            await self._bucket.join(keys.key_of(blob), sources)
            return blob
        staged = self.stage()
        try:
            for key in sources:
                await staged.write(await self._bucket.read(key, sizes.get(key, 0)))
            await staged.finish()
            return await self.adopt(staged, session)
        except BaseException:
            await asyncio.shield(staged.discard())
            raise

    async def newest(self) -> list[str]:
        """Return nothing: what a crash left goes with its session."""
        return []

    async def sweep(self, uploads: Iterable[str]) -> None:
        """Remove what the last run left on this disk."""
        await self._hop(self._sweep)

    def _sweep(self) -> None:
        _drop_all(self._staging.iterdir())
        self._previews.sweep(lambda _: False)  # others may have removed the objects

    async def left(self, session: str) -> list[str]:
        """Return the ids of the objects of a session of which anything is in the store, if only a thumbnail."""
        listed = await self._bucket.listed(f"{keys.SESSIONS}{session}/")
        found = dict.fromkeys(keys.blob_at(one.key.removesuffix(keys.THUMBNAIL)) for one in listed)
        return [blob for blob in found if blob is not None]

    async def remove_unfinished(self, session: str) -> None:
        """Remove the parts of every upload of a session, and what clients have sent for it to the store itself."""
        for below in (keys.part_of(session, "", "").rstrip("/"), keys.sent_to(session, "")):
            await self._bucket.remove([one.key for one in await self._bucket.listed(below)])
        await self._bucket.abort_all(f"{keys.SESSIONS}{session}/")

    async def swept(self) -> int:
        """Return when the last session ended of those that are swept, in milliseconds since 1970."""
        swept = (await _noted(self._bucket)).get("swept", 0)
        return swept if type(swept) is int and 0 <= swept < 1 << 53 else 0

    async def note_swept(self, organization_id: str, ended: int) -> None:
        """Keep that every session that ended by this time is swept."""
        await _mark(self._bucket, organization_id, ended)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._bucket.aclose()
        await asyncio.to_thread(self._pool.shutdown)

    async def _hop(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def _fresh_name(self) -> str:
        return f"{self._start}{next(self._names):08x}"


class _Room:
    """A number of bytes, taken in the order of asking; one who wants more than there are gets all of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def taking(self, size: int) -> AsyncIterator[None]:
        size = min(size, self._most)
        async with self._turn, self._freed:
            await self._freed.wait_for(lambda: self._taken + size <= self._most)
            self._taken += size
        try:
            yield
        finally:
            self._taken -= size
            async with self._freed:
                self._freed.notify_all()


async def together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of *work*; the first that fails ends the others, and is what is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except* Exception as errors:  # noqa: BLE001 - raised again
        raise errors.exceptions[0] from None


async def claim(bucket: Bucket, address: StoreAddress, organization_id: str) -> None:
    """Note whose bytes a prefix holds; raises `ViConfigurationError` when they are another organization's."""
    try:
        try:
            owner = (await _noted(bucket)).get("organization_id")
        except FileNotFoundError:
            await _mark(bucket, organization_id, 0)
            owner = organization_id
    except StoreUnavailableError as error:
        raise ViConfigurationError(
            f"The store {address} cannot be used ({error}).",
            suggestion="The keys must be allowed to list the bucket, and to read, write and delete its objects.",
        ) from None
    if owner != organization_id:
        raise ViConfigurationError(
            f"The store {address} belongs to organization {brief(owner)}.", suggestion="Give another prefix."
        )


async def _noted(bucket: Bucket) -> dict[str, Any]:
    """Return what the marker says; raises `FileNotFoundError`, and `StoreUnavailableError` for what is no marker."""
    try:
        found = json.loads(await bucket.read(MARKER, _NOTE))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StoreUnavailableError(f"{MARKER} is not what a service has written")
    return found


async def _mark(bucket: Bucket, organization_id: str, swept: int) -> None:
    data = json.dumps({"organization_id": organization_id, "swept": swept}).encode()
    await bucket.put(MARKER, data, _checksums.crc32c(data))


def _create(path: Path) -> FileIO:
    return open_private(path, again=True)


def _drop_all(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
