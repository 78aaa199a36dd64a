"""The signals that tell a program of ours to end."""

from __future__ import annotations

import signal
import sys

ENDING = [signal.SIGTERM, signal.SIGINT]
"""What a watch and a service end at, in good order."""
if sys.platform == "win32":
    ENDING.append(signal.SIGBREAK)  # the one that a program can send to one that it has started
