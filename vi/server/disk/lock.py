"""One service per folder: a lock file with its address; the kernel releases the lock when the process ends."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import attrs

from ..._lock import try_lock
from .own import open_own, read_own

_held: set[int] = set()
_LOOK_SECONDS = 0.002


def _let_go() -> None:
    # A forked child shares the lock, and would keep it after the end of its parent.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)


@attrs.frozen
class FolderLock:
    """The lock on a folder, held until `release` or the end of the process."""

    descriptor: int

    @classmethod
    def take(cls, path: Path) -> FolderLock | None:
        """Return the lock, or None when a running process holds it."""
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        if not try_lock(descriptor):
            time.sleep(_LOOK_SECONDS)  # a client may be looking whether anybody has it (`is_held`)
            if not try_lock(descriptor):
                os.close(descriptor)
                return None
        lock = cls(descriptor)
        _held.add(descriptor)
        try:
            lock._write(b"")
        except OSError:
            lock.release()
            raise
        return lock

    def announce(self, url: str, *, embedded: bool) -> None:
        """Write the address of the service, and whether it is *embedded* in a client and ends with it."""
        self._write(json.dumps({"url": url, "pid": os.getpid(), "embedded": embedded}).encode())

    def release(self) -> None:
        """Release the folder."""
        if self.descriptor in _held:
            _held.discard(self.descriptor)
            try:
                with suppress(OSError):  # an address that stays is tried, and does not answer
                    self._write(b"")
            finally:
                os.close(self.descriptor)

    def _write(self, text: bytes) -> None:
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        os.write(self.descriptor, text)


@attrs.frozen
class Address:
    """The address of the service of a folder, and whether it is embedded in a client."""

    url: str
    embedded: bool


def read_address(path: Path) -> Address | None:
    """Return the address in a lock file; None while its holder is still starting, and after it has ended."""
    try:
        found = json.loads(read_own(path))
    except (ValueError, OSError, RecursionError):
        return None
    url = found.get("url") if isinstance(found, dict) else None
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return None
    return Address(url, found.get("embedded") is True)


def is_held(path: Path) -> bool:
    """Tell whether a running process has the lock."""
    try:
        descriptor = open_own(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
