"""What an upload has begun at the service, recorded so that the next run can resume.

A journal is a file of JSON lines, one for each session opened, file acknowledged, multipart upload begun and part
stored (`locked_lines`). It holds no URL and no key. It belongs to one service, organization and dataset, and while a
run writes it the file is locked; a second run at the same time takes a file of its own. The next run that finds it
unlocked takes it over. It is a hint where to look, never a proof: what it says is checked with the service.

It stays only while it helps another run: after an interruption, or when files were cut short or cancelled. A run that
has tried every file removes it, refused files or not, and so does one that leaves nothing to resume. What it says of
files that were not part of a run is kept. After a month it is removed when it is next read.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import attrs

from ... import _routes
from ...config import Settings, is_loopback
from ..dictated import MAX_PARTS
from ..record import FileRecord
from . import locked_lines
from .locked_lines import LineWriter, cache_folder

VERSION = 1
LINES_AT_ONCE = 1000


@attrs.frozen
class JournalKey:
    """What a journal belongs to."""

    endpoint: str
    organization_id: str
    dataset_id: str

    @classmethod
    def of(cls, settings: Settings, dataset_id: str) -> JournalKey:
        """Return the key of a dataset; a service of this machine takes another port at each start, so no port counts.

        Its organization tells it from others.
        """
        endpoint = settings.endpoint
        parts = urlsplit(endpoint)
        if is_loopback(parts.hostname):
            endpoint = f"{parts.scheme}://localhost{parts.path}"
        return cls(endpoint, settings.organization_id, dataset_id)

    @property
    def digest(self) -> str:
        """A file name for it."""
        text = "\0".join((self.endpoint, self.organization_id, self.dataset_id))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


class Identity(NamedTuple):
    """The content of a file as far as a name, size, time and CRC32C can tell."""

    size: int
    mtime_ns: int
    crc32c: int

    @classmethod
    def of(cls, record: FileRecord) -> Identity | None:
        """Return the identity of a prepared file; None for what is not a file on disk."""
        if record.stamp is None or record.crc32c is None:
            return None
        return cls(record.size, record.stamp.mtime_ns, record.crc32c)


@attrs.define
class BegunMultipart:
    """A multipart upload that was begun, with the CRC32C of each part that the service has."""

    upload_id: str
    filename: str
    session_id: str
    identity: Identity
    part_count: int
    parts: dict[int, int] = attrs.Factory(dict)


@attrs.define
class Unfinished:
    """What earlier runs left: their open sessions, the files acknowledged in each, and multipart uploads."""

    sessions: dict[str, set[str]] = attrs.Factory(dict)
    sent: dict[str, Identity] = attrs.Factory(dict)
    multiparts: dict[str, BegunMultipart] = attrs.Factory(dict)
    began: float = 0.0
    key: JournalKey | None = None

    def add(self, other: Unfinished) -> None:
        """Take in what another run left."""
        for session_id, names in other.sessions.items():
            self.sessions.setdefault(session_id, set()).update(names)
        self.sent.update(other.sent)
        self.multiparts.update(other.multiparts)
        self.began = max(self.began, other.began)

    def __bool__(self) -> bool:
        return bool(self.sessions or self.sent or self.multiparts)


class Journal:
    """The journal of one run, locked until it is closed."""

    def __init__(
        self, key: JournalKey, folder: Path, inherited: list[tuple[Path, int]], found: Unfinished, began: float
    ) -> None:
        self.found = found
        """What the runs before left unfinished."""
        self._key = key
        self._folder = folder
        self._inherited = inherited
        self.path: Path
        self.path, self._descriptor = locked_lines.create(folder, key.digest)
        self._lines = LineWriter(self._descriptor)
        self._write = self._lines.write
        self._held = [self._descriptor, *(descriptor for _, descriptor in inherited)]
        # A caller that is cancelled while the journal is opened for it must not leave it locked.
        weakref.finalize(self, locked_lines.close_all, self._held)
        self._write(
            {
                "vi": VERSION,
                "endpoint": key.endpoint,
                "organization": key.organization_id,
                "dataset": key.dataset_id,
                "began": began,
                **locked_lines.owner(),
            }
        )
        self._open: set[str] = set()
        self._multiparts: set[str] = set()
        self._anything_sent = False

    @classmethod
    def open(cls, key: JournalKey, folder: Path | None = None) -> Journal:
        """Take over every journal of *key* that no living run holds, and begin one of this run's own."""
        folder = folder if folder is not None else cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = Unfinished(key=key)
        inherited: list[tuple[Path, int]] = []
        try:
            for path in sorted(folder.glob(f"{key.digest}.*.jsonl")):
                with contextlib.suppress(OSError):  # one that cannot be read hinders nothing
                    if (descriptor := locked_lines.lock(path)) is not None:
                        inherited.append((path, descriptor))
                        if not _take_over(found, key, path):
                            locked_lines.release(inherited.pop()[1])
            return cls(key, folder, inherited, found, time.time())
        except BaseException:
            for _, descriptor in inherited:
                locked_lines.release(descriptor)
            raise

    def opened(self, session_id: str) -> None:
        """Note a session."""
        self._open.add(session_id)
        self._write({"session": session_id})

    def ended(self, session_id: str) -> None:
        """Note that a session has its verdict."""
        self._open.discard(session_id)
        self._write({"ended": session_id})

    def sent(self, filename: str, identity: Identity, session_id: str = "") -> None:
        """Note a file whose bytes the storage has acknowledged; no session when its verdict is known."""
        self._anything_sent = True
        self._write(_sent_line(filename, identity, session_id))

    def begun(self, upload: BegunMultipart) -> None:
        """Note a multipart upload, and the parts of it that the service has."""
        self._multiparts.add(upload.upload_id)
        self._write(*_begun_lines(upload))

    def part(self, upload_id: str, number: int, crc32c: int) -> None:
        """Note a part that the service has."""
        self._write({"part": number, "of": upload_id, "crc": crc32c})

    def dropped(self, upload_id: str) -> None:
        """Note that a multipart upload was dropped; the file of one that was joined is noted as sent."""
        self._multiparts.discard(upload_id)
        self._write({"dropped": upload_id})

    def carry(self, found: Unfinished) -> None:
        """Note again what an earlier journal says."""
        self._open.update(found.sessions)
        self._anything_sent = self._anything_sent or bool(found.sent)
        self._write(*({"session": session_id} for session_id in found.sessions))
        session_of = {name: session_id for session_id, names in found.sessions.items() for name in names}
        lines = (_sent_line(name, identity, session_of.get(name, "")) for name, identity in found.sent.items())
        while batch := list(itertools.islice(lines, LINES_AT_ONCE)):
            self._write(*batch)
        for upload in found.multiparts.values():
            self.begun(upload)

    def resolved(self) -> None:
        """Forget what earlier runs left: it has been carried over or settled with the service."""
        for path, descriptor in self._inherited:
            locked_lines.remove(path, descriptor)
            self._held.remove(descriptor)
        self._inherited = []

    def close(self, *, finished: bool, left: Unfinished | None = None) -> None:
        """Close the journal, and remove it if it is of no use to another run; *left* is kept for one."""
        if finished:
            if left:
                with contextlib.suppress(OSError):
                    kept = Journal(self._key, self._folder, [], Unfinished(), left.began)
                    kept.carry(left)
                    kept.close(finished=False)
            self.resolved()
        if finished or not (self._open or self._multiparts or self._anything_sent):
            locked_lines.remove(self.path, self._descriptor)
            self._held.remove(self._descriptor)
        locked_lines.close_all(self._held)


