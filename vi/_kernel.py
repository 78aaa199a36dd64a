"""Whether this process is the kernel of a notebook."""

from __future__ import annotations

import sys


def in_kernel() -> bool:
    """Tell whether this process is the kernel of a notebook; nothing is imported to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
