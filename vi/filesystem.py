"""``vi://DATASET/name`` for fsspec: the datasets of a service as a file system, of which each asset is a file.

Found by fsspec under its protocol (extra ``cloud``). The key comes from the environment or the default settings file,
or as storage options named as the arguments of `vi.Client`. A ``/`` in a name makes a pseudo-folder. Files are read
verified and written whole; nothing appears under its name before all of it is stored.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import datetime as dt
import io
import os
import secrets
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from ._directories import Entry, Names, Saved, climbs, reopened
from ._disk import when_free
from ._optional import require
from ._paths import as_path
from ._secret import concealed
from .api.resources.datasets.assets.reading.stream import AssetFile
from .client import AsyncClient
from .errors import ViNotFoundError

require("fsspec", "vi.filesystem")
from fsspec.asyn import AsyncFileSystem, get_loop, sync  # noqa: E402
from fsspec.callbacks import DEFAULT_CALLBACK, Callback  # noqa: E402

PROTOCOL = "vi"
SPOOLED = 16 << 20
SINGLE_LOOKUPS = 3
"""How many files of a dataset are looked up one by one before all of it is listed."""

_SETTINGS = (
    "secret_key", "organization_id", "endpoint", "config_file", "profile", "timeouts", "retries", "limits", "allow_http"
)  # fmt: skip

_clients: dict[tuple[Any, ...], AsyncClient] = {}
_clients_lock = threading.Lock()


def _client(settings: dict[str, Any]) -> AsyncClient:
    """Return this process's one client of these settings."""
    key = (os.getpid(), *sorted((name, repr(value), value) for name, value in settings.items()))
    if not settings:
        key = (*key, *(os.environ.get(name) for name in ("DATATURE_VI_API_ENDPOINT", "DATATURE_VI_ORGANIZATION_ID")))
    with _clients_lock:
        found = _clients.get(key)
        if found is None:
            found = _clients[key] = AsyncClient(**settings)
        return found


@atexit.register
def close_clients() -> None:
    """Close the clients of every file system of this process; the next call opens others."""
    with _clients_lock:
        clients = [client for (pid, *_), client in _clients.items() if pid == os.getpid()]
        _clients.clear()
    for client in clients:
        sync(get_loop(), client.aclose)


def _after_fork() -> None:
    global _clients_lock
    _clients_lock = threading.Lock()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)