def _sent_line(filename: str, identity: Identity, session_id: str) -> dict[str, Any]:
    return {"sent": filename, "in": session_id, "id": identity}


def _begun_lines(upload: BegunMultipart) -> Iterator[dict[str, Any]]:
    yield {
        "multipart": upload.upload_id,
        "name": upload.filename,
        "in": upload.session_id,
        "id": upload.identity,
        "parts": upload.part_count,
    }
    for number, crc in upload.parts.items():
        yield {"part": number, "of": upload.upload_id, "crc": crc}


def _take_over(found: Unfinished, key: JournalKey, path: Path) -> bool:
    """Add what the journal of an interrupted run says; False if it cannot be read, and must be left as it is."""
    dead = read_journal(path)
    if dead is None or dead.key not in (key, None):
        return False
    if not locked_lines.is_old(dead.began):
        found.add(dead)
    return True


def read_journal(path: Path) -> Unfinished | None:
    """Return what a journal says, passing over lines that cannot be read, the torn last one first of all.

    None when it was written by another version.
    """
    found = Unfinished()
    for line in locked_lines.read(path):
        if line.get("vi", VERSION) != VERSION:
            return None
        _apply(found, line)
    return found


def _apply(found: Unfinished, line: dict[str, Any]) -> None:
    match line:
        case {"session": str(session_id)} if _routes.is_identifier(session_id):
            found.sessions.setdefault(session_id, set())
        case {"ended": str(session_id)}:
            found.sessions.pop(session_id, None)
        case {"sent": str(name), "in": str(session_id), "id": [int(size), int(mtime_ns), int(crc)]}:
            found.sent[name] = Identity(size, mtime_ns, crc)
            if _routes.is_identifier(session_id):
                found.sessions.setdefault(session_id, set()).add(name)
                joined = [
                    upload.upload_id
                    for upload in found.multiparts.values()
                    if upload.filename == name and upload.session_id == session_id
                ]
                for upload_id in joined:
                    del found.multiparts[upload_id]
        case {
            "multipart": str(upload_id),
            "name": str(name),
            "in": str(session_id),
            "id": [int(size), int(mtime_ns), int(crc)],
            "parts": int(count),
        } if _routes.is_identifier(session_id) and _routes.is_upload_id(upload_id) and 0 < count <= MAX_PARTS:
            found.multiparts[upload_id] = BegunMultipart(
                upload_id, name, session_id, Identity(size, mtime_ns, crc), count
            )
        case {"part": int(number), "of": str(upload_id), "crc": int(crc)} if upload_id in found.multiparts:
            upload = found.multiparts[upload_id]
            if 0 < number <= upload.part_count and 0 <= crc < 1 << 32:
                upload.parts[number] = crc
        case {"dropped": str(upload_id)}:
            found.multiparts.pop(upload_id, None)
        case {
            "vi": _,
            "endpoint": str(endpoint),
            "organization": str(organization),
            "dataset": str(dataset),
            "began": int(began) | float(began),
        }:
            found.key = JournalKey(endpoint, organization, dataset)
            found.began = began if math.isfinite(began) else 0.0
