"""The first lines of a frozen program: in a process that looks at images, its script does not run."""

from __future__ import annotations

from vi.server.inspection.frozen import freeze_support

freeze_support()
