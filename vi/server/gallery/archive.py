"""Assets as one ZIP that is written while it is sent: stored, not compressed, because pictures are already.

Nothing is put on disk and little is held in memory, however many assets are selected. If an archive cannot be
completed, it breaks its connection before its directory is written, so that no client takes it for whole.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from aiohttp import web

from ... import _checksums
from ..context import CONTEXT, Context

logger: logging.Logger = logging.getLogger("vi.server")

_PIECE = 1 << 20
_PART_LIMIT = 100
_FIRST_YEAR = 1980
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]')


class _DamagedError(Exception):
    """A stored object differs from its row."""


class _Outlet(io.RawIOBase):
    """A write-only buffer for the archive, emptied after each piece."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self._written = b"".join(self._written), []
        return data


async def send(request: web.Request, name: str, rows: Sequence[sa.Row[Any]]) -> web.StreamResponse:
    """Send the assets of *rows* as an archive named *name*."""
    context = request.app[CONTEXT]
    answer = web.StreamResponse(
        headers={
            "Content-Type": "application/zip",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(_safe(name), safe='')}.zip",
        }
    )
    await answer.prepare(request)
    pieces = _pieces(context, rows, asyncio.get_running_loop())
    try:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            async with asyncio.timeout(context.config.body_seconds):
                await answer.write(piece)
        await answer.write_eof()
    except (TimeoutError, ConnectionError, OSError, _DamagedError) as error:
        if isinstance(error, _DamagedError):
            logger.error("An archive is not completed: %s", error)
        if request.transport is not None:
            request.transport.abort()
    return answer


def _read(context: Context, row: sa.Row[Any], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    for at in range(0, row.size, _PIECE):
        yield asyncio.run_coroutine_threadsafe(context.blobs.read(row.blob, at, _PIECE), loop).result()


def _pieces(context: Context, rows: Sequence[sa.Row[Any]], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for row, name in zip(rows, entry_names([row.filename for row in rows]), strict=True):
            when = datetime.fromtimestamp(row.created / 1000, UTC)
            entry = zipfile.ZipInfo(name, (max(_FIRST_YEAR, when.year), *when.timetuple()[1:6]))
            entry.file_size, entry.external_attr = row.size, 0o644 << 16
            size = crc = 0
            with archive.open(entry, "w") as target:
                for data in _read(context, row, loop):
                    target.write(data)
                    size, crc = size + len(data), _checksums.crc32c(data, crc)
                    yield outlet.take()
                if (size, crc) != (row.size, row.crc32c):
                    raise _DamagedError(f"the object of asset {row.id} is not what was stored")
            yield outlet.take()
    yield outlet.take()


def entry_names(names: Sequence[str]) -> list[str]:
    """Return paths for an archive that any system can unpack below a folder, each its own."""
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        path = "/".join(_safe(part) for part in name.split("/"))
        stem, dot, extension = path.rpartition(".")
        if not dot or "/" in extension:
            stem, extension = path, ""
        number = 1
        while path.casefold() in taken:
            number += 1
            path = f"{stem}~{number}{dot}{extension}"
        taken.add(path.casefold())
        found.append(path)
    return found


def _safe(part: str) -> str:
    part = _UNSAFE.sub("_", part)
    if len(part) > _PART_LIMIT:
        part = part[: _PART_LIMIT // 2] + "~" + part[-_PART_LIMIT // 2 :]
    part = part.rstrip(". ")
    return "_" + part.lstrip(".") if not part or part.startswith(".") else part
