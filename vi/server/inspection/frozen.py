"""Decoders of a frozen program, which is its own Python: it starts itself, and must not run its script again.

So a worker gets a word that no script expects, and what sees it becomes the worker before the script begins. The hook
for PyInstaller does that; programs that other tools freeze call `freeze_support` first. A program that never did either
starts no worker, since it would start programs without end.
"""

from __future__ import annotations

import os
import sys

from ..config import IN_WORKER

WORD = "vi-inspection-worker"

_asked = False


def freeze_support() -> None:
    """In a frozen program, call this before anything else: in the processes that look at images, it does not return.

    A program made by PyInstaller needs no call. Elsewhere it does nothing, as ``multiprocessing.freeze_support``.
    """
    global _asked
    _asked = True
    if sys.argv[1:] == [WORD] and IN_WORKER in os.environ:
        from .worker import main

        main()
        os._exit(0)


def can_start() -> bool:
    """Tell whether this program, started again, becomes a worker."""
    return _asked
