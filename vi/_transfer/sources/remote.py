"""Remote files: whatever opens itself for reading, as paths of fsspec and universal_pathlib do.

They are recognized by their shape, so nothing of those libraries is imported; only an address given as text
(``s3://...``) needs universal_pathlib, to find out who can open it. Their calls block, so each runs in a thread.
"""

from __future__ import annotations

import datetime
import errno
import functools
import hashlib
import math
import os
import re
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import attrs

from ..._media import SNIFF_BYTES, sniff
from ..._optional import require
from ..._redact import redact
from ...errors import ViConfigurationError, ViInvalidParameterError
from ..outcomes import SourceChangedError, SourceFailedError
from ..threads.stopping import to_end_in_thread
from .local import CHUNK, Digesting, Facts, FileObjectSource, Reach, Stamp

R = TypeVar("R")

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
WEB = ("http://", "https://")
NUMBERS = ((FileNotFoundError, errno.ENOENT), (PermissionError, errno.EACCES), (TimeoutError, errno.ETIMEDOUT))


_CONTENT_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "generation")
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "created")
"""What file systems of fsspec tell that changes with the content of a file."""


@attrs.frozen
class State:
    """What changes with the content of a remote file; *changed* is when it did, if that is all there is to tell by."""

    text: str
    changed: float | None


def _seconds(info: dict[str, Any]) -> float:
    """Return when a file changed; what cannot be read has just changed."""
    value = next(info[key] for key in _TIMES if info.get(key) not in (None, ""))
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=value.tzinfo or datetime.UTC).timestamp()
    return float(value) if isinstance(value, int | float) else math.inf


@attrs.frozen
class RemoteObject:
    """A remote file or folder: its address without a query, which may be a signature, its name, and the path itself."""

    label: str
    name: str
    path: Any

    @property
    def is_folder(self) -> bool:
        """Whether it has files below it; a web address never has. Blocking."""
        if self.label.startswith(WEB) or not callable(getattr(self.path, "iterdir", None)):
            return False
        return bool(_asked(self.label, self.path.is_dir))

    @property
    def is_missing(self) -> bool:
        """Whether it is known not to be there. Blocking."""
        exists = getattr(self.path, "exists", None)
        return not self.label.startswith(WEB) and callable(exists) and not _asked(self.label, exists)

    def children(self) -> Iterator[RemoteObject]:
        """Iterate over what a folder holds, by name. Blocking."""
        found = [as_remote(child) for child in _asked(self.label, lambda: list(self.path.iterdir()))]
        base = self.label.rstrip("/")
        # Not the child's own label, which may hold a password that was taken out of this one.
        named = [attrs.evolve(child, label=f"{base}/{child.name}") for child in found if child is not None]
        yield from sorted(named, key=lambda child: child.name)

    def state(self) -> State | None:
        """Return what changes with its content, where its file system tells. Blocking."""
        info = self._info()
        for keys in (_CONTENT_TAGS, _TIMES):
            if told := [f"{key}={info[key]}" for key in keys if info.get(key) not in (None, "")]:
                # The same address is another file at another endpoint, or on another host.
                options = repr(sorted(getattr(self.path.fs, "storage_options", {}).items()))
                where = hashlib.sha256(options.encode()).hexdigest()[:16]
                text = " ".join([str(info.get("size")), *told, where])
                return State(text, None if keys is _CONTENT_TAGS else _seconds(info))
        return None

    @property
    def size(self) -> int | None:
        """How many bytes it has, where its file system tells. Blocking."""
        size = self._info().get("size")
        return size if type(size) is int and size >= 0 else None

    def _info(self) -> dict[str, Any]:
        fs = getattr(self.path, "fs", None)
        if fs is None or not callable(getattr(fs, "info", None)):
            return {}
        return dict(_asked(self.label, lambda: fs.info(self.path.path)))

    def forget_listings(self) -> None:
        """Make its file system look again instead of remembering what a folder held. Blocking."""
        if callable(forget := getattr(getattr(self.path, "fs", None), "invalidate_cache", None)):
            _asked(self.label, forget)

    def head(self, count: int) -> bytes:
        """Return its first bytes, asking for these alone: an open file of fsspec reads megabytes ahead. Blocking."""
        cat: Callable[..., bytes] | None = getattr(getattr(self.path, "fs", None), "cat_file", None)
        if not callable(cat):
            with self.open() as file:
                return file.read(count)
        return cat(self.path.path, start=0, end=count)

    def open(self) -> IO[bytes]:
        """Open it for reading. Blocking."""
        if _is_open_file(self.path):
            file: IO[bytes] = self.path.fs.open(self.path.path, "rb")
        else:
            file = self.path.open("rb")
        return file


