"""Starting, joining and ending a local service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._closing import AsyncClosing
from .._disk import flush_folder, open_private, write_all
from .._optional import require
from .._paths import as_path
from ..errors import ViConfigurationError
from .config import IN_WORKER, Folder, ServiceConfig
from .disk.lock import FolderLock, read_address
from .identity import Identity, read_identity
from .log import be_heard

if TYPE_CHECKING:
    from .running import Running

_JOIN_SECONDS = 20.0
_JOIN_STEP = 0.05

Data = str | os.PathLike[str]


class ServiceRunningError(ViConfigurationError):
    """The folder is already served, at *url*."""

    def __init__(self, message: str, *, url: str | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.url = url


def wall_clock() -> int:
    """Return the milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class LocalService(AsyncClosing):
    """A service of a folder: one that this process runs (*owned*), or one that another does."""

    def __init__(self, url: str, identity: Identity, data: Path, running: Running | None) -> None:
        self.url = url
        self.data = data
        self._identity = identity
        self._running = running

    @property
    def secret_key(self) -> str:
        """The key of the organization."""
        return self._identity.secret_key

    @property
    def organization_id(self) -> str:
        """The organization of the folder."""
        return self._identity.organization_id

    @property
    def owned(self) -> bool:
        """Whether `aclose` ends the service."""
        return self._running is not None

    def login_link(self) -> str | None:
        """Return an address of the gallery that logs one browser in within the hour; None if another process serves."""
        return self._running.login_link() if self._running is not None else None

    async def drain(self, enough: asyncio.Event) -> None:
        """Let load balancers see that the service is about to end, for `drain_seconds` or until *enough* is set.

        It answers as before, but each answer closes its connection and ``/healthz/ready`` answers 503. Does nothing to
        a service of another process.
        """
        if self._running is not None:
            await self._running.drain(enough)

    async def aclose(self) -> None:
        """End the service, once its current requests are answered; does nothing to a service of another process."""
        running, self._running = self._running, None
        if running is not None:
            await running.aclose()

    def __repr__(self) -> str:
        return f"LocalService(url={self.url!r}, organization_id={self.organization_id!r}, owned={self.owned})"


async def serve(
    data: Data,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    config: ServiceConfig | None = None,
    clock: Callable[[], int] = wall_clock,
    middlewares: Sequence[Any] = (),
    embedded: bool = False,
) -> LocalService:
    """Serve the folder *data* from this event loop; port 0 takes a free one.

    *middlewares* are aiohttp middlewares put before the service's own; an *embedded* service ends with the client that
    started it, and clients that have joined it start the next. Raises `ServiceRunningError` when the folder is
    already served.
    """
    config = config or ServiceConfig()
    folder = await _begin(data)
    # With a database of their own several processes serve one folder: their rows keep them apart.
    lock = None if config.database is not None else hold_folder(folder)
    try:
        from .running import Running

        running = await Running.start(folder, lock, host, port, config, clock, middlewares)
    except OSError as error:
        _release(lock)
        raise _unusable(folder, error) from error
    except BaseException:
        _release(lock)
        raise
    try:
        if lock is not None:
            lock.announce(running.url, embedded=embedded)
    except OSError as error:
        await running.aclose()
        raise _unusable(folder, error) from error
    return LocalService(running.url, running.identity, folder.root, running)


@contextlib.asynccontextmanager
async def working(data: Data, config: ServiceConfig) -> AsyncIterator[Path]:
    """Look at the files that the services of a folder and its database receive, in a block, which gets the folder.

    There is no listener. Claimed files are given back at the end, and others look at them.
    """
    if config.database is None:
        raise ViConfigurationError(
            "A worker needs the PostgreSQL database of its services.",
            suggestion="Name it by --database or VI_DATABASE; a service with SQLite looks at its files itself.",
        )
    folder = await _begin(data)
    async with contextlib.AsyncExitStack() as parts:
        try:
            from .parts import open_parts

            await open_parts(parts, folder, config, wall_clock)
        except OSError as error:
            raise _unusable(folder, error) from error
        yield folder.root


async def _begin(data: Data) -> Folder:
    be_heard()
    if IN_WORKER in os.environ:
        # It would start workers in its turn, and each of them this program again.
        raise ViConfigurationError(
            "A local service cannot start in a process that was itself started to look at images.",
            suggestion=f"sys.executable must be a Python interpreter where a service runs; {IN_WORKER} is set by it.",
        )
    await asyncio.to_thread(_require_libraries)
    return _prepare(data)


def hold_folder(folder: Folder) -> FolderLock:
    """Return the lock of a folder; raises `ServiceRunningError` when a running process has it."""
    try:
        lock = FolderLock.take(folder.lock)
    except OSError as error:
        raise _unusable(folder, error) from error
    if lock is None:
        found = read_address(folder.lock)
        url = found.url if found is not None else None
        raise ServiceRunningError(
            f"{folder.root} is already served at {url or 'another address'}.",
            url=url,
            suggestion="Use that service, stop it first, or serve another folder.",
        )
    return lock


def _release(lock: FolderLock | None) -> None:
    if lock is not None:
        lock.release()


async def open_service(
    data: Data,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    config: ServiceConfig | None = None,
) -> LocalService:
    """Start the service of a folder, or join the one that serves it now."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _JOIN_SECONDS
    while True:
        try:
            return await serve(data, host=host, port=port, config=config, embedded=True)
        except ServiceRunningError as running:
            if running.url is not None and await _answers(running.url):
                return _join(data, running.url)
            if loop.time() > deadline:
                raise
        # Its holder is starting, or ending; a dead one holds no lock.
        await asyncio.sleep(_JOIN_STEP)


def _join(data: Data, url: str) -> LocalService:
    folder = _folder(data)
    return LocalService(url, read_identity(folder.identity), folder.root, None)


async def _answers(url: str) -> bool:
    import aiohttp

    try:
        timeout = aiohttp.ClientTimeout(total=5)
        # Nothing is sent or believed here, so that any certificate will do.
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, ssl=False) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _folder(data: Data) -> Folder:
    return Folder(as_path(data, "data").resolve())


def _prepare(data: Data) -> Folder:
    folder = _folder(data)
    try:
        made = [path for path in (folder.root, *folder.root.parents) if not path.exists()]
        folder.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in made:
            flush_folder(path.parent)
        if not any(folder.root.iterdir()) or folder.identity.exists() or folder.elsewhere.exists():
            folder.root.chmod(0o700)
            _ignore(folder.root)
    except OSError as error:
        raise _unusable(folder, error) from error
    return folder


def _ignore(root: Path) -> None:
    """Keep the folder, which holds its key, out of the repository that it may lie in."""
    with contextlib.suppress(FileExistsError), open_private(root / ".gitignore") as file:
        write_all(file, b"# The local service keeps its key here.\n*\n")


def _unusable(folder: Folder, error: OSError) -> ViConfigurationError:
    message = f"The folder {folder.root} cannot be used: {error.strerror or error}."
    return ViConfigurationError(message, path=str(folder.root))


def _require_libraries() -> None:
    for library in ("markupsafe", "sqlalchemy", "PIL.Image"):
        require(library, "The local service")
