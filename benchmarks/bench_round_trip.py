"""What does a long line cost? The whole upload call at 0, 20 and 100 ms of round trip, by default, beside the peer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import plots
from delay import far_away
from harness import (
    Cost,
    Run,
    arguments,
    client,
    empty,
    interleave,
    make_files,
    median,
    peer_python,
    rate,
    ratio,
    scratch_folder,
)
from neutral import light_api, nginx
from plots import Axis
from results import Answer

COUNT, QUICK, SIZE = 2000, 300, 100_000


def main() -> None:
    given = arguments(__doc__)
    peer = peer_python()
    count = QUICK if given.quick else COUNT
    answer = Answer(
        Path(__file__).stem,
        __doc__,
        "nginx (dav) over a folder in memory, behind a relay that delivers everything half a round trip later; the light "
        "API before it is near.",
    )
    curves: dict[str, list[tuple[float, float]]] = {}
    with scratch_folder() as scratch, nginx() as (near, kept):
        folder = make_files(scratch / "images", count, SIZE)

        def call(**options: Any) -> Cost:
            try:
                return client("client_call.py", "upload", folder, "no", **options)
            finally:
                empty(kept)

        for milliseconds in (0, 20, 100):
            with far_away(near, milliseconds / 1000) as store, light_api(store) as settings:
                env = {**settings, "VI_CACHE_DIR": str(scratch / "cache")}
                runs: dict[str, Run] = {"vi": partial(call, env=env)}
                if peer:
                    runs["peer"] = partial(call, env=env, python=peer)
                costs = interleave(runs, given.rounds, slow=["peer"])
            line = f"{count:,} x 100 KB, {milliseconds} ms"
            if peer:
                least = 10 if milliseconds == 100 else None
                answer.ratio(f"{line}: times the peer's rate", rate(costs, "vi", "peer"), least=least)
                answer.ratio(f"{line}: of its CPU", ratio(costs, "vi", "peer", "cpu"))
            answer.costs(line, costs, count)
            for name, values in costs.items():
                curves.setdefault(name, []).append((milliseconds, count / median([c.wall for c in values])))
    if not given.quick:
        title = f"{count:,} files of 100 KB up, against the round trip"
        answer.tables.append(plots.write("round-trip", title, Axis("ms"), Axis("files/s", log=True), curves))
    answer.give(given)


if __name__ == "__main__":
    main()
