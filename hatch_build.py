"""The version for the build. Python that is too old ends it here, in one sentence, whatever pip asked."""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - older pips try every release of each dependency before they look at this
    sys.exit("vi needs Python 3.11 or later; this is {}.{} ({}).".format(*sys.version_info[:2], sys.executable))

__version__ = re.findall(r'__version__ = "(.+)"', (Path(__file__).parent / "vi" / "_version.py").read_text("utf-8"))[0]
