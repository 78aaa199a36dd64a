"""How near to curl is the data path alone, up and down, with nginx as the store, beside obstore and plain aiohttp?"""

from __future__ import annotations

import shutil
from pathlib import Path

import curl
from harness import (
    Cost,
    Run,
    arguments,
    client,
    fresh_folder,
    interleave,
    make_files,
    memory_folder,
    rate,
    ratio,
    scratch_folder,
)
from neutral import nginx
from results import Answer

SHAPES = {"5,000 x 100 KB": (5000, 100_000), "20,000 x 2 KB": (20_000, 2_000), "40 x 25 MB": (40, 25_000_000)}
QUICK = {"300 x 100 KB": (300, 100_000), "500 x 2 KB": (500, 2_000), "4 x 5 MB": (4, 5_000_000)}
ASKED = {100_000: (0.75, 0.5), 2_000: (0.6, 0.45)}
"""Of curl's rate, up and down, by the size of a file."""
MANY = 1000
OTHERS = ["aiohttp", "obstore"]


def up_runs(folder: Path, store: str, scratch: Path) -> dict[str, Run]:
    pairs = [(path, f"{store}/{path.name}") for path in sorted(folder.iterdir())]
    return {
        "curl": curl.up(pairs, scratch),
        "vi": lambda: client("client_vi.py", "up", folder, store),
        **{name: _run(f"client_{name}.py", "up", folder, store) for name in OTHERS},
    }


def down_runs(folder: Path, store: str, scratch: Path, targets: Path) -> dict[str, Run]:
    by_curl = targets / "by-curl"
    pairs = [(f"{store}/{path.name}", by_curl / path.name) for path in sorted(folder.iterdir())]
    fetch = curl.down(pairs, scratch)

    def curl_run() -> Cost:
        by_curl.mkdir()
        try:
            return fetch()
        finally:
            shutil.rmtree(by_curl)

    def into(script: str, *more: str) -> Run:
        def run() -> Cost:
            with fresh_folder(targets) as target:
                return client(script, "down", folder, store, target, *more)

        return run

    return {
        "curl": curl_run,
        "vi, CRC32C": into("client_vi.py", "crc32c"),
        "vi, SHA-256": into("client_vi.py", "sha256"),
        **{name: into(f"client_{name}.py") for name in OTHERS},
    }


def _run(*command: object) -> Run:
    return lambda: client(*map(str, command))


def main() -> None:
    given = arguments(__doc__)
    answer = Answer(
        Path(__file__).stem,
        f"{__doc__} Down means: into a temporary name, verified, renamed; the others only write.",
        "nginx (dav) over a folder in memory. Files come from the page cache of a disk and go to a folder in memory. "
        "curl, aiohttp and obstore have 16 transfers in flight, vi finds its own number. Imports are not counted.",
    )
    for shape, (count, size) in (QUICK if given.quick else SHAPES).items():
        with scratch_folder() as scratch, memory_folder() as targets, nginx() as (store, _):
            folder = make_files(scratch / "images", count, size)
            up = interleave(up_runs(folder, store, scratch), given.rounds)
            down = interleave(down_runs(folder, store, scratch, targets), given.rounds)
        up_least, down_least = ASKED.get(size, (None, None))
        asked = size == 100_000
        answer.ratio(f"{shape} up: of curl's rate", rate(up, "vi", "curl"), least=up_least)
        answer.ratio(f"{shape} up: of the best of the others", rate(up, "vi", OTHERS), least=0.9 if asked else None)
        answer.ratio(f"{shape} up: of curl's CPU", ratio(up, "vi", "curl", "cpu"))
        for way in ("vi, CRC32C", "vi, SHA-256"):
            answer.ratio(f"{shape} down, {way[4:]}: of curl's rate", rate(down, way, "curl"), least=down_least)
            answer.ratio(f"{shape} down, {way[4:]}: of the best of the others", rate(down, way, OTHERS))
        large = 0 if count >= MANY or size < 1 << 20 else size
        answer.costs(f"{shape}, up", up, count, large)
        answer.costs(f"{shape}, down", down, count, large)
    answer.give(given)


if __name__ == "__main__":
    main()
