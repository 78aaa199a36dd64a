"""Looking at each file before it is announced or compared: is it readable, of a supported type, within its size.

It is read once for its digests; what is known of a file that has not changed (`journals/digests.py`) saves the reading.

Small files are read in groups, one thread hop for up to 32 of them, two groups at a time.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

from .._media import extension_for, extension_of, family_of, media_type, type_of
from ..codes import FileCode
from .discovery import os_failure, unsupported
from .inventory import too_large
from .journals.digests import KnownDigests, Look
from .outcomes import SourceChangedError, SourceFailedError
from .record import FileRecord
from .sources.kept import Keeping, Room, room_for
from .sources.local import Facts, PathSource, Reach, examine_path
from .sources.remote import RemoteSource
from .threads.lanes import Lanes
from .threads.stopping import to_end_in_thread

GROUP_FILES = 32
GROUP_BYTES = 4 << 20
SMALL = 1 << 20
GROUPS_AHEAD = 2

Refuse = Callable[[FileRecord, str, str], None]
Found = Facts | Exception


async def prepare(
    records: Iterable[FileRecord],
    lanes: Lanes,
    refuse: Refuse,
    *,
    by_content: bool = False,
    reach: Callable[[FileRecord], Reach] = lambda _: "crc32c",
    known: KnownDigests | None = None,
    keeping: Keeping | None = None,
) -> AsyncGenerator[list[FileRecord]]:
    """Yield the records that may be sent, filled in, in groups; tell *refuse* of the others, with code and reason.

    The type of a file is that of its extension, which its first bytes must agree with; *by_content*, an image has the
    type that these show. *reach* says how much of a file is read, *known* what need not be; what is read to be sent is
    kept in *keeping*. An empty group says that some must be sent before there is room for more.
    """
    examination = _Examination(lanes, reach, known, keeping)
    waiting: deque[tuple[list[FileRecord], asyncio.Task[list[Found]]]] = deque()
    groups = _groups(_of_allowed_size(records, refuse))
    try:
        for group in groups:
            rooms = [room_for(record.source, record.size) for record in group] if keeping is not None else []
            together = functools.reduce(Room.plus, rooms, Room())
            if keeping is not None and not keeping.take(together):
                while waiting:
                    if good := _judge(*await _next(waiting), refuse, by_content):
                        yield good
                yield []
                await keeping.wait(together)
                keeping.take(together)
            waiting.append((group, asyncio.ensure_future(examination.of(group, rooms))))
            if len(waiting) >= GROUPS_AHEAD and (good := _judge(*await _next(waiting), refuse, by_content)):
                yield good
        while waiting:
            if good := _judge(*await _next(waiting), refuse, by_content):
                yield good
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)


async def _next(
    waiting: deque[tuple[list[FileRecord], asyncio.Task[list[Found]]]],
) -> tuple[list[FileRecord], list[Found]]:
    group, task = waiting[0]
    found = await task
    waiting.popleft()
    return group, found


def _of_allowed_size(records: Iterable[FileRecord], refuse: Refuse) -> Iterator[FileRecord]:
    """Leave out what is too large before it is read."""
    for record in records:
        if (error := too_large(record)) is not None:
            refuse(record, FileCode.EBADSIZE, error.message)
        else:
            yield record


def _groups(records: Iterable[FileRecord]) -> Iterator[list[FileRecord]]:
    group: list[FileRecord] = []
    size = 0
    for record in records:
        if not _is_small(record):
            yield [record]
            continue
        group.append(record)
        size += record.size
        if len(group) >= GROUP_FILES or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _is_small(record: FileRecord) -> bool:
    return isinstance(record.source, PathSource) and record.size <= SMALL


class _Examination:
    """How the files of one run are examined."""

    def __init__(
        self,
        lanes: Lanes,
        reach: Callable[[FileRecord], Reach],
        known: KnownDigests | None,
        keeping: Keeping | None,
    ) -> None:
        self._lanes = lanes
        self._reach = reach
        self._known = known
        self._keeping = keeping

    async def of(self, group: list[FileRecord], rooms: list[Room]) -> list[Found]:
        """Examine a group, for which *rooms* are taken; all of it is small, or it is one file."""
        reaches: list[Reach] = [self._reach(record) for record in group]
        if _is_small(group[0]):
            paths = [record.path_on_disk for record in group]
            found = await self._lanes.run(_examine_paths, paths, reaches, self._known)
        else:
            found = [await self._one(group[0], reaches[0], keeps=rooms != [] and rooms[0] != Room())]
        if self._keeping is not None:
            for record, facts, room in zip(group, found, rooms, strict=True):
                if isinstance(facts, Facts):
                    record.kept = self._keeping.keep(record.source, facts, room)
                else:
                    self._keeping.give_back(room)
        return found

    async def _one(self, record: FileRecord, reach: Reach, *, keeps: bool) -> Found:
        source, known = record.source, self._known
        look: Look | None = None
        if isinstance(source, RemoteSource):
            source.keeps = keeps
        try:
            if known is not None and isinstance(source, (PathSource, RemoteSource)):
                look = await to_end_in_thread(_look, source)
                [facts] = await to_end_in_thread(known.facts, [look])
                if facts is not None:
                    return facts
            facts = await (
                source.examine(reach, keeps=keeps) if isinstance(source, PathSource) else source.examine(reach)
            )
            if known is not None:
                await to_end_in_thread(known.note, [(look, facts)])
            return facts
        except (OSError, UnicodeEncodeError, SourceChangedError, SourceFailedError) as error:
            return error


def _look(source: PathSource | RemoteSource) -> Look | None:
    return Look.at(source.path) if isinstance(source, PathSource) else Look.afar(source.found)


def _examine_paths(paths: list[str], reaches: list[Reach], known: KnownDigests | None) -> list[Found]:
    looks = [Look.at(path) for path in paths] if known is not None else [None] * len(paths)
    remembered = known.facts(looks) if known is not None else looks
    found: list[Found] = []
    for path, reach, facts in zip(paths, reaches, remembered, strict=True):
        try:
            found.append(facts if isinstance(facts, Facts) else examine_path(path, reach))
        except (OSError, UnicodeEncodeError, SourceChangedError) as error:
            found.append(error)
    if known is not None:
        read = zip(looks, found, remembered, strict=True)
        known.note((look, facts) for look, facts, old in read if old is None and isinstance(facts, Facts))
    return found


def _judge(group: list[FileRecord], found: list[Found], refuse: Refuse, by_content: bool) -> list[FileRecord]:
    good: list[FileRecord] = []
    for record, facts in zip(group, found, strict=True):
        problem = _problem(record, facts, by_content)
        if problem is None:
            good.append(record)
        else:
            refuse(record, *problem)
    return good


def _problem(record: FileRecord, facts: Found, by_content: bool) -> tuple[str, str] | None:
    """Fill in *record* and return None, or return code and message of what is wrong with it."""
    if isinstance(facts, SourceChangedError):
        return FileCode.ECHANGED, f"{record.path} changed while it was read."
    if isinstance(facts, SourceFailedError):
        return FileCode.ESOURCE, f"{record.path}: {facts}."
    if isinstance(facts, (OSError, UnicodeEncodeError)):
        return os_failure(facts, record.path)
    assert isinstance(facts, Facts)
    record.size, record.crc32c, record.sha256, record.stamp = facts.size, facts.crc32c, facts.sha256, facts.stamp
    family = facts.family
    announced = media_type(record.filename)
    if (
        by_content
        and family is not None
        and family != "video"
        and (announced is None or family_of(announced[1]) != family)
    ):
        announced = "Image", type_of(family)
    if announced is None:
        return FileCode.EBADMIME, unsupported(record.path, record.filename)
    record.kind, record.mime = announced
    if record.size == 0:
        return FileCode.EBADSIZE, f"{record.path} is empty (0 bytes): write it again or leave it out."
    if (error := too_large(record)) is not None:
        return FileCode.EBADSIZE, error.message
    return _contradiction(record, family)


def _contradiction(record: FileRecord, family: str | None) -> tuple[str, str] | None:
    """Return what is wrong with a file whose first bytes show *family*; None if they do not show it, as with video."""
    if family == family_of(record.mime) or (family is None and record.kind == "Video"):
        return None
    extension = extension_of(record.filename)
    if family is None or family == "video":
        return (
            FileCode.EBADMIME,
            f"{record.path} is named {extension}, but its contents are not an image: save it again.",
        )
    right = extension_for(family)
    return (
        FileCode.EBADMIME,
        f"{record.path} is named {extension}, but holds {family} data: "
        f"correct its extension to {right}, or give detect='content'.",
    )