class ViFileSystem(AsyncFileSystem):  # type: ignore[misc] # fsspec has no types
    """Datasets as folders, assets as files.

    Options: those of `vi.Client` by name, and *listings_expiry_time* in seconds (None: a listing is kept until
    `invalidate_cache`). All file systems of one process and one set of settings share a client. Pickles have the
    listings and the options, the key too if it is one of them; they work after a fork and in spawned processes.
    """

    protocol = PROTOCOL
    root_marker = ""
    cachable = True

    def __init__(self, *args: Any, listings_expiry_time: float | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._process = os.getpid()
        self._settings = concealed({name: options[name] for name in _SETTINGS if options.get(name) is not None})
        self._listings_expiry_time = listings_expiry_time
        self._listings: dict[str, Names] = {}
        self._lookups: dict[str, int] = {}
        self._locks: dict[tuple[int, str], asyncio.Lock] = {}

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that calls run in; a forked child has one of its own."""
        if self._process != os.getpid():
            self._process = self._pid = os.getpid()
            self._locks = {}
            self._loop = None if self.asynchronous else get_loop()
        return cast("asyncio.AbstractEventLoop", self._loop)

    @property
    def client(self) -> AsyncClient:
        """The client of this process."""
        return _client(self._settings)

    @property  # fsspec sets an attribute: what it sets is concealed here
    def storage_options(self) -> dict[str, Any]:
        """The options that it was made with; the repr of a key is masked."""
        return self._storage_options

    @storage_options.setter
    def storage_options(self, options: dict[str, Any]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._storage_options: dict[str, Any] = concealed(options)

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Return what `from_dict` makes it of again; without *include_password*, the key is left out."""
        found: dict[str, Any] = super().to_dict(include_password=include_password)
        if not include_password:
            found.pop("secret_key", None)
        return found

    @property
    def fsid(self) -> str:
        """What tells this service's files from those of another."""
        settings = self.client.settings
        return f"{PROTOCOL}_{settings.endpoint}_{settings.organization_id}"

    def __reduce__(self) -> tuple[Any, ...]:
        return reopened, (type(self), self.storage_args, self.storage_options, self._listings)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = os.fspath(path)
        return text.removeprefix("vi://").strip("/") if text.startswith("vi://") else text.lstrip("/").rstrip("/")

    def unstrip_protocol(self, name: str) -> str:
        """Return the address of a path."""
        return f"vi://{self._strip_protocol(name)}"

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget the listing of the dataset of *path*, or of all."""
        if path is None:
            self._listings.clear()
        else:
            self._listings.pop(self._split(path)[0], None)
        super().invalidate_cache(path)

    # find

    def _split(self, path: str) -> tuple[str, str]:
        dataset, _, name = self._strip_protocol(path).partition("/")
        return dataset, name

    async def _names(self, dataset: str, *, refresh: bool = False) -> Names:
        """List a dataset, unless its listing is at hand."""
        lock = self._locks.setdefault((os.getpid(), dataset), asyncio.Lock())
        async with lock:
            found = self._at_hand(dataset)
            if found is None or refresh:
                files: dict[str, Entry] = {}
                try:
                    async for asset in self.client.assets.list(dataset, contents=True).all_items():
                        files[asset.filename] = Entry.of(asset)
                except ViNotFoundError:
                    raise FileNotFoundError(f"vi://{dataset}") from None
                found = self._listings[dataset] = Names(files)
            return found

    def _at_hand(self, dataset: str) -> Names | None:
        found = self._listings.get(dataset)
        life = self._listings_expiry_time
        return None if found is None or (life is not None and time.time() - found.came > life) else found

    async def _entry(self, path: str) -> Entry | None:
        """Find a file; None if no file has this name."""
        dataset, name = self._split(path)
        if not name:
            return None
        names = self._at_hand(dataset)
        if names is None and self._lookups.get(dataset, 0) >= SINGLE_LOOKUPS:
            names = await self._names(dataset)
        if names is not None and (name in names.files or name in names.folders):
            return names.files.get(name)
        self._lookups[dataset] = self._lookups.get(dataset, 0) + 1
        try:
            asset = await self.client.assets.get(dataset, filename=name, contents=True)
        except ViNotFoundError:
            return None
        entry = Entry.of(asset)
        if names is not None:
            names.add(name, entry)
        return entry

    async def _file(self, path: str) -> Entry:
        entry = await self._entry(path)
        if entry is not None:
            return entry
        if await self._isdir(path):
            raise IsADirectoryError(path)
        raise FileNotFoundError(path)

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        dataset, name = self._split(path)
        folder = {"name": path, "size": 0, "type": "directory"}
        if not dataset:
            return folder
        entry = await self._entry(path)
        if entry is not None:
            return entry.info(path)
        if not name and self._at_hand(dataset) is None:
            try:
                await self.client.datasets.get(dataset)
            except ViNotFoundError:
                raise FileNotFoundError(path) from None
            return folder
        if name in (await self._names(dataset)).folders:
            return folder
        raise FileNotFoundError(path)

    async def _ls(self, path: str, detail: bool = True, refresh: bool = False, **kwargs: Any) -> list[Any]:
        path = self._strip_protocol(path)
        dataset, name = self._split(path)
        found: list[dict[str, Any]] = []
        if not dataset:
            async for one in self.client.datasets.list().all_items():
                found.append({"name": one.dataset_id, "size": 0, "type": "directory", "title": one.name})
        else:
            names = await self._names(dataset, refresh=refresh)
            if name in names.folders:
                for child, is_folder in names.folders[name].items():
                    full = f"{dataset}/{child}"
                    found += [names.files[child].info(full)] if child in names.files else []
                    found += [{"name": full, "size": 0, "type": "directory"}] if is_folder else []
            else:
                found.append((await self._file(path)).info(path))
        return found if detail else sorted({one["name"] for one in found})

    async def _expand_path(
        self, path: Any, recursive: bool = False, maxdepth: int | None = None, *more: Any, **options: Any
    ) -> list[str]:
        paths = [path] if isinstance(path, str) else list(path)
        if len(paths) > SINGLE_LOOKUPS:
            await self._list_those_of(paths)
        literal = {self._strip_protocol(one) for one in paths if self._is_listed(one)}
        rest = [one for one in paths if self._strip_protocol(one) not in literal]
        found = await super()._expand_path(rest, recursive, maxdepth, *more, **options) if rest else []
        return sorted({*literal, *found})

    def _is_listed(self, path: str) -> bool:
        """Tell whether a file has exactly this name, even if the name is a pattern."""
        dataset, name = self._split(path)
        names = self._at_hand(dataset)
        return names is not None and name in names.files

    async def _list_those_of(self, paths: Iterable[str]) -> None:
        for dataset in {self._split(path)[0] for path in paths} - {""}:
            await self._names(dataset)

    # read

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        path = self._strip_protocol(path)
        dataset, name = self._split(path)
        entry = await self._file(path)
        asset = entry.asset(dataset, name)
        try:
            if start is None and end is None:
                return await self.client.assets.read(dataset, asset)
            first, last, _ = slice(start, end).indices(entry.size)
            if first >= last:
                return b""
            async with self.client.assets.open(dataset, asset, first, last) as stream:
                return await stream.read()
        except ViNotFoundError:
            self._forget(dataset, name)
            raise FileNotFoundError(path) from None

    async def _cat_ranges(self, paths: list[str], starts: Any, ends: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if len(set(paths)) > SINGLE_LOOKUPS:
            await self._list_those_of(paths)
        found: list[Any] = await super()._cat_ranges(paths, starts, ends, *args, **kwargs)
        return found

    async def _get(self, *args: Any, **kwargs: Any) -> Any:
        return await super()._get(*args, saved=Saved(), **kwargs)

    async def _get_file(self, rpath: str, lpath: Any, callback: Callback = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        rpath = self._strip_protocol(rpath)
        if climbs(rpath) and not hasattr(lpath, "write") and climbs(os.fspath(lpath)):
            raise ValueError(f"{rpath!r} names a folder above its own: it would be saved outside the destination.")
        if await self._isdir(rpath):
            await asyncio.to_thread(Path(lpath).mkdir, parents=True, exist_ok=True)
            return
        dataset, name = self._split(rpath)
        asset = (await self._file(rpath)).asset(dataset, name)
        callback.set_size(asset.metadata.file_size)
        target = None if hasattr(lpath, "write") else as_path(lpath, "lpath")
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{secrets.token_hex(8)}.vi-part") if target is not None else None
        try:
            file = lpath if part is None else part.open("xb")
            try:
                async with self.client.assets.open(dataset, asset) as stream:
                    async for piece in stream:
                        await asyncio.to_thread(file.write, piece)
                        callback.relative_update(len(piece))
            finally:
                if part is not None:
                    file.close()
            if part is not None and target is not None:
                kwargs.get("saved", Saved()).put(part, target)
        except ViNotFoundError:
            raise FileNotFoundError(rpath) from None
        finally:
            if part is not None:
                with contextlib.suppress(OSError):
                    when_free(os.unlink, part)

    def _open(self, path: str, mode: str = "rb", *args: Any, autocommit: bool = True, **kwargs: Any) -> Any:
        if mode == "rb":
            return sync(self.loop, self._open_file, path)
        if mode not in ("wb", "xb"):
            raise NotImplementedError(f"An asset is read or written whole: mode {mode!r} is not possible.")
        if mode == "xb" and self.exists(path):
            raise FileExistsError(path)
        self._target(path)
        return WholeFile(self, self._strip_protocol(path), autocommit)

    async def _open_file(self, path: str) -> AssetFile:
        dataset, name = self._split(path)
        asset = (await self._file(path)).asset(dataset, name)
        opening = self.client.assets.open(dataset, asset)
        stream = await opening
        return AssetFile(stream, self._run)

    def _run(self, call: Any) -> Any:
        return sync(self.loop, call)

    # write

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        dataset, name = self._target(path)
        if mode == "create" and await self._entry(path) is not None:
            raise FileExistsError(path)
        await self._store(dataset, name, (name, bytes(value)))

    # The order of fsspec's `put_file` and `rm`, which are made of these; its `_put_file` and `_rm` have another.
    async def _put_file(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, lpath: Any, rpath: str, callback: Callback = DEFAULT_CALLBACK, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        if stat.S_ISDIR((found := await asyncio.to_thread(as_path(lpath, "lpath").stat)).st_mode):
            return
        dataset, name = self._target(rpath)
        if mode == "create" and await self._entry(rpath) is not None:
            raise FileExistsError(rpath)
        callback.set_size(found.st_size)
        await self._store(dataset, name, lpath)
        callback.relative_update(found.st_size)

    def _target(self, path: str) -> tuple[str, str]:
        dataset, name = self._split(path)
        if not name:
            raise IsADirectoryError(f"vi://{dataset} is a dataset: name a file in it.")
        return dataset, name

    async def _store(self, dataset: str, name: str, source: Any) -> None:
        try:
            await self.client.assets.upload(dataset, source, names=lambda _: name, show_progress=False)
        except ViNotFoundError:
            raise FileNotFoundError(f"vi://{dataset}") from None
        if (names := self._at_hand(dataset)) is not None:
            names.add(name, Entry.of(await self.client.assets.get(dataset, filename=name, contents=True)))

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        await self._pipe_file(path2, await self._cat_file(path1))

    async def _rm_file(self, path: str, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        dataset, name = self._split(path)
        entry = await self._file(self._strip_protocol(path))
        try:
            await self.client.assets.delete(dataset, entry.asset_id)
        except ViNotFoundError:
            raise FileNotFoundError(path) from None
        finally:
            self._forget(dataset, name)

    async def _rm(  # pyright: ignore[reportIncompatibleMethodOverride] # see `_put_file`
        self, path: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any
    ) -> None:
        """Delete files, the many of a folder in one request; a dataset itself stays."""
        ids: dict[str, dict[str, str]] = {}
        for one in await self._expand_path(path, recursive=recursive, maxdepth=maxdepth):
            if await self._isdir(one) and await self._entry(one) is None:
                if not recursive:
                    raise IsADirectoryError(one)
                continue
            dataset, name = self._split(one)
            ids.setdefault(dataset, {})[name] = (await self._file(one)).asset_id
        for dataset, found in ids.items():
            await self.client.assets.delete_many(dataset, list(found.values()))
            for name in found:
                self._forget(dataset, name)

    def _forget(self, dataset: str, name: str) -> None:
        if (names := self._listings.get(dataset)) is not None:
            names.remove(name)

    # tell files apart

    def modified(self, path: str) -> dt.datetime:
        """Return when the contents of a file last changed, in UTC."""
        return dt.datetime.fromtimestamp(self.info(path)["mtime"], dt.UTC)

    def created(self, path: str) -> dt.datetime:
        """Return when a file was stored first, in UTC."""
        return dt.datetime.fromtimestamp(self.info(path)["created"], dt.UTC)

    def ukey(self, path: str) -> str:
        """Return the digest of the contents as the service states it, which changes when they do."""
        return str(self.info(path)["ETag"])

    def checksum(self, path: str) -> int:
        """Return the digest of the contents as a number."""
        return int(self.ukey(path).encode().hex(), 16)


class WholeFile(io.BufferedIOBase):
    """A file being written: kept on this machine, and uploaded when it is closed without an error."""

    def __init__(self, fs: ViFileSystem, path: str, autocommit: bool) -> None:
        self._fs = fs
        self._autocommit = autocommit
        self._kept = tempfile.SpooledTemporaryFile(SPOOLED, prefix="vi-")  # noqa: SIM115 - closed with this file
        self.path = path
        self.mode = "wb"

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._check()
        return self._kept.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._check()
        return self._kept.seek(offset, whence)

    def tell(self) -> int:
        self._check()
        return self._kept.tell()

    def truncate(self, size: int | None = None, /) -> int:
        self._check()
        self._kept.truncate(size)
        return self._kept.tell() if size is None else size

    def close(self) -> None:
        """Upload what was written, or leave it for `commit` in a transaction."""
        if self.closed:
            return
        super().close()
        if self._autocommit:
            self.commit()

    def commit(self) -> None:
        """Upload what was written."""
        with self._kept as kept:
            kept.seek(0)
            self._fs.pipe_file(self.path, kept.read())

    def discard(self) -> None:
        """Drop what was written."""
        super().close()
        self._kept.close()

    def _check(self) -> None:
        if self.closed:
            raise ValueError("write to a closed file")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        self.close()

    def __del__(self) -> None:
        # One that nobody closed is not complete.
        if not self.closed:
            self.discard()
