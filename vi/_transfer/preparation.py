"""Looking at each file before it is announced: is it readable, of a supported type, within its size; its CRC32C.

Small files are read in groups, one thread hop for up to 32 of them, two groups at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

from .._media import extension_for, family_of, media_type, sniff, type_of
from ..codes import FileCode
from .discovery import os_failure, unsupported
from .inventory import too_large
from .outcomes import SourceChangedError, SourceFailedError
from .record import FileRecord
from .sources.local import Facts, PathSource, examine_path
from .threads.lanes import Lanes

GROUP_FILES = 32
GROUP_BYTES = 4 << 20
SMALL = 1 << 20
GROUPS_AHEAD = 2

Refuse = Callable[[FileRecord, str, str], None]
Found = Facts | Exception


async def prepare(
    records: Iterable[FileRecord], lanes: Lanes, refuse: Refuse, *, by_content: bool = False
) -> AsyncGenerator[list[FileRecord]]:
    """Yield the records that may be sent, filled in, in groups; tell *refuse* of the others, with code and reason.

    The type of a file is that of its extension, which its first bytes must agree with; *by_content*, an image has the
    type that these show.
    """
    waiting: deque[tuple[list[FileRecord], asyncio.Task[list[Found]]]] = deque()
    groups = _groups(_of_allowed_size(records, refuse))
    try:
        for group in groups:
            waiting.append((group, asyncio.ensure_future(_examine(group, lanes))))
            if len(waiting) >= GROUPS_AHEAD:
                yield _judge(*await _next(waiting), refuse, by_content)
        while waiting:
            yield _judge(*await _next(waiting), refuse, by_content)
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


async def _examine(group: list[FileRecord], lanes: Lanes) -> list[Found]:
    if _is_small(group[0]):
        return await lanes.run(_examine_paths, [record.source.path for record in group])  # type: ignore[attr-defined]
    try:
        return [await group[0].source.examine()]
    except (OSError, SourceChangedError, SourceFailedError) as error:
        return [error]


def _examine_paths(paths: list[str]) -> list[Found]:
    found: list[Found] = []
    for path in paths:
        try:
            found.append(examine_path(path))
        except (OSError, SourceChangedError) as error:
            found.append(error)
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
    if isinstance(facts, OSError):
        return os_failure(facts, record.path)
    assert isinstance(facts, Facts)
    record.size, record.crc32c, record.stamp = facts.size, facts.crc32c, facts.stamp
    family = sniff(facts.head)
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
    if family is None or family == "video":
        return (
            FileCode.EBADMIME,
            f"{record.path} is named as {record.mime}, but its contents are not an image: save it again.",
        )
    right = extension_for(family)
    return (
        FileCode.EBADMIME,
        f"{record.path} is named as {record.mime} and holds {family} data: "
        f"correct its extension to {right}, or give detect='content'.",
    )
