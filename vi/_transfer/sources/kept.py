"""What was read of small files to announce them, kept until it is sent, so that it is read once; of bounded size."""

from __future__ import annotations

import threading

LIMIT = 32 << 20
LOCAL_LIMIT = LIMIT // 4
LOCAL_FILE = 32 << 10
"""Above it, a local file is read again: a copy out of the page cache costs less than fresh memory to keep it in."""


class Keeping:
    """How much is kept for one upload."""

    def __init__(self) -> None:
        self._kept = 0
        self._lock = threading.Lock()

    def keep(self, data: bytes, *, local: bool) -> KeptBytes | None:
        """Keep *data* if there is room; there is less for local files, which the system keeps as well."""
        with self._lock:
            if self._kept + len(data) > (LOCAL_LIMIT if local else LIMIT):
                return None
            self._kept += len(data)
        return KeptBytes(data, self)

    def give_back(self, size: int) -> None:
        """Return *size* bytes to what may be kept."""
        with self._lock:
            self._kept -= size


class KeptBytes:
    """The whole contents of a small file."""

    __slots__ = ("_keeping", "data")

    def __init__(self, data: bytes, keeping: Keeping) -> None:
        self.data: bytes = data
        self._keeping = keeping

    def release(self) -> None:
        """Let them go, once."""
        self._keeping.give_back(len(self.data))
        self.data = b""
