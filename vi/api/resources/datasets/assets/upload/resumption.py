"""What earlier runs of an upload left, taken from the journal and checked with the service.

The service is asked for the state of every session left open. Acknowledged files get a moment to be ingested; a session
that then waits for files which will not come is cancelled, unless a large file of it can be resumed in parts. The new
run leaves out a file only if the dataset holds it: by digest if the service states one that we know, else by the result
of the session, name and size. Records of files that are not part of the new run stay.
"""

from __future__ import annotations

import time

import anyio

from ......_transfer.journals.uploads import BegunMultipart, Identity, Journal, Unfinished
from ......_transfer.record import FileRecord
from ......_transfer.threads.pool import TaskPool
from ......errors import ViError, ViNotFoundError, ViValidationError
from ..calls import AssetCalls
from ..polling import Polling
from ..remote_index import RemoteAsset, RemoteIndex, same_content, stored_since
from ..responses import AssetIngestionSession

SESSIONS_AT_ONCE = 8
INGESTION_PATIENCE = 60.0
"""How many seconds a session may make no progress before waiting for its acknowledged files ends."""
POLL_FIRST, POLL_LAST = 0.1, 2.0


class Resumption:
    """What of earlier runs can be used; it shrinks as the new run comes across the files."""

    def __init__(self, calls: AssetCalls, found: Unfinished, *, metadata: bool = False) -> None:
        self._calls = calls
        self._metadata = metadata
        self._found = found
        self._used: set[str] = set()
        self._index: RemoteIndex | None = None
        self.sessions: dict[str, AssetIngestionSession] = {}
        """Sessions that are still open and hold a multipart upload."""

    async def ask(self) -> None:
        """Learn from the service what became of the earlier runs."""
        async with TaskPool(SESSIONS_AT_ONCE) as pool:
            for session_id, names in list(self._found.sessions.items()):
                await pool.submit(self._ask_session, session_id, names)
        self._found.sessions = {name: self._found.sessions[name] for name in self.sessions}

    async def _ask_session(self, session_id: str, names: set[str]) -> None:
        settled, give_up = -1, 0.0
        polling = Polling(POLL_FIRST, POLL_LAST)
        while True:
            try:
                session = await self._calls.session(session_id)
            except (ViNotFoundError, ViValidationError):
                return
            # Files that expired without having come are errors too, and say nothing of those that were acknowledged.
            known = session.status.progressCount.succeeded + len(session.status.errors.keys() & names)
            if known > settled:
                settled, give_up = known, time.monotonic() + INGESTION_PATIENCE
            if session.status.finished or time.monotonic() > give_up:
                break
            if settled >= len(names) and await self._are_settled(session, names):
                break
            await anyio.sleep(polling.pause(settled, len(names)))
        for name in session.status.errors:
            self._found.sent.pop(name, None)
        if session.status.finished:
            return
        if any(upload.session_id == session_id for upload in self._found.multiparts.values()):
            session.status.assets = None
            self.sessions[session_id] = session
        else:
            await self._cancel(session_id)

    async def _are_settled(self, session: AssetIngestionSession, names: set[str]) -> bool:
        """Tell whether the files of *names* have their verdicts, once the counts of their session allow it.

        The counts name no files, and hold those too whose acknowledgement was lost with the run.
        """
        missing = names - session.status.errors.keys()
        if not missing:
            return True
        stored = await stored_since(self._calls, session.metadata.time_created)
        if missing <= stored.keys():
            return True
        # One that was stored and deleted since is counted as well.
        return session.status.progressCount.succeeded - len(stored.keys() - names) >= len(missing)

    async def _cancel(self, session_id: str) -> None:
        try:
            await self._calls.cancel_session(session_id)
        except ViError:
            return  # it ends when its URLs expire

    def carry_over(self, journal: Journal) -> None:
        """Write what is still of use into the new run's journal, then let the old ones go."""
        journal.carry(self._found)
        journal.resolved()

    async def stored(self, record: FileRecord) -> RemoteAsset | None:
        """Return the asset of this file if an earlier run has stored it, and the dataset still holds it."""
        identity = Identity.of(record)
        acknowledged = self._found.sent.pop(record.filename, None)
        # The last answer for a large file may have been lost with the run.
        joined = [upload.identity for upload in self._multiparts_of(record) if upload.session_id not in self.sessions]
        if identity is None or identity not in (acknowledged, *joined):
            return None
        if self._index is None:
            names = {record.filename, *self._names()}
            self._index = await RemoteIndex.load(self._calls, names, metadata=self._metadata)
        asset = self._index.get(record.filename)
        if asset is None:
            return None
        same = await same_content(record, asset)
        if same is None:
            same = identity == acknowledged and asset.size == record.size
        return asset if same else None

    def _names(self) -> set[str]:
        return self._found.sent.keys() | {upload.filename for upload in self._found.multiparts.values()}

    def _multiparts_of(self, record: FileRecord) -> list[BegunMultipart]:
        return [upload for upload in self._found.multiparts.values() if upload.filename == record.filename]

    def begun(self, record: FileRecord) -> BegunMultipart | None:
        """Return the multipart upload that an earlier run began for this file, if it can be resumed."""
        identity = Identity.of(record)
        for upload in self._multiparts_of(record):
            del self._found.multiparts[upload.upload_id]
            if upload.identity == identity and upload.session_id in self.sessions:
                self._used.add(upload.session_id)
                return upload
        return None

    async def close(self) -> Unfinished:
        """Cancel the sessions that no run will resume, and return what concerns files that this run did not have."""
        left = self._found
        needed = {upload.session_id for upload in left.multiparts.values()} & self.sessions.keys()
        for session_id in self.sessions.keys() - self._used - needed:
            await self._cancel(session_id)
        left.sessions = {session_id: left.sessions[session_id] for session_id in needed - self._used}
        left.multiparts = {name: one for name, one in left.multiparts.items() if one.session_id in left.sessions}
        return left
