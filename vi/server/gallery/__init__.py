"""The service in a browser: what it holds, and a place to drop files on.

Pages are written here, by functions, and work without a script; the one script adds dropping, progress and keys. Who is
let in, and what a page may load, is decided in `access` for every address of the gallery at once. Files go in by the
same sessions that any client opens.
"""

from __future__ import annotations
