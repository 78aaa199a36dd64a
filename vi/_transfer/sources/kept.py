"""What was read of files to announce them, kept until it is sent, so that each is read once; of bounded size.

Local files and small remote ones wait in memory, larger remote ones in temporary copies. Where there is no room for the
next file, preparation waits until half of the room is free again: sessions then have many files, not one each. Large
local files are not kept, for few would have room and be on their way at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from ..._memory import reuse_freed_memory
from .local import CHUNK, PathSource
from .remote import COPIED_BYTES, COPIES, RemoteSource

if TYPE_CHECKING:
    from .local import Facts, Source

LARGEST = 8 << 20
"""Bytes of the largest local file that is kept.

One above is read for its checksum, which the service wants first, and again while it is sent: from the page cache, if
the system has room.
"""
MEMORY = 40 << 20


@attrs.frozen
class Room:
    """Bytes of memory, temporary copies, and the bytes of these."""

    memory: int = 0
    copies: int = 0
    copied: int = 0

    def plus(self, other: Room) -> Room:
        """Return both together."""
        return Room(self.memory + other.memory, self.copies + other.copies, self.copied + other.copied)

    def minus(self, other: Room) -> Room:
        """Return what is left without *other*."""
        return Room(self.memory - other.memory, self.copies - other.copies, self.copied - other.copied)

    def holds(self, other: Room) -> bool:
        """Tell whether *other* fits in."""
        return self.memory >= other.memory and self.copies >= other.copies and self.copied >= other.copied


LIMIT = Room(MEMORY, COPIES, COPIED_BYTES)
HALF = Room(MEMORY // 2, COPIES // 2, COPIED_BYTES // 2)


def room_for(source: Source, size: int) -> Room:
    """Return what a file may take, *size* -1 where it is unknown; nothing for one that is not kept."""
    if isinstance(source, PathSource):
        return Room(memory=size) if size <= LARGEST else Room()
    if not isinstance(source, RemoteSource) or size > COPIED_BYTES:
        return Room()
    return Room(memory=size) if 0 <= size <= CHUNK else Room(CHUNK, 1, max(size, 0))


class Keeping:
    """How much is kept for one upload; for its event loop alone."""

    def __init__(self) -> None:
        reuse_freed_memory()
        self._left = LIMIT
        self._freed = asyncio.Event()

    def take(self, room: Room) -> bool:
        """Take *room* if there is as much."""
        if not self._left.holds(room):
            return False
        self._left = self._left.minus(room)
        return True

    def give_back(self, room: Room) -> None:
        """Return what was taken."""
        self._left = self._left.plus(room)
        self._freed.set()

    async def wait(self, room: Room) -> None:
        """Wait until there is *room*, and half of all."""
        while not (self._left.holds(room) and self._left.holds(HALF)):
            self._freed.clear()
            await self._freed.wait()

    def keep(self, source: Source, facts: Facts, taken: Room) -> Kept | None:
        """Keep what *facts* or *source* have of a file, and return the rest of what was *taken* for it."""
        used = Room()
        copied = source.copied if isinstance(source, RemoteSource) else 0
        if facts.data is not None and len(facts.data) <= taken.memory:
            used = Room(memory=len(facts.data))
        elif copied:
            used = Room(0, taken.copies, taken.copied)
        self.give_back(taken.minus(used))
        return Kept(self, used, source, facts.data if used.memory else None) if used != Room() else None


@attrs.frozen(eq=False)
class Kept:
    """The contents of one file: *data*, or the copy that its source has."""

    _keeping: Keeping
    _room: Room
    _source: Source
    data: bytes | bytearray | None = attrs.field(repr=False)

    def release(self) -> None:
        """Drop them, once; the file is read again if it is needed."""
        if self.data is None:
            self._source.close()
        self._keeping.give_back(self._room)
