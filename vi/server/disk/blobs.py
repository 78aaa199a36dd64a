"""Stored bytes: files named by ids of the service, never by names from clients.

The crash rule. Bytes are written and flushed, small objects under their id, large ones under a staging name that is
then renamed to their id; then the folder is flushed. Only after that may a transaction mention the id, and only after
the transaction may a request be answered. So a crash leaves either nothing, a staging file (removed at the next start),
or an object, complete or not, that no row mentions. Such objects are always among the newest ids, so the start examines
only the newest folders. Removing goes the other way: the transaction that drops an id writes it to ``garbage``, and the
file goes after the commit.

Ids carry the number of their folder, and consecutive objects share one, so a group of small objects costs one folder
flush. Small objects that wait while a group is being flushed make up the next group: one thread hop for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import re
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import attrs

from ... import _checksums
from ..._disk import flush, flush_folder, open_private, when_free, write_all
from .files import begin_flush, copy, read_summed, write_summed
from .own import ForeignFileError, discard, make_own_folder, open_object
from .previews import Previews

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PARTS = "parts/"
FOLDER_OBJECTS = 1024
_NEWEST_FOLDERS = 16
_GROUP_OBJECTS = 64
_GROUP_BYTES = 16 << 20
_LANES = 2
THUMBNAIL = ".thumbnail"

_FOLDER = re.compile(r"[0-9a-f]{6,12}")
OBJECT = re.compile(r"[0-9a-f]{6,12}-[0-9a-f]{20,28}")
_UPLOAD = re.compile(r"[0-9A-Za-z_-]{1,64}")
_PART = re.compile(r"\d{1,6}\.[0-9a-f]{16}", re.ASCII)
_NOWHERE = "refused"

logger: logging.Logger = logging.getLogger("vi.server")


@attrs.define
class _Pending:
    data: bytes
    stored: asyncio.Future[str]


class Staging:
    """A large object on its way in: `write` pieces, then `Blobs.adopt` it or `discard` it."""

    def __init__(self, path: Path, pool: ThreadPoolExecutor, *, durable: bool = True) -> None:
        self.path = path
        self._durable = durable
        self.size: int = 0
        self.crc32c: int = 0
        self._pool = pool
        self._file: FileIO | None = None
        self._last: asyncio.Future[None] | None = None

    async def write(self, piece: bytes) -> None:
        """Write *piece* after the one before it; the next piece is received during that."""
        await self._settle()
        self._last = asyncio.get_running_loop().run_in_executor(self._pool, self._append, piece)

    async def finish(self) -> None:
        """Close the file; a durable one is flushed to disk first."""
        await self._settle()
        await asyncio.get_running_loop().run_in_executor(self._pool, self._flush)

    async def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            await self._settle()
        await asyncio.get_running_loop().run_in_executor(self._pool, self._remove)

    async def _settle(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            await asyncio.shield(last)

    def _append(self, piece: bytes) -> None:
        if self._file is None:
            self._file = open_private(self.path)
        write_all(self._file, piece)
        self.crc32c = _checksums.crc32c(piece, self.crc32c)
        self.size += len(piece)

    def _flush(self) -> None:
        file = self._file or open_private(self.path)
        with file:
            if self._durable:
                flush(file.fileno())
        self._file = None

    def _remove(self) -> None:
        if self._file is not None:
            self._file.close()
        _drop(self.path)


class Blobs:
    """The objects below one folder; if it is *shared*, other processes write there too."""

    def __init__(self, root: Path, *, shared: bool = False) -> None:
        self._shared = shared
        self._objects = root / "objects"
        self._staging = root / "staging"
        self._parts = root / "parts"
        for folder in (root, self._objects, self._staging, self._parts):
            make_own_folder(folder)
        self._previews = Previews(root / "previews")
        flush_folder(root)
        flush_folder(root.parent)
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="vi-bytes")
        self._lock = threading.Lock()
        self._start = secrets.token_hex(6)
        self._names = itertools.count()
        self._folder = max((int(entry.name, 16) for entry in self._folders()), default=-1)
        self._left = 0
        self._pending: list[_Pending] = []
        self._lanes: set[asyncio.Task[None]] = set()

    def path(self, blob: str) -> Path:
        """Return the path of the object *blob*, which does not exist for a name that the service did not make.

        Ids are read from the database, which may be foreign: no other text becomes a path.
        """
        if OBJECT.fullmatch(blob) is None:
            return self._nowhere(blob)
        return self._objects / blob.partition("-")[0] / blob

    def _nowhere(self, name: str) -> Path:
        logger.warning("The database names %r, which is not a name of the service; it is ignored", name[:80])
        return self._objects / _NOWHERE / _NOWHERE

    def thumbnail_path(self, blob: str) -> Path:
        """Return the path of the thumbnail of *blob*."""
        path = self.path(blob)
        return path.with_name(path.name + THUMBNAIL)

    @property
    def most_copied(self) -> int | None:
        """None: every object is on this disk."""
        return None

    @contextlib.asynccontextmanager
    async def local(self, objects: Sequence[tuple[str, int]]) -> AsyncIterator[list[Path]]:
        """Give the paths of objects."""
        yield [self.path(blob) for blob, _ in objects]

    async def read(self, blob: str, start: int, length: int) -> bytes:
        """Return a range of the bytes of an object."""
        return await self._hop(_read_stretch, self.path(blob), start, length)

    @property
    def redirects(self) -> bool:
        """False: the service sends what is in a folder."""
        return False

    async def download_url(self, blob: str, mime: str, method: str) -> str:
        """Raise: objects of a folder have no URLs of their own."""
        raise NotImplementedError

    @property
    def direct(self) -> None:
        """None: nobody but the service writes to a folder."""
        return None

    async def put(self, data: bytes, session: str) -> str:
        """Store a small object and return its id, once it is on disk."""
        pending = _Pending(data, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        # A finished task takes no more objects, but stays in the set until the next turn of the loop.
        if sum(not lane.done() for lane in self._lanes) < _LANES:
            lane = asyncio.create_task(self._lane(), name="vi-bytes-lane")
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return await pending.stored

    def stage(self) -> Staging:
        """Begin a large object."""
        return Staging(self._staging / self._fresh_name(), self._pool)

    async def adopt(self, staged: Staging, session: str) -> str:
        """Give a finished object its id."""
        return await self._hop(self._adopt, staged.path)

    async def put_thumbnails(self, thumbnails: Sequence[tuple[str, bytes]]) -> None:
        """Store the thumbnails of objects, unless the disk refuses: they can be made again."""
        if thumbnails:
            await self._hop(self._write_thumbnails, thumbnails)

    async def thumbnail(self, blob: str) -> bytes | None:
        """Return the thumbnail of an object; None when it is missing or damaged."""
        return await self._hop(read_summed, self.thumbnail_path(blob))

    async def preview(self, blob: str, side: int) -> bytes | None:
        """Return the stored preview of an object that fits *side*, or None."""
        return await self._hop(self._previews.read, self.path(blob).name, side)

    async def put_preview(self, blob: str, side: int, data: bytes) -> None:
        """Store the preview of an object, and remove the least recently used ones."""
        await self._hop(self._write_preview, blob, side, data)

    async def remove(self, blobs: Sequence[str]) -> None:
        """Remove objects and their pictures, or after `PARTS` the parts of an upload; ignore missing files."""
        await self._hop(self._remove, blobs)

    def part_path(self, upload: str, file: str) -> Path:
        """Return the path of the part *file* of a multipart upload."""
        return self._upload_path(upload) / file if _PART.fullmatch(file) else self._nowhere(file)

    def _upload_path(self, upload: str) -> Path:
        return self._parts / upload if _UPLOAD.fullmatch(upload) else self._nowhere(upload)

    async def adopt_part(self, staged: Staging, session: str, upload: str, file: str) -> None:
        """Move a finished part to its path."""
        await self._hop(self._adopt_part, staged.path, self.part_path(upload, file))

    async def remove_part(self, session: str, upload: str, file: str) -> None:
        """Remove one part."""
        await self._hop(_drop, self.part_path(upload, file))

    async def remove_parts(self, session: str, upload: str) -> None:
        """Remove every part of a multipart upload; if the disk refuses, the next start does it."""
        with contextlib.suppress(OSError):
            await self._hop(self._remove_tree, self._upload_path(upload))

    async def join_parts(self, session: str, upload: str, files: Sequence[str]) -> str:
        """Join the parts *files*, in this order, to one object."""
        return await self._hop(self._join, [self.part_path(upload, file) for file in files])

    async def newest(self) -> list[str]:
        """Return the ids in the newest folders: only they can hold objects that no row mentions."""
        return await self._hop(self._list_newest)

    async def sweep(self, uploads: Iterable[str]) -> None:
        """Remove unfinished objects, thumbnails without an object, and the parts of all uploads but *uploads*."""
        await self._hop(self._sweep, frozenset(uploads))

    async def aclose(self) -> None:
        """Wait for running writes."""
        while self._lanes:
            await asyncio.wait(self._lanes)
        await asyncio.to_thread(self._pool.shutdown)

    # On the event loop.

    async def _hop(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    async def _lane(self) -> None:
        while self._pending:
            group: list[_Pending] = []
            total = 0
            while self._pending and len(group) < _GROUP_OBJECTS and total < _GROUP_BYTES:
                group.append(self._pending.pop(0))
                total += len(group[-1].data)
            outcomes: Sequence[str | Exception]
            try:
                outcomes = await self._hop(self._write_group, [pending.data for pending in group])
            except Exception as error:  # noqa: BLE001 - each that waits must hear of it
                outcomes = [error] * len(group)
            for pending, outcome in zip(group, outcomes, strict=True):
                if pending.stored.done():
                    continue
                if isinstance(outcome, str):
                    pending.stored.set_result(outcome)
                else:
                    pending.stored.set_exception(outcome)

    # In a thread of the pool.

    def _write_group(self, datas: Sequence[bytes]) -> Sequence[str | Exception]:
        """Write all, then flush all, then their folders: the first flush makes most of the others cheap."""
        written = [self._write(data) for data in datas]
        outcomes: list[str | Exception] = []
        folders: dict[str, list[int]] = {}
        for made in written:
            if isinstance(made, Exception):
                outcomes.append(made)
                continue
            folder, blob, file = made
            try:
                with file:
                    flush(file.fileno())
                folders.setdefault(folder, []).append(len(outcomes))
                outcomes.append(blob)
            except OSError as error:
                _drop(f"{folder}/{blob}")
                outcomes.append(error)
        for folder, members in folders.items():
            try:
                flush_folder(folder)
            except OSError as error:
                for index in members:
                    _drop(f"{folder}/{outcomes[index]}")
                    outcomes[index] = error
        return outcomes

    def _write(self, data: bytes) -> tuple[str, str, FileIO] | OSError:
        """Write a new object; returns its folder, its id and its file, which is still to be flushed."""
        path, file = None, None
        try:
            blob, folder = self._place()
            path = f"{folder}/{blob}"
            file = open_private(path)
            write_all(file, data)
            begin_flush(file)
        except OSError as error:
            if file is not None:
                file.close()
            if path is not None:
                _drop(path)
            return error
        return str(folder), blob, file

    def _place(self) -> tuple[str, Path]:
        """Return a new id and its folder, which is made when it is the first in it."""
        with self._lock:
            if self._left == 0:
                make_own_folder(self._objects / f"{self._folder + 1:06x}")
                flush_folder(self._objects)
                self._folder += 1
                self._left = FOLDER_OBJECTS
            self._left -= 1
            name = f"{self._folder:06x}"
        return f"{name}-{self._fresh_name()}", self._objects / name

    def _fresh_name(self) -> str:
        return f"{self._start}{next(self._names):08x}"

    def _adopt(self, staged: Path) -> str:
        blob, folder = self._place()
        when_free(os.replace, staged, folder / blob)
        try:
            flush_folder(folder)
        except OSError:
            _drop(folder / blob)
            raise
        return blob

    def _adopt_part(self, staged: Path, target: Path) -> None:
        make_own_folder(target.parent)
        when_free(os.replace, staged, target)
        flush_folder(target.parent)
        flush_folder(self._parts)

    def _write_thumbnails(self, thumbnails: Sequence[tuple[str, bytes]]) -> None:
        for blob, data in thumbnails:
            path = self.thumbnail_path(blob)
            try:
                write_summed(path, data)
                kept = self.path(blob).exists()  # a removed object would leave its thumbnail behind
            except OSError:
                kept = False
            if not kept:
                _drop(path)

    def _write_preview(self, blob: str, side: int, data: bytes) -> None:
        path = self.path(blob)
        self._previews.write(path.name, side, data)
        if not path.exists():  # as above
            self._previews.remove(path.name)

    def _remove(self, blobs: Sequence[str]) -> None:
        folders = set()
        for blob in blobs:
            if blob.startswith(PARTS):
                self._remove_tree(self._upload_path(blob.rpartition("/")[2]))
                folders.add(self._parts)
                continue
            path = self.path(blob)
            self._unlink(path)
            self._unlink(self.thumbnail_path(blob))
            self._previews.remove(path.name)
            folders.add(path.parent)
        for folder in folders:
            # Flush the folder: if power loss undid the removal, the file would stay, since its row is removed next.
            with contextlib.suppress(FileNotFoundError):
                flush_folder(folder)
            with contextlib.suppress(OSError, ValueError):
                if not self._shared and int(folder.name, 16) < self._folder - 1:
                    folder.rmdir()  # succeeds only once it is empty

    def _unlink(self, path: Path) -> None:
        discard(path)

    def _remove_tree(self, folder: Path) -> None:
        if folder.is_symlink() or folder.is_file():
            discard(folder)
            return
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)

    def _join(self, parts: Sequence[Path]) -> str:
        staged = self._staging / self._fresh_name()
        try:
            with open_private(staged) as target:
                for part in parts:
                    with open_object(part) as source:
                        copy(source, target)
                flush(target.fileno())
            return self._adopt(staged)
        finally:
            _drop(staged)

    def _folders(self) -> list[os.DirEntry[str]]:
        with os.scandir(self._objects) as entries:
            own = [entry for entry in entries if _FOLDER.fullmatch(entry.name)]
        for entry in own:
            if entry.is_symlink():
                raise ForeignFileError(entry.path, "is a link, which is not followed")
        return sorted((entry for entry in own if entry.is_dir()), key=lambda entry: entry.name)

    def _newest_paths(self) -> list[Path]:
        paths: list[Path] = []
        for folder in self._folders()[-_NEWEST_FOLDERS:]:
            with contextlib.suppress(FileNotFoundError):  # another thread emptied and removed it
                paths.extend(Path(folder.path).iterdir())
        return paths

    def _list_newest(self) -> list[str]:
        return [path.name for path in self._newest_paths() if path.suffix != THUMBNAIL]

    def _sweep(self, uploads: frozenset[str]) -> None:
        for path in self._staging.iterdir():
            _drop(path)
        newest = set(self._newest_paths())
        for path in newest:
            if path.suffix == THUMBNAIL and path.with_suffix("") not in newest:
                _drop(path)
        self._previews.sweep(lambda blob: self.path(blob).exists())
        for folder in self._parts.iterdir():
            if folder.name not in uploads:
                with contextlib.suppress(OSError):
                    self._remove_tree(folder)


def _read_stretch(path: Path, start: int, length: int) -> bytes:
    with open_object(path) as file:
        file.seek(start)
        return file.read(length)


def _drop(path: Path | str) -> None:
    """Remove leftovers of an error; if that fails, a start removes them while they are among the newest."""
    with contextlib.suppress(OSError):
        when_free(os.unlink, path)
