"""One step with many files as a client of its own: ``client_memory.py STEP DATASET FOLDER COUNT``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from measured import phase

import vi


def main() -> None:
    step, dataset, folder, count = sys.argv[1:5]
    with vi.Client() as client:
        steps: dict[str, Callable[[], int]] = {
            "one request": lambda: bool(client.datasets.get(dataset)) * int(count),
            "plan": lambda: len(client.assets.upload(dataset, folder, dry_run=True).plan.entries),
            "send": lambda: client.assets.upload(dataset, folder, show_progress=False).total_succeeded,
            "list": lambda: sum(1 for _ in client.assets.list(dataset).all_items()),
            "compare": lambda: client.assets.sync(dataset, folder, show_progress=False).plan.existing,
            "download": lambda: client.assets.download(dataset, f"{folder}-copy", show_progress=False).total_downloaded,
        }
        with phase():
            done = steps[step]()
    if done != int(count):
        raise SystemExit(f"{step}: {done} of {count} files")


if __name__ == "__main__":
    main()
