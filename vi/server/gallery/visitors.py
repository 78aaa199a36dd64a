"""Which browsers are logged in: kept in memory, or in the database where several processes show the gallery."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Protocol

import attrs

from ..store import visitors
from ..store.metadata import Metadata

_MAX_SESSIONS = 1000


@attrs.frozen
class Seen:
    """A browser that is logged in, by the digest of the key that it showed; None if it came by a ticket."""

    access: str | None


class Visitors(Protocol):
    """Browsers by the digests of their tokens. Times are milliseconds since 1970 UTC."""

    scope: str
    """Tickets that were made in another scope are not accepted."""

    async def add(self, digest: str, access: str | None, now: int) -> None:
        """Log a browser in."""

    async def see(self, digest: str, now: int) -> Seen | None:
        """Return a browser that is logged in, and note that it was seen."""

    async def drop(self, digest: str) -> None:
        """Log a browser out."""

    async def use(self, ticket: str, now: int) -> bool:
        """Use a ticket up, by its digest; false if it was used before."""
        ...


class MemoryVisitors:
    """The browsers of one process, logged out when it ends."""

    def __init__(self) -> None:
        self.scope: str = secrets.token_hex(8)
        self._seen: dict[str, tuple[int, str | None]] = {}
        self._used: set[str] = set()

    async def add(self, digest: str, access: str | None, now: int) -> None:
        """Log a browser in; of too many, the one that was not seen for longest is logged out."""
        self._seen = {digest: seen for digest, seen in self._seen.items() if now - seen[0] < visitors.IDLE_MS}
        if len(self._seen) >= _MAX_SESSIONS:
            del self._seen[next(iter(self._seen))]
        self._seen[digest] = now, access

    async def see(self, digest: str, now: int) -> Seen | None:
        """Return a browser that is logged in, and note that it was seen."""
        seen, access = self._seen.pop(digest, (None, None))
        if seen is None or now - seen >= visitors.IDLE_MS:
            return None
        self._seen[digest] = now, access  # back in at the end: whoever was not seen for longest goes first
        return Seen(access)

    async def drop(self, digest: str) -> None:
        """Log a browser out."""
        self._seen.pop(digest, None)

    async def use(self, ticket: str, now: int) -> bool:
        """Use a ticket up; false if it was used before."""
        if ticket in self._used:
            return False
        self._used.add(ticket)
        return True


class StoredVisitors:
    """The browsers of every process that shares a database."""

    def __init__(self, database: Metadata) -> None:
        self.scope: str = ""
        self._database = database

    async def add(self, digest: str, access: str | None, now: int) -> None:
        """Log a browser in."""
        await self._database.write(partial(visitors.add, digest=digest, access=access, now=now))

    async def see(self, digest: str, now: int) -> Seen | None:
        """Return a browser that is logged in, and note now and then that it was seen."""
        found = await self._database.read(partial(visitors.find, digest=digest, now=now))
        if found is None:
            return None
        if visitors.is_seen(found, now):
            await self._database.write(partial(visitors.note, digest=digest, now=now))
        return Seen(found.access)

    async def drop(self, digest: str) -> None:
        """Log a browser out."""
        await self._database.write(partial(visitors.drop, digest=digest))

    async def use(self, ticket: str, now: int) -> bool:
        """Use a ticket up; false if it was used before."""
        return await self._database.write(partial(visitors.use_ticket, digest=ticket, now=now))