def _is_open_file(item: Any) -> bool:
    """Tell whether *item* is what ``fsspec.open`` returns; asking a path for its ``fs`` may import a library."""
    return hasattr(item, "mode") and hasattr(item, "path") and hasattr(item, "fs")


def as_remote(item: Any) -> RemoteObject | None:
    """Return *item* if it is remote (an object or an address as text), else None."""
    if isinstance(item, RemoteObject):
        return item
    if isinstance(item, str):
        return as_remote(path_of(item)) if ADDRESS.match(item) and not is_file_address(item) else None
    if is_local(item) or hasattr(item, "read") or not callable(getattr(item, "open", None)):
        return None
    name: Any = getattr(item, "name", None)
    if _is_open_file(item):
        address = str(getattr(item, "full_name", item.path))
        name = address.rpartition("/")[2]
    elif isinstance(name, str):
        address = str(item)
        # universal_pathlib takes the first folder of a protocol that it does not know for a host, and part of the name.
        if hasattr(type(item), "fs") and isinstance(place := item.path, str) and "/" in place.rstrip("/"):
            name = place.rstrip("/").rpartition("/")[2]
    else:
        return None
    if address.startswith(WEB):
        parts = urlsplit(address)
        address = parts._replace(query="", fragment="", netloc=parts.netloc.rpartition("@")[2]).geturl()
        return RemoteObject(address, unquote(parts.path).rstrip("/").rpartition("/")[2], item)
    return RemoteObject(address, name, item)


def is_local(item: Any) -> bool:
    """Tell whether *item* is a path on this machine; old paths of other file systems claim to be one."""
    if not isinstance(item, os.PathLike):
        return False
    protocol = getattr(type(item), "protocol", None)
    return protocol is None or getattr(item, "protocol", "") in ("", "file", "local")


def is_file_address(item: str) -> bool:
    """Tell whether *item* is the address of a local file, which nothing is needed to open."""
    return item[:7].lower() == "file://"


def local_path(address: str) -> str:
    """Return the path that the address of a local file stands for."""
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        if os.name != "nt":
            raise ViInvalidParameterError(
                f"{address} names the machine {parts.netloc}; a local address is file:///path.", parameter="paths"
            )
        return url2pathname(f"//{parts.netloc}{parts.path}")
    return url2pathname(parts.path)


def path_of(address: str) -> Any:
    """Return the path of universal_pathlib for an address."""
    kind = f"An address with {address.partition('://')[0]}://"
    require("fsspec", kind)
    upath = require("upath", kind)
    try:
        return upath.UPath(address)
    except (ValueError, ImportError) as error:
        raise ViConfigurationError(f"{address.partition('://')[0]}:// addresses cannot be used: {error}.") from None


def _asked(label: str, call: Callable[[], R]) -> R:
    """Run *call* of a library that we do not know: what it raises is an `OSError`, or the failure of this source."""
    try:
        return call()
    except OSError as error:
        if error.errno is not None:
            raise
        # Its text may be the whole address, signature included.
        number = next((number for cls, number in NUMBERS if isinstance(error, cls)), errno.EIO)
        raise OSError(number, os.strerror(number), label) from None
    except Exception as error:  # noqa: BLE001 - each of these libraries has a tree of its own
        reason = redact(str(error)) or type(error).__name__
        raise SourceFailedError(f"reading {label} failed: {reason}") from None


