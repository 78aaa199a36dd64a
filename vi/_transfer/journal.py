"""What an upload has begun at the service, written down so that the next run can go on.

A journal is a file of JSON lines, one for each session opened, file acknowledged, multipart upload begun and part
stored. Lines are appended with one system call each, so a process killed at any instant leaves at most a torn last
line, which is not read. It holds no URL and no key. It belongs to one endpoint, organization and dataset, and while a
run writes it the file is locked; a second run at the same time takes a file of its own. The next run that finds it
unlocked takes it over. It is a hint where to look, never a proof: what it says is checked with the service. A run that
comes to its end removes it, whatever became of single files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from .._lock import try_lock
from .record import FileRecord

CACHE_VARIABLE = "VI_CACHE_DIR"
MAX_BYTES = 256 << 20
VERSION = 1


@attrs.frozen
class JournalKey:
    """What a journal belongs to."""

    endpoint: str
    organization_id: str
    dataset_id: str

    @property
    def digest(self) -> str:
        """A file name for it."""
        text = "\0".join((self.endpoint, self.organization_id, self.dataset_id))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@attrs.frozen
class Identity:
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

    def __bool__(self) -> bool:
        return bool(self.sessions or self.sent or self.multiparts)


class Journal:
    """The journal of one run, locked until it is closed."""

    def __init__(self, path: Path, descriptor: int, inherited: list[tuple[Path, int]], found: Unfinished) -> None:
        self.path = path
        self.found = found
        """What the runs before left unfinished."""
        self._descriptor = descriptor
        self._inherited = inherited
        self._size = 0

    @classmethod
    def open(cls, key: JournalKey, folder: Path | None = None) -> Journal:
        """Take over every journal of *key* that no living run holds, and begin one of this run's own."""
        folder = folder if folder is not None else journal_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = Unfinished(key=key)
        inherited: list[tuple[Path, int]] = []
        for path in sorted(folder.glob(f"{key.digest}.*.jsonl")):
            descriptor = _lock_file(path)
            if descriptor is None:
                continue
            read_into(found, path)
            inherited.append((path, descriptor))
        path = folder / f"{key.digest}.{secrets.token_hex(4)}.jsonl"
        own = _lock_file(path, create=True)
        assert own is not None  # nobody else knows the name
        journal = cls(path, own, inherited, found)
        journal._write(
            {
                "vi": VERSION,
                "endpoint": key.endpoint,
                "organization": key.organization_id,
                "dataset": key.dataset_id,
                "began": time.time(),
            }
        )
        return journal

    def opened(self, session_id: str) -> None:
        """Note a session."""
        self._write({"session": session_id})

    def ended(self, session_id: str) -> None:
        """Note that a session has its verdict."""
        self._write({"ended": session_id})

    def sent(self, filename: str, identity: Identity, session_id: str = "") -> None:
        """Note a file whose bytes the storage has acknowledged; no session when its verdict is known."""
        self._write({"sent": filename, "in": session_id, "id": attrs.astuple(identity)})

    def begun(self, upload: BegunMultipart) -> None:
        """Note a multipart upload."""
        self._write(
            {
                "multipart": upload.upload_id,
                "name": upload.filename,
                "in": upload.session_id,
                "id": attrs.astuple(upload.identity),
                "parts": upload.part_count,
            }
        )

    def part(self, upload_id: str, number: int, crc32c: int) -> None:
        """Note a part that the service has."""
        self._write({"part": number, "of": upload_id, "crc": crc32c})

    def dropped(self, upload_id: str) -> None:
        """Note that a multipart upload was joined or dropped."""
        self._write({"dropped": upload_id})

    def resolved(self) -> None:
        """Forget what earlier runs left: it has been carried over or settled with the service."""
        for path, descriptor in self._inherited:
            _remove(path, descriptor)
        self._inherited = []

    def close(self, *, finished: bool) -> None:
        """Let go of the journal, removing it when the run has come to its end."""
        if finished:
            self.resolved()
            _remove(self.path, self._descriptor)
            return
        for _, descriptor in self._inherited:
            os.close(descriptor)
        os.close(self._descriptor)

    def _write(self, line: dict[str, Any]) -> None:
        if self._size > MAX_BYTES:
            return
        data = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"
        self._size += len(data)
        # A full disk must not end an upload that needs no disk: the next run then knows less, and asks the service.
        with contextlib.suppress(OSError):
            os.write(self._descriptor, data)


def journal_folder() -> Path:
    """Return where journals are kept."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser() / "transfers"
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "vi" / "transfers"


def _lock_file(path: Path, *, create: bool = False) -> int | None:
    """Open and lock a journal; None when a living run holds it, or its run has just removed it."""
    flags = os.O_RDWR | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags | (os.O_CREAT | os.O_EXCL if create else 0), 0o600)
    except FileNotFoundError:
        return None
    if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)
    return None


def read_into(found: Unfinished, path: Path) -> None:
    """Add what a journal file says; lines that cannot be read, the torn last one first of all, are passed over."""
    for line in _lines(path):
        try:
            _apply(found, json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _apply(found: Unfinished, line: dict[str, Any]) -> None:
    if "session" in line:
        found.sessions.setdefault(line["session"], set())
    elif "ended" in line:
        found.sessions.pop(line["ended"], None)
    elif "sent" in line:
        found.sent[line["sent"]] = Identity(*line["id"])
        if line["in"]:
            found.sessions.setdefault(line["in"], set()).add(line["sent"])
    elif "multipart" in line:
        found.multiparts[line["multipart"]] = BegunMultipart(
            line["multipart"], line["name"], line["in"], Identity(*line["id"]), line["parts"]
        )
    elif "part" in line:
        found.multiparts[line["of"]].parts[int(line["part"])] = int(line["crc"])
    elif "dropped" in line:
        found.multiparts.pop(line["dropped"], None)
    elif "vi" in line:
        found.began = max(found.began, float(line["began"]))
        found.key = JournalKey(line["endpoint"], line["organization"], line["dataset"])


def _remove(path: Path, descriptor: int) -> None:
    # Emptied first: where an open file cannot be removed (Windows), an empty journal says nothing.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(descriptor)


@attrs.frozen
class UnfinishedTransfer:
    """An upload that did not come to its end, as `vi.transfers` shows it."""

    id: str
    endpoint: str
    organization_id: str
    dataset_id: str
    began: float
    files_sent: int
    multipart_uploads: int
    running: bool


def unfinished(folder: Path | None = None) -> list[UnfinishedTransfer]:
    """List the journals that are there."""
    folder = folder if folder is not None else journal_folder()
    found: list[UnfinishedTransfer] = []
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        state = Unfinished()
        try:
            read_into(state, path)
            running = _is_locked(path)
        except OSError:
            continue
        key = state.key
        if key is not None:
            found.append(
                UnfinishedTransfer(
                    path.stem,
                    key.endpoint,
                    key.organization_id,
                    key.dataset_id,
                    state.began,
                    len(state.sent),
                    len(state.multiparts),
                    running,
                )
            )
    return found


def forget(transfer_id: str, folder: Path | None = None) -> bool:
    """Remove a journal; False when there is none of that id or a living run holds it."""
    folder = folder if folder is not None else journal_folder()
    path = folder / f"{transfer_id}.jsonl"
    if path.parent != folder or not path.is_file():
        return False
    descriptor = _lock_file(path)
    if descriptor is None:
        return False
    _remove(path, descriptor)
    return True


def _is_locked(path: Path) -> bool:
    descriptor = _lock_file(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
