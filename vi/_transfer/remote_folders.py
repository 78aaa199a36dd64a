"""A remote folder that files are put into: what universal_pathlib and fsspec reach and can write to.

A file is sent under a temporary name beside its own and then moved, so a partly written file never appears under the
final name. The calls of those libraries block, so everything here does and belongs in a thread; what they raise becomes
an `OSError` that names the address without its query or password.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import anyio
import attrs

from .._checksums import Expected
from .._redact import redact
from ..errors import ViConfigurationError, ViInvalidParameterError
from .files import CHUNK
from .sources.remote import ADDRESS, NUMBERS, WEB, RemoteObject, is_file_address, is_local, path_of
from .threads.lanes import LAST_SECONDS, LOOK_SECONDS
from .threads.stopping import StoppedError, in_thread, still_wanted

R = TypeVar("R")


class RemotePath(Protocol):
    """What a path of universal_pathlib has: the file system that it is on, and where it is on that."""

    @property
    def fs(self) -> Any: ...

    @property
    def path(self) -> str: ...


@attrs.frozen
class RemoteFolder:
    """A folder: its address, to be shown, and the path that the caller gave or that was made of an address."""

    label: str
    path: Any

    def target(self, name: str) -> str:
        """Return the address of a file in it, to be shown."""
        return f"{self.label}/{name}"

    def below(self, target: str) -> str:
        """Return the name of a file in it by its address; empty for what is not in it."""
        name = target.removeprefix(f"{self.label}/") if target.startswith(f"{self.label}/") else ""
        return "" if any(part in ("", ".", "..") for part in name.split("/")) else name

    def found(self) -> RemoteObject:
        """Return it as something to be read."""
        return RemoteObject(self.label, self.label.rpartition("/")[2], self.path)

    def file(self, name: str) -> RemoteObject:
        """Return a file in it as something to be read."""
        return RemoteObject(self.target(name), name.rpartition("/")[2], self.path.joinpath(*name.split("/")))

    def remove(self, name: str) -> None:
        """Delete a file in it. Blocking."""
        _asked(self.target(name), lambda: self.path.fs.rm_file(self._path(name)))

    def prepare(self) -> None:
        """Make the folder if it is missing and prove that a file can be made and removed in it. Blocking.

        `FileExistsError` for a file, below which some stores would save too.
        """
        fs = self._fs()
        probe = self._path(_temporary())

        def make() -> None:
            fs.invalidate_cache()
            if fs.isfile(self.path.path) and not fs.isdir(self.path.path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.label)
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
                if "/" in name:
                    fs.makedirs(final.rpartition("/")[0], exist_ok=True)
                if not replace and fs.exists(final):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), final)
                _move(fs, temporary, final)
            except BaseException:
                with contextlib.suppress(Exception):  # it may never have come to be
                    fs.rm_file(temporary)
                raise

        _asked(self.target(name), put)

    def names(self) -> list[str]:
        """Return the names of the files in it. Blocking."""
        fs = self._fs()

        def look() -> list[str]:
            fs.invalidate_cache()
            return [str(path).rstrip("/").rpartition("/")[2] for path in fs.ls(self.path.path, detail=False)]

        return _asked(self.label, look)

    def read(self, name: str, most: int) -> bytes:
        """Return the first *most* bytes of a file in it, with one request. Blocking."""
        fs, path = self._fs(), self._path(name)

        def read() -> bytes:
            try:
                return bytes(fs.cat_file(path, start=0, end=most))
            except FileNotFoundError:
                raise
            except Exception:
                fs.invalidate_cache()
                if fs.info(path).get("size") == 0:  # no part of an empty object can be had
                    return b""
                raise

        return _asked(self.target(name), read)

    def write(self, name: str, data: bytes) -> None:
        """Write a small file in it, in place of one of the same name. Blocking."""
        fs, temporary = self._fs(), self._path(_temporary())

        def write() -> None:
            try:
                try:
                    fs.pipe_file(temporary, data)
                except FileNotFoundError:
                    fs.makedirs(self.path.path, exist_ok=True)
                    fs.pipe_file(temporary, data)
                _move(fs, temporary, self._path(name))
            except BaseException:
                with contextlib.suppress(Exception):  # it may never have come to be
                    fs.rm_file(temporary)
                raise

        _asked(self.target(name), write)

    def _fs(self) -> Any:
        try:
            return self.path.fs
        except ImportError as error:
            raise ViConfigurationError(f"{self.label} cannot be used: {redact(str(error))}.") from None

    def _path(self, name: str) -> str:
        return f"{str(self.path.path).rstrip('/')}/{name}"


def is_remote(item: Any) -> bool:
    """Tell whether *item* is a remote folder: an address as text, or a path on a file system of fsspec."""
    if isinstance(item, str):
        return ADDRESS.match(item) is not None and not is_file_address(item)
    # Asking a path itself for its fs may import a library.
    return not is_local(item) and hasattr(type(item), "fs") and callable(getattr(item, "iterdir", None))


def remote_folder(item: Any) -> RemoteFolder:
    """Return the folder that *item*, which `is_remote`, is. Blocking: it may import a library."""
    address = str(item)
    if address.lower().startswith(WEB):
        raise ViInvalidParameterError(
            f"{address.partition('://')[0]}:// addresses can only be read, not saved to.",
            parameter="save_dir",
            suggestion="Give a local folder, or a writable address such as s3://bucket/folder.",
        )
    path = path_of(item) if isinstance(item, str) else item
    return RemoteFolder(without_password(str(path), path).rstrip("/"), path)


def without_password(address: str, path: object) -> str:
    """Return an address without a password and without its query, which may be a signature.

    Where the *path* holds its question mark too, as in a bucket, it is part of a name.
    """
    scheme, _, rest = address.partition("://")
    before, _, query = rest.partition("?")
    place = getattr(path, "path", "")
    is_name = isinstance(place, str) and place.rstrip("/").endswith(f"?{query}".rstrip("/"))
    host, slash, below = (rest if is_name else before).partition("/")
    if ":" in host.rpartition("@")[0]:
        host = host.rpartition("@")[2]
    return f"{scheme}://{host}{slash}{below}"


async def to_the_end(call: Callable[[], None]) -> None:
    """Run *call* in a thread; once cancelled, it has a while to finish and clean up."""
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

    if getattr(fs.mv, "__func__", None) is not AbstractFileSystem.mv:
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
