"""An exclusive lock on an open file, which the system releases when its holder dies."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Take the lock; False when a living process (or another descriptor) holds it."""
        os.lseek(descriptor, 1 << 40, os.SEEK_SET)  # far from the text, so that others can read it
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Take the lock; False when a living process (or another descriptor) holds it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
