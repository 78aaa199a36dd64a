"""How fast is the upload call against the local service, beside the published client and the service's decoding?"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from harness import (
    Cost,
    Run,
    arguments,
    client,
    interleave,
    make_files,
    memory_folder,
    peer_python,
    rate,
    ratio,
    scratch_folder,
)
from results import Answer
from service import local_service, own_client, settle

import vi

COUNT, QUICK, SIZE = 5000, 300, 100_000
MORE = {"20,000 x 2 KB": (20_000, 2_000), "40 x 25 MB": (40, 25_000_000)}


def upload(service: vi.Client, count: int, env: dict[str, str], keep: bool, *how: object, **python: str) -> Cost:
    """Run the call, then let the service come to rest."""
    cost = client("client_call.py", "upload", *how, env=env, **python)
    settle(service, cost.more["dataset"], count, keep=keep)
    return cost


def main() -> None:
    given = arguments(__doc__)
    answer = Answer(
        Path(__file__).stem,
        __doc__,
        "the local service, in a process of its own, takes both clients in turn and rests in between; once with its bytes "
        "on disk, where each file is flushed before it is answered, and once in memory, where nothing but the clients, the "
        "service and the wire is in what is measured. What it can decode is measured without it: its inspection of the same "
        "files, on as many processes, with no wire and no database. What is on disk stays there to the end, since ext4 "
        "makes files slowly where many were just removed.",
    )
    shapes = {f"{QUICK if given.quick else COUNT:,} x 100 KB": (QUICK if given.quick else COUNT, SIZE)}
    if given.full:
        shapes |= MORE
    for shape, (count, size) in shapes.items():
        with scratch_folder() as scratch, memory_folder() as memory:
            folder = make_files(scratch / "images", count, size)
            one_shape(answer, shape, "disk", scratch, folder, given.rounds)
            if size == SIZE:
                one_shape(answer, shape, "memory", memory, folder, given.rounds)
    answer.give(given)


def one_shape(answer: Answer, shape: str, where: str, scratch: Path, folder: Path, rounds: int) -> None:
    peer, count = peer_python(), len(list(folder.iterdir()))
    size = next(folder.iterdir()).stat().st_size
    with local_service(scratch) as settings, own_client(settings) as service:
        env = {**settings, "VI_CACHE_DIR": str(scratch / "cache")}
        call = partial(upload, service, count, env, where == "disk", folder)
        runs: dict[str, Run] = {
            "vi, not waiting": lambda: call("no"),
            "vi, waiting": lambda: call("wait"),
            "decoding alone": lambda: client("client_decode.py", folder),
        }
        if peer:
            runs["peer, not waiting"] = lambda: call("no", python=peer)
            runs["peer, waiting"] = lambda: call("wait", python=peer)
        costs = interleave(runs, rounds, slow=[name for name in runs if name.startswith("peer")])
    asked, name = size == SIZE, f"{shape}, {where}"
    if peer:
        for how, faster, cpu in (("not waiting", 8, 0.2), ("waiting", 2.5, None)):
            ours, theirs = f"vi, {how}", f"peer, {how}"
            answer.ratio(
                f"{name}, {how}: times the peer's rate", rate(costs, ours, theirs), least=faster if asked else None
            )
            answer.ratio(f"{name}, {how}: of its CPU", ratio(costs, ours, theirs, "cpu"), most=cpu if asked else None)
    answer.ratio(
        f"{name}, waiting: of what the service can decode",
        rate(costs, "vi, waiting", "decoding alone"),
        least=0.85 if asked else None,
    )
    answer.costs(name, costs, count, 0 if count > 1000 or size < 1 << 20 else size)


if __name__ == "__main__":
    main()
