"""Going on with uploads that died: what their journals say, checked with the service.

For every session left open the service is asked what became of it. Files that were acknowledged get a moment to be
ingested; a session that then waits for files which will not come is cancelled, unless a large file of it can be gone on
with in parts. A file is left out of the new run only if the dataset holds it: by digest where the service states one
that we know, else by the session's verdict, name and size.
"""

from __future__ import annotations

import time

import anyio

from ..... import _routes
from ....._http import Http
from ....._transfer.journal import BegunMultipart, Identity, Journal, Unfinished
from ....._transfer.pool import TaskPool
from ....._transfer.record import FileRecord
from .....errors import ViError, ViNotFoundError
from .holdings import Holdings, same_content
from .responses import AssetIngestionSession

SESSIONS_AT_ONCE = 8
INGESTION_PATIENCE = 60.0
POLL_FIRST, POLL_LAST, POLL_GROWTH = 0.1, 2.0, 1.5


class Resumption:
    """What of earlier runs can be used."""

    def __init__(self, http: Http, base: dict[str, str], found: Unfinished) -> None:
        self._http = http
        self._base = base
        self._found = found
        self._sent = dict(found.sent)
        self._holdings = Holdings({})
        self.sessions: dict[str, AssetIngestionSession] = {}
        """Sessions that are still open and hold a multipart upload."""
        self.sent_before: dict[str, int] = {}
        """How many files of each had been acknowledged."""

    async def ask(self) -> None:
        """Learn from the service what became of the earlier runs."""
        async with TaskPool(SESSIONS_AT_ONCE) as pool:
            for session_id, names in self._found.sessions.items():
                await pool.submit(self._ask_session, session_id, names)
        if self._sent:
            self._holdings = await Holdings.load(self._http, self._base, self._sent)

    async def _ask_session(self, session_id: str, names: set[str]) -> None:
        multiparts = [upload for upload in self._found.multiparts.values() if upload.session_id == session_id]
        path = _routes.fill(_routes.SESSION, **self._base, session=session_id)
        give_up = time.monotonic() + INGESTION_PATIENCE
        delay = POLL_FIRST
        while True:
            try:
                session = await self._http.request("GET", path, AssetIngestionSession)
            except ViNotFoundError:
                return
            count = session.status.progressCount
            if session.status.finished or count.succeeded + count.errored >= len(names) or time.monotonic() > give_up:
                break
            await anyio.sleep(delay)
            delay = min(POLL_LAST, delay * POLL_GROWTH)
        for name in session.status.errors:
            self._sent.pop(name, None)
        if session.status.finished:
            return
        if multiparts:
            session.status.assets = None
            self.sessions[session_id] = session
            self.sent_before[session_id] = len(names)
            return
        try:
            cancel = _routes.fill(_routes.SESSION_CANCEL, **self._base, session=session_id)
            await self._http.document("POST", cancel, harmless_twice=True)
        except ViError:
            return  # it ends by itself when its URLs do

    def carry_over(self, journal: Journal) -> None:
        """Write what is still of use into the new run's journal, then let the old ones go."""
        for session_id in self.sessions:
            journal.opened(session_id)
        for upload in self._found.multiparts.values():
            if upload.session_id in self.sessions:
                journal.begun(upload)
                for number, crc in upload.parts.items():
                    journal.part(upload.upload_id, number, crc)
        for name, identity in self._sent.items():
            if self._holdings.get(name) is not None:
                journal.sent(name, identity)
        journal.resolved()

    async def stored(self, record: FileRecord) -> bool:
        """Tell whether an earlier run has stored this very file, and the dataset still holds it."""
        identity = self._sent.get(record.filename)
        held = self._holdings.get(record.filename)
        if identity is None or held is None or identity != Identity.of(record):
            return False
        same = await same_content(record, held)
        return held.size == record.size if same is None else same

    def begun(self, record: FileRecord) -> BegunMultipart | None:
        """Return the multipart upload that an earlier run began for this very file, if it can be gone on with."""
        identity = Identity.of(record)
        for upload in self._found.multiparts.values():
            if (
                upload.filename == record.filename
                and upload.identity == identity
                and upload.session_id in self.sessions
            ):
                return upload
        return None

    async def close(self, used: set[str]) -> None:
        """Cancel the sessions that were kept open for a large file which this run did not go on with."""
        for session_id in set(self.sessions) - used:
            try:
                cancel = _routes.fill(_routes.SESSION_CANCEL, **self._base, session=session_id)
                await self._http.document("POST", cancel, harmless_twice=True)
            except ViError:
                continue
