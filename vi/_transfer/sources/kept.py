"""What was read of small files to announce them, kept until it is sent, so that it is read once; of bounded size."""

from __future__ import annotations

import threading

LIMIT = 32 << 20


class Keeping:
    """How much is kept for one upload."""

    def __init__(self) -> None:
        self._left = LIMIT
        self._lock = threading.Lock()

    def keep(self, data: bytes) -> KeptBytes | None:
        """Keep *data* if there is room."""
        with self._lock:
            if len(data) > self._left:
                return None
            self._left -= len(data)
        return KeptBytes(data, self)

    def give_back(self, size: int) -> None:
        """Return *size* bytes to what may be kept."""
        with self._lock:
            self._left += size


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
