"""The first lines of a frozen program: in its helper processes its script does not run."""

from __future__ import annotations

import sys

from vi._interpreter import is_helper
from vi.server.inspection.frozen import freeze_support

freeze_support()
if is_helper(sys.argv[1:]):
    import multiprocessing

    multiprocessing.freeze_support()
