"""How fast do many small images go up and come down, against the local service, with and without waiting?

With ``VI_PEER_PYTHON`` naming an interpreter that has the published client, that client does the same in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import arguments, interleave, local_service, make_files, median, ratio, report

OURS = """
import sys, vi
folder, target, wait = sys.argv[1], sys.argv[2], sys.argv[3] == "wait"
with vi.Client() as client:
    dataset = client.datasets.create(name="bench").dataset_id
    result = client.assets.upload(dataset, folder, wait_until_done=wait, show_progress=False)
    assert result.total_failed == 0, result.summary()
    if wait:
        client.assets.download(dataset, target, show_progress=False)
"""

PEERS = """
import sys, vi
folder, wait = sys.argv[1], sys.argv[3] == "wait"
client = vi.Client()
dataset = client.datasets.create(name="bench").dataset_id
client.assets.upload(dataset_id=dataset, paths=folder, wait_until_done=wait, show_progress=False)
"""


def main() -> None:
    given = arguments(__doc__)
    count, size = (200, 20_000) if given.quick else (5000, 100_000)
    peer = os.environ.get("VI_PEER_PYTHON")
    with tempfile.TemporaryDirectory(prefix="vi-bench-") as scratch, local_service() as settings:
        folder = make_files(Path(scratch) / "images", count, size)
        environment = {**os.environ, **settings}

        def run(python: str, code: str, wait: str):
            def once() -> None:
                with tempfile.TemporaryDirectory(dir=scratch) as target:
                    command = [python, "-c", code, str(folder), target, wait]
                    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, cwd=target)

            return once

        runs = {
            "vi, not waiting": run(sys.executable, OURS, "no"),
            "vi, waiting, and down": run(sys.executable, OURS, "wait"),
        }
        if peer:
            runs["published client, not waiting"] = run(peer, PEERS, "no")
        costs = interleave(runs, given.rounds)
    rows: dict[str, object] = {"files": count, "bytes each": size}
    for name, values in costs.items():
        rows[name] = {
            "files/s": round(count / median([c.wall for c in values])),
            "client CPU s per 1,000": round(median([c.cpu for c in values]) / count * 1000, 3),
        }
    if peer:
        ours, theirs = "vi, not waiting", "published client, not waiting"
        rows["times faster"] = round(1 / ratio(costs, ours, theirs), 2)
        rows["of its CPU"] = round(ratio(costs, ours, theirs, "cpu"), 3)
    report(json.dumps(str(__doc__).split("\n", maxsplit=1)[0]), rows)


if __name__ == "__main__":
    main()
