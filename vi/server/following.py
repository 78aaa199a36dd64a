"""The service of a folder as one client sees it: its owner may end, and this client starts the next."""

from __future__ import annotations

import asyncio
import contextvars
import os
import weakref
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import ViConfigurationError, ViNetworkError
from .config import Folder
from .disk.lock import is_held, read_address
from .lifecycle import LocalService, ServiceRunningError, open_service


class Following:
    """Looks where the service of a folder answers, before each request of a client and after a refused connection.

    What was embedded in a client that has ended is started again here, at the same address if nobody has taken that:
    signed URLs stay good. A service of its own, which somebody else starts and ends, is only looked for; so is any by
    the copy of a client, and after a fork.
    """

    def __init__(self, data: Path, service: LocalService | None = None) -> None:
        self.data = data
        """The folder."""
        self._folder = Folder(data)
        self._may_start = service is not None
        found = read_address(self._folder.lock)
        self.address: str | None = found.url if found is not None else None
        """Where the service answered at first, if it did."""
        self._embedded = found is None or found.embedded
        self._own = service if service is not None and service.owned else None
        self._pid = os.getpid()
        self._closed = False
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def find(self, known: str, *, refused: bool) -> str | None:
        """Return the address if it is no longer the *known* one, or if that has *refused* and now answers again.

        Raises `ViNetworkError` when the service has ended and cannot be started here.
        """
        if self._runs_here:
            return None
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            return await self._find(known, refused)

    async def _find(self, known: str, refused: bool) -> str | None:
        found = read_address(self._folder.lock)
        if found is not None:
            self._embedded = found.embedded
            if found.url != known:
                return found.url
        if self._runs_here:  # another task has started it
            return known
        may_start = self._may_start and self._embedded and self._pid == os.getpid()
        if not may_start or (found is not None and not refused):
            return None
        # Apart from the request: its context and its scopes are not those of the service.
        return await asyncio.create_task(self._take_over(urlsplit(known).port or 0), context=contextvars.Context())

    async def _take_over(self, port: int) -> str:
        service = await self._open(port)
        if self._closed:
            await service.aclose()
        elif service.owned:
            self._own = service
        return service.url

    async def _open(self, port: int) -> LocalService:
        root = self._folder.root
        try:
            if not self._folder.identity.exists():
                raise ViConfigurationError(f"The folder {root} is gone.", suggestion="Make a new client.")
            try:
                return await open_service(root, port=port)
            except ServiceRunningError:
                raise
            except ViConfigurationError:  # the port may have been taken; else the reason comes again
                return await open_service(root)
        except ViConfigurationError as error:
            raise ViNetworkError(
                f"The local service has ended, and cannot be started again here. {error.message}",
                suggestion=error.suggestion or "Make a new client.",
                error_code="ConnectionFailed",
            ) from None

    def serves(self, address: str) -> bool:
        """Tell whether the service of the folder is at *address*, after something there took a connection.

        A service that was killed leaves its address behind, and any user of the machine may listen there next. Its
        lock ends with its process, like its listener: while it is held, nobody else can have taken the connection.
        """
        if self._runs_here:
            return True
        found = read_address(self._folder.lock)
        return found is not None and found.url == address and is_held(self._folder.lock)

    async def aclose(self) -> None:
        """End the service if this client runs it; that of a parent process is left alone."""
        self._closed = True
        service, self._own = self._own, None
        if service is not None and self._pid == os.getpid():
            await service.aclose()

    @property
    def _runs_here(self) -> bool:
        return self._own is not None and self._pid == os.getpid()
