"""What Windows lacks and some tests need: marks that skip these there, each with its reason."""

from __future__ import annotations

import sys

import pytest

WINDOWS = sys.platform == "win32"

KILLED = 9 if WINDOWS else -9
"""The exit code of a process that `tests.support.serve.kill` has ended."""

TERMINATED = 1 if WINDOWS else 0
"""The exit code of a service after `subprocess.Popen.terminate`, which ends a program of Windows unheard."""

needs_links = pytest.mark.skipif(WINDOWS, reason="links need a privilege on Windows")
needs_modes = pytest.mark.skipif(WINDOWS, reason="Windows has no modes of files")
needs_names = pytest.mark.skipif(WINDOWS, reason="Windows takes no such names")
needs_signals = pytest.mark.skipif(WINDOWS, reason="Windows sends no signal to one process")
needs_terminals = pytest.mark.skipif(WINDOWS, reason="Windows has no pseudo-terminals")