COPIES = 32
COPIED_BYTES = 2 << 30


class Copies:
    """How much of the temporary folder copies of remote files may fill at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = self._bytes = 0

    def take(self, size: int, *, begins: bool) -> bool:
        """Take room for *size* more bytes of a copy, if there is any."""
        with self._lock:
            if self._bytes + size > COPIED_BYTES or self._count + begins > COPIES:
                return False
            self._bytes += size
            self._count += begins
            return True

    def give_back(self, size: int) -> None:
        """Make the room of a whole copy free."""
        with self._lock:
            self._bytes -= size
            self._count -= 1


_copies = Copies()


class RemoteSource:
    """A remote file. To be sent it is read once: a temporary copy is kept, except of what is very large."""

    __slots__ = ("_copied", "_copy", "_found", "_reader", "keeps", "label")
    repeatable = True

    def __init__(self, found: RemoteObject) -> None:
        self._found = found
        self.label: str = found.label
        self.keeps: bool = False
        """Whether what is read to examine it is going to be sent."""
        self._copy: IO[bytes] | None = None
        self._reader: FileObjectSource | None = None
        """Reads the copy for all parts that are sent at once: they share its position."""
        self._copied = 0

    @property
    def found(self) -> RemoteObject:
        """What it reads."""
        return self._found

    @property
    def copied(self) -> int:
        """Bytes of the copy that it has."""
        return self._copied

    async def examine(self, reach: Reach) -> Facts:
        return await to_end_in_thread(self.examine_now, reach)

    def examine_now(self, reach: Reach) -> Facts:
        """Examine it in this thread."""
        return _asked(self.label, functools.partial(self._examine, reach))

    def _examine(self, reach: Reach) -> Facts:
        if reach == "head" and (size := self._found.size) is not None:
            return Facts(size, None, sniff(self._found.head(SNIFF_BYTES)))
        found = Digesting(reach)
        first = b""
        try:
            with self._found.open() as file:
                while data := file.read(CHUNK):
                    if self.keeps and found.size:  # a file of one piece is kept in memory, if at all
                        self._keep(data if self._copy is not None else first + data)
                    found.update(data)
                    first = first or data
        except BaseException:
            self._drop()
            raise
        return found.facts(data=first if len(first) == found.size else None)

    def _keep(self, data: bytes) -> None:
        """Copy the next bytes; a copy that cannot be whole is dropped, and the file is read again."""
        if not _copies.take(len(data), begins=self._copy is None):
            self._drop()
            return
        self._copied += len(data)
        try:
            if self._copy is None:
                self._copy = tempfile.TemporaryFile()  # noqa: SIM115 - until it is sent
                self._reader = FileObjectSource(self.label, self._copy)
            self._copy.write(data)
        except OSError:
            self._drop()

    def _drop(self) -> None:
        self.keeps = False
        if self._copied:
            _copies.give_back(self._copied)
            self._copied = 0
        if self._copy is not None:
            self._copy.close()
            self._copy = self._reader = None

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes | memoryview]:
        if self._reader is not None:
            async for data in self._reader.chunks(start, end):
                yield data
            return
        file = await to_end_in_thread(_asked, self.label, lambda: self._open_at(start))
        try:
            left = end - start
            while left > 0:
                read = functools.partial(file.read, min(CHUNK, left))
                data = await to_end_in_thread(_asked, self.label, read)
                if not data:
                    raise SourceChangedError(f"{self.label} has become shorter")
                left -= len(data)
                yield data
        finally:
            file.close()

    def _open_at(self, start: int) -> IO[bytes]:
        file = self._found.open()
        try:
            if start and file.seekable():
                file.seek(start)
            else:
                while start and (data := file.read(min(CHUNK, start))):
                    start -= len(data)
        except BaseException:
            file.close()
            raise
        return file

    async def still(self, stamp: Stamp | None) -> bool:
        return True

    def close(self) -> None:
        """Remove the copy."""
        self._drop()

    def __del__(self) -> None:
        self._drop()
