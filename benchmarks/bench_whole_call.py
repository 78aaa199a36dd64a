"""What does the whole upload call cost the client, when neither service nor storage is in its way? Beside the peer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import (
    Cost,
    Run,
    arguments,
    client,
    empty,
    interleave,
    make_files,
    peer_python,
    rate,
    ratio,
    scratch_folder,
)
from neutral import light_api, nginx
from results import Answer

COUNT, QUICK, SIZE = 5000, 300, 100_000


def main() -> None:
    given = arguments(__doc__)
    peer = peer_python()
    count = QUICK if given.quick else COUNT
    answer = Answer(
        Path(__file__).stem,
        f"{__doc__} The call prepares (type, size, CRC32C), opens sessions, and sends; it does not wait.",
        "nginx (dav) over a folder in memory, and a light API before it that opens sessions and looks at nothing.",
    )
    with scratch_folder() as scratch, nginx() as (store, kept), light_api(store) as settings:
        folder = make_files(scratch / "images", count, SIZE)

        def call(**options: Any) -> Cost:
            try:
                return client("client_call.py", "upload", folder, "no", **options)
            finally:
                empty(kept)

        env = {**settings, "VI_CACHE_DIR": str(scratch / "cache")}
        runs: dict[str, Run] = {"vi": lambda: call(env=env)}
        if peer:
            runs["peer"] = lambda: call(env=env, python=peer)
        costs = interleave(runs, given.rounds, slow=["peer"])
    shape = f"{count:,} x 100 KB"
    if peer:
        answer.ratio(f"{shape}: times the peer's rate", rate(costs, "vi", "peer"), least=20)
        answer.ratio(f"{shape}: of its CPU", ratio(costs, "vi", "peer", "cpu"), most=round(1 / 15, 4))
    answer.costs(shape, costs, count)
    answer.give(given)


if __name__ == "__main__":
    main()
