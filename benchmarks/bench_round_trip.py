"""What does a long line cost? The whole upload call at 0, 20 and 100 ms of round trip, default settings, beside the peer.

The store is nginx behind a relay that delays; the API before it is a light one of our own. The peer is the published
client, in the environment that ``VI_PEER_PYTHON`` names.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_small_files import OURS, PEERS
from delay import far_away
from harness import arguments, interleave, make_files, median, ratio, report
from neutral import light_api, nginx


def main() -> None:
    given = arguments(__doc__)
    count, size = (300, 20_000) if given.quick else (2000, 100_000)
    peer = os.environ.get("VI_PEER_PYTHON")
    rows: dict[str, object] = {"files": count, "bytes each": size}
    with tempfile.TemporaryDirectory(prefix="vi-bench-") as scratch, nginx() as (near, _):
        folder = make_files(Path(scratch) / "images", count, size)
        for milliseconds in (0, 20, 100):
            with far_away(near, milliseconds / 1000) as store, light_api(store) as settings:
                environment = {**os.environ, **settings, "VI_CACHE_DIR": scratch}

                def run(python: str, code: str, environment: dict[str, str] = environment):
                    command = [python, "-c", code, str(folder), scratch, "no"]
                    return lambda: subprocess.run(
                        command, check=True, env=environment, stdout=subprocess.DEVNULL, cwd=scratch
                    )

                runs = {"vi": run(sys.executable, OURS)}
                if peer:
                    runs["peer"] = run(peer, PEERS)
                costs = interleave(runs, given.rounds)
            row: dict[str, object] = {
                name: {
                    "files/s": round(count / median([c.wall for c in values])),
                    "CPU s per 1,000": round(median([c.cpu for c in values]) / count * 1000, 3),
                }
                for name, values in costs.items()
            }
            if peer:
                row["times faster"] = round(1 / ratio(costs, "vi", "peer"), 1)
                row["of its CPU"] = round(ratio(costs, "vi", "peer", "cpu"), 3)
            rows[f"{milliseconds} ms"] = row
    report(str(__doc__).split("\n", maxsplit=1)[0], rows)


if __name__ == "__main__":
    main()
