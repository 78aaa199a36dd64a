"""What the local service can decode: its inspection of the files of FOLDER, on all cores, with nothing else to do."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from measured import phase

from vi.server.inspection.inspector import InspectionJob, Inspector


async def main() -> None:
    paths = sorted(Path(sys.argv[1]).iterdir())
    jobs = [InspectionJob(str(path), "Image", "image/jpeg", path.stat().st_size) for path in paths]
    inspector = Inspector()
    await inspector.inspect(jobs[:2])
    with phase():
        verdicts = await inspector.inspect(jobs)
    await inspector.aclose()
    if wrong := [verdict for verdict in verdicts if verdict.error is not None]:
        raise SystemExit(f"{len(wrong)} files were refused: {wrong[0]}")


if __name__ == "__main__":
    asyncio.run(main())
