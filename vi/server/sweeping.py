"""Objects of a bucket that a crash left and no row mentions: they go some time after their upload session has ended.

The ids of objects carry their session, so that a session is one listing, made once. How far this has got is kept beside
the objects; two services that do it at the same time do the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import sqlalchemy as sa

from .failures import log_failure
from .s3.store import S3Store
from .store.mentioned import mentioned
from .store.metadata import Metadata
from .store.schema import SessionState, ingestion_session

GRACE_MS = 3600_000
"""How long a session has ended before it is swept: what was arriving at its end has been noted by then."""
_PAUSE = 60.0
_AT_ONCE = 100


class SessionSweep:
    """Sweeps ended sessions of one service, in the order of their ends."""

    def __init__(
        self,
        database: Metadata,
        store: S3Store,
        organization_id: str,
        clock: Callable[[], int],
        remove: Callable[[Sequence[str]], Awaitable[None]],
        grace: int = GRACE_MS,
    ) -> None:
        self._database = database
        self._store = store
        self._organization_id = organization_id
        self._clock = clock
        self._remove = remove
        self._grace = grace

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                while await self.sweep():
                    pass
            except Exception as error:  # noqa: BLE001 - logged
                log_failure(error, "Looking for objects without a row failed and is tried again")
            await asyncio.sleep(_PAUSE)

    async def sweep(self) -> bool:
        """Sweep the sessions that ended next; tell whether there may be more."""
        since = await self._store.swept()
        ended = await self._database.read(partial(_ended, since=since, before=self._clock() - self._grace))
        for session_id, _ in ended:
            left = await self._store.left(session_id)
            known = await self._database.read(partial(mentioned, blobs=left))
            await self._remove([blob for blob in left if blob not in known])
            await self._store.remove_unfinished(session_id)
        if ended:
            await self._store.note_swept(self._organization_id, ended[-1][1])
        return len(ended) >= _AT_ONCE


def _ended(connection: sa.Connection, since: int, before: int) -> list[tuple[str, int]]:
    """Return sessions that ended after one time and until another, the earliest first; never a part of a moment."""
    columns = ingestion_session.c.id, ingestion_session.c.finished
    over = sa.and_(
        ingestion_session.c.state != SessionState.OPEN,
        ingestion_session.c.finished > since,
        ingestion_session.c.finished <= before,
    )
    found = connection.execute(
        sa.select(*columns).where(over).order_by(ingestion_session.c.finished).limit(_AT_ONCE)
    ).all()
    if len(found) == _AT_ONCE:
        last = sa.and_(over, ingestion_session.c.finished == found[-1].finished)
        before_last = [row for row in found if row.finished != found[-1].finished]
        found = [*before_last, *connection.execute(sa.select(*columns).where(last)).all()]
    return [(row.id, row.finished) for row in found]
