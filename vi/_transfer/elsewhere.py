"""A folder elsewhere that files are put into: what universal_pathlib and fsspec reach and can write to.

A file is sent under a temporary name beside its own and then moved, so nothing half-written bears the final name. The
calls of those libraries block, so everything here does and belongs in a thread; what they raise becomes an `OSError`
that names the address without its query or password.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import anyio
import attrs

from .._checksums import Expected
from .._redact import redact
from ..errors import ViConfigurationError, ViInvalidParameterError
from .files import CHUNK
from .lanes import LAST_SECONDS, LOOK_SECONDS
from .openable import ADDRESS, NUMBERS, WEB, is_file_address, path_of
from .stopping import StoppedError, in_thread, still_wanted

R = TypeVar("R")


class PathElsewhere(Protocol):
    """What a path of universal_pathlib has: the file system that it is on, and where it is on that."""

    @property
    def fs(self) -> Any: ...

    @property
    def path(self) -> str: ...


@attrs.frozen
class FolderElsewhere:
    """A folder: its address, to be shown, and the path that the caller gave or that was made of an address."""

    label: str
    path: Any

    def target(self, name: str) -> str:
        """Return the address of a file in it, to be shown."""
        return f"{self.label}/{name}"

    def prepare(self) -> None:
        """Make the folder if it is missing and prove that a file can be made and removed in it. Blocking."""
        try:
            fs = self.path.fs
        except ImportError as error:
            raise ViConfigurationError(f"{self.label} cannot be used: {redact(str(error))}.") from None
        probe = self._path(_temporary())

        def make() -> None:
            fs.invalidate_cache()
            try:
                fs.pipe_file(probe, b"")
            except FileNotFoundError:
                fs.makedirs(self.path.path, exist_ok=True)
                fs.pipe_file(probe, b"")
            fs.rm_file(probe)

        _asked(self.label, make)

    def holds(self, name: str, size: int, expected: Expected) -> bool | None:
        """Tell whether its file *name* has this content; None if there is none. `IsADirectoryError` for a folder."""
        label, fs, path = self.target(name), self.path.fs, self._path(name)
        try:
            found = _asked(label, lambda: fs.info(path))
        except FileNotFoundError:
            return None
        if found.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), label)
        if not expected or found.get("size") not in (size, None):
            return False
        return _asked(label, lambda: _matches(fs, path, size, expected.fresh()))

    def put(self, file: str, name: str, *, replace: bool) -> None:
        """Bring the local *file* there as *name*; `FileExistsError` when that is taken and may not be replaced."""
        fs, final, temporary = self.path.fs, self._path(name), self._path(_temporary())

        def put() -> None:
            try:
                fs.put_file(file, temporary, callback=_ends_when_unwanted())
                still_wanted()
                if not replace and fs.exists(final):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), final)
                _move(fs, temporary, final)
            except BaseException:
                with contextlib.suppress(Exception):  # it may never have come to be
                    fs.rm_file(temporary)
                raise

        _asked(self.target(name), put)

    def _path(self, name: str) -> str:
        return f"{str(self.path.path).rstrip('/')}/{name}"


def as_folder_elsewhere(item: Any) -> FolderElsewhere | None:
    """Return *item* if it is a folder elsewhere, be it a path or an address as text; None for all that is not."""
    if isinstance(item, str):
        if not ADDRESS.match(item) or is_file_address(item):
            return None
        _refuse_web(item)
        item = path_of(item)
    # Asking a path itself for its fs may import a library.
    if isinstance(item, os.PathLike) or not hasattr(type(item), "fs") or not callable(getattr(item, "iterdir", None)):
        return None
    address = str(item)
    _refuse_web(address)
    parts = urlsplit(address)
    if ":" in parts.netloc.rpartition("@")[0]:
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return FolderElsewhere(f"{parts.scheme}://{f'{parts.netloc}{parts.path}'.rstrip('/')}", item)


def _refuse_web(address: str) -> None:
    if address.lower().startswith(WEB):
        raise ViInvalidParameterError(
            f"{address.partition('://')[0]}:// addresses can only be read, not saved to.",
            parameter="save_dir",
            suggestion="Give a local folder, or an address that can be written to, such as s3://bucket/folder.",
        )


async def to_the_end(call: Callable[[], None]) -> None:
    """Run *call* in a thread; once cancelled, it has a while to end by itself and clear up."""
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        try:
            call()
        finally:
            ended.set()

    try:
        await in_thread(work)
    except BaseException:
        if begun.is_set():
            with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_SECONDS):
                while not ended.is_set():  # noqa: ASYNC110 - set by a thread
                    await anyio.sleep(LOOK_SECONDS)
        raise


def _temporary() -> str:
    # No part of the file's own name: brackets in it would be a pattern to some calls.
    return f".{os.urandom(8).hex()}.part"


def _matches(fs: Any, path: str, size: int, check: Expected) -> bool:
    count = 0
    with fs.open(path, "rb") as file:
        while data := file.read(CHUNK):
            check.update(data)
            count += len(data)
            still_wanted()
    return count == size and check.matches()


def _move(fs: Any, one: str, other: str) -> None:
    from fsspec.spec import AbstractFileSystem

    if type(fs).mv is not AbstractFileSystem.mv:
        fs.mv(one, other)
        return
    # What the default does, but it would take brackets in the folder's name for a pattern.
    fs.cp_file(one, other)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(one)


def _ends_when_unwanted() -> Any:
    """Return a callback of fsspec that ends a transfer nobody waits for, in whatever thread it is called."""
    from fsspec.callbacks import Callback

    context = contextvars.copy_context()
    return Callback(hooks={"wanted": lambda *_, **__: context.copy().run(still_wanted)})


def _asked(label: str, call: Callable[[], R]) -> R:
    """Run *call* of a library that we do not know: what it raises is an `OSError` without anything secret."""
    try:
        return call()
    except StoppedError:
        raise
    except OSError as error:
        number = error.errno or next((number for cls, number in NUMBERS if isinstance(error, cls)), errno.EIO)
        reason = error.strerror if error.errno else None
    except Exception as error:  # noqa: BLE001 - each of these libraries has a tree of its own
        number, reason = errno.EIO, str(error) or type(error).__name__
    raise OSError(number, redact(reason or os.strerror(number)).rstrip("."), label)
