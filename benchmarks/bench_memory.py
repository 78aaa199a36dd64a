"""How much memory does a client take to plan, send, list and compare many small files, and does it grow with their number?

Each step is a process of its own, so that each peak is its own; the service is another. Beside the peaks stands what a
client takes that has asked for one dataset.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import arguments, local_service, make_files, report

STEPS = {
    "one request": "client.datasets.get(dataset)",
    "plan": "done = len(client.assets.upload(dataset, folder, dry_run=True).plan.entries)",
    "send": "done = client.assets.upload(dataset, folder, show_progress=False).total_succeeded",
    "list": "done = sum(1 for _ in client.assets.list(dataset, pages).all_items())",
    "compare": "done = client.assets.sync(dataset, folder, show_progress=False).plan.existing",
    "download": "done = client.assets.download(dataset, folder + '-copy', show_progress=False).total_downloaded",
}
CLIENT = """
import json, resource, sys, vi
from vi.api.types import PaginationParams
dataset, folder = sys.argv[1:]
done, pages = None, PaginationParams(page_size=1000)
with vi.Client() as client:
    {step}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
print(json.dumps({{"peak": round(peak, 1), "done": done}}))
"""


def main() -> None:
    given = arguments(__doc__)
    counts = (500, 2000) if given.quick else (50_000, 200_000)
    rows: dict[str, object] = {"bytes each": 1000}
    with tempfile.TemporaryDirectory(prefix="vi-bench-") as scratch, local_service() as settings:
        for count in counts:
            folder = make_files(Path(scratch) / str(count), count, 1000)
            rows[f"{count} files, peak MB (seconds)"] = measure(settings, folder, count)
    report(json.dumps(str(__doc__).split("\n", maxsplit=1)[0]), rows)


def measure(settings: dict[str, str], folder: Path, count: int) -> dict[str, str]:
    """Do every step with the files of *folder*, and return the peak of each."""
    environment = {**os.environ, **settings, "VI_CACHE_DIR": str(folder.parent / "cache")}

    def run(code: str, dataset: str = "") -> dict[str, float]:
        command = [sys.executable, "-c", code, dataset, str(folder)]
        done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
        return dict(json.loads(done.stdout))

    made = "import json, vi\nwith vi.Client() as client:\n print(json.dumps({'id': client.datasets.create(name='x').dataset_id}))"
    dataset = str(run(made)["id"])
    found = {}
    for name, step in STEPS.items():
        began = time.perf_counter()
        peak = run(CLIENT.format(step=step), dataset)
        assert peak["done"] in (None, count), f"{name}: {peak}"
        found[name] = f"{peak['peak']} ({time.perf_counter() - began:.0f})"
    return found


if __name__ == "__main__":
    main()
