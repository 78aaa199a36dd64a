"""Remote files: whatever opens itself for reading, as paths of fsspec and universal_pathlib do.

They are told by their shape, so nothing of those libraries is imported; only an address given as text (``s3://...``)
needs universal_pathlib, to find out who can open it. Their calls block, so each runs in a thread.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import attrs

from ..._checksums import crc32c
from ..._media import SNIFF_BYTES
from ..._redact import redact
from ...errors import ViConfigurationError
from ..outcomes import SourceChangedError, SourceFailedError
from ..threads.stopping import to_end_in_thread
from .local import CHUNK, Facts, Stamp

R = TypeVar("R")

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
WEB = ("http://", "https://")
NUMBERS = ((FileNotFoundError, errno.ENOENT), (PermissionError, errno.EACCES), (TimeoutError, errno.ETIMEDOUT))


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
        yield from sorted((child for child in found if child is not None), key=lambda child: child.name)

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
    if isinstance(item, str):
        return as_remote(path_of(item)) if ADDRESS.match(item) and not is_file_address(item) else None
    if isinstance(item, os.PathLike) or hasattr(item, "read") or not callable(getattr(item, "open", None)):
        return None
    name: Any = getattr(item, "name", None)
    if _is_open_file(item):
        address = str(getattr(item, "full_name", item.path))
        name = address.rpartition("/")[2]
    elif isinstance(name, str):
        address = str(item)
    else:
        return None
    if address.startswith(WEB):
        parts = urlsplit(address)
        address = parts._replace(query="", fragment="", netloc=parts.netloc.rpartition("@")[2]).geturl()
        return RemoteObject(address, unquote(parts.path).rstrip("/").rpartition("/")[2], item)
    return RemoteObject(address, name, item)


def is_file_address(item: str) -> bool:
    """Tell whether *item* is the address of a local file, which nothing is needed to open."""
    return item[:7].lower() == "file://"


def local_path(address: str) -> str:
    """Return the path that the address of a local file stands for."""
    return url2pathname(urlsplit(address).path)


def path_of(address: str) -> Any:
    """Return the path of universal_pathlib for an address."""
    try:
        from upath import UPath
    except ImportError:
        raise ViConfigurationError(
            f"{address.partition('://')[0]}:// addresses need universal_pathlib.",
            suggestion="Install it with: pip install 'vi-async-sdk[cloud]'",
        ) from None
    try:
        return UPath(address)
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


class RemoteSource:
    """A remote file. It is read once to be announced and again to be sent; nothing of it is kept."""

    __slots__ = ("_found", "label")
    repeatable = True

    def __init__(self, found: RemoteObject) -> None:
        self._found = found
        self.label = found.label

    async def examine(self) -> Facts:
        return await to_end_in_thread(_asked, self.label, self._examine)

    def _examine(self) -> Facts:
        head, crc, size = b"", 0, 0
        with self._found.open() as file:
            while data := file.read(CHUNK):
                head = head or data[:SNIFF_BYTES]
                crc = crc32c(data, crc)
                size += len(data)
        return Facts(size, crc, head)

    async def chunks(self, start: int, end: int) -> AsyncGenerator[bytes | memoryview]:
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
        """Nothing is held between readings."""
