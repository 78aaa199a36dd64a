"""What file systems do not all offer: flushing, and names that nobody else has open.

Shares, FUSE and folders of virtual machines answer ``fsync`` with an error that says "not here"; everything else it says
is a fault of the disk. On Windows a virus scanner or an indexer opens a new file for a moment, and nobody may rename or
remove it meanwhile.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
SHARING = frozenset({5, 32, 33})  # access denied (of a file that is about to go), sharing and lock violation
WAITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


def flush(descriptor: int) -> None:
    """Flush a file to the disk, where the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def when_free(call: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """Call, and again for up to a second while another program has the file open (Windows); blocking."""
    for seconds in WAITS:
        try:
            return call(*arguments, **options)
        except OSError as error:
            if getattr(error, "winerror", None) not in SHARING:
                raise
        time.sleep(seconds)
    return call(*arguments, **options)
