"""Do time and memory of the client grow in proportion, against the number of files and against the size of one?"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import plots
from bench_large_file import NAME, make_film
from harness import Cost, Run, arguments, client, empty, fresh_folder, interleave, make_files, median, memory_folder
from neutral import light_api, nginx
from plots import Axis
from results import Answer

COUNTS, FULL_COUNT = (1_000, 10_000, 100_000), 1_000_000
SIZES, FULL_SIZE = (64 << 20, 256 << 20, 1 << 30), 4 << 30
QUICK_COUNTS, QUICK_SIZES = (500, 1_000, 2_000), (64 << 20, 128 << 20)
FOLDER_FILES = 1000
SMALL = 2_000
MOST_MB = 200
LONG = 1_000_000
"""From so many files on one round is enough."""


def make_links(folder: Path, count: int) -> Path:
    """Make *count* small files, a thousand to a folder, all of them names of one."""
    picture = next(make_files(folder.with_name("picture"), 1, SMALL).iterdir())
    for start in range(0, count, FOLDER_FILES):
        below = folder / f"{start // FOLDER_FILES:04}"
        below.mkdir(parents=True)
        for number in range(start, min(start + FOLDER_FILES, count)):
            os.link(picture, below / f"{number:07}.jpg")
    return folder


def by_count(answer: Answer, counts: list[int], rounds: int) -> dict[str, dict[int, list[Cost]]]:
    found: dict[str, dict[int, list[Cost]]] = {"up": {}, "down": {}, "listed": {}}
    with memory_folder() as scratch, nginx() as (store, kept):
        picture = next(make_files(scratch / "one", 1, SMALL).iterdir())
        with light_api(f"{store}/nowhere", picture, store) as settings:
            env = {**settings, "VI_CACHE_DIR": str(scratch / "cache")}
            (kept / picture.name).write_bytes(picture.read_bytes())
            for count in counts:
                with fresh_folder(scratch) as room:
                    folder = make_links(room / "images", count)
                    up = partial(client, "client_call.py", "upload", folder, "no", env=env)
                    target = room / "target"
                    target.mkdir()

                    def down(target: Path = target, count: int = count) -> Cost:
                        cost = client("client_call.py", "download", f"n{count}", target, env=env)
                        if (there := sum(1 for _ in target.iterdir())) != count:
                            raise AssertionError(f"{there} of {count} files came.")
                        empty(target)
                        return cost

                    listed = partial(client, "client_call.py", "list", f"n{count}", count, env=env)
                    costs = _costs({"up": up, "down": down, "listed": listed}, rounds if count < LONG else 0)
                    for way in found:
                        found[way][count] = costs[way]
    return found


def by_size(sizes: list[int], rounds: int) -> dict[str, dict[int, list[Cost]]]:
    found: dict[str, dict[int, list[Cost]]] = {"up": {}, "down": {}}
    with memory_folder() as scratch, nginx() as (store, kept):
        for size in sizes:
            with fresh_folder(scratch) as room:
                folder = room / "films"
                folder.mkdir()
                make_film(folder / NAME, size)

                def up(folder: Path = folder) -> Cost:
                    empty(kept)
                    return client("client_vi.py", "up", folder, store)

                def down(folder: Path = folder, room: Path = room) -> Cost:
                    empty(kept)
                    os.link(folder / NAME, kept / NAME)
                    with fresh_folder(room) as target:
                        return client("client_vi.py", "down", folder, store, target)

                costs = _costs({"up": up, "down": down}, rounds)
                for way in found:
                    found[way][size] = costs[way]
    return found


def _costs(runs: dict[str, Run], rounds: int) -> dict[str, list[Cost]]:
    return interleave(runs, rounds) if rounds else {name: [run()] for name, run in runs.items()}


def main() -> None:
    given = arguments(__doc__)
    counts, sizes = (list(QUICK_COUNTS), list(QUICK_SIZES)) if given.quick else (list(COUNTS), list(SIZES))
    if given.full:
        counts.append(FULL_COUNT)
        sizes.append(FULL_SIZE)
    answer = Answer(
        Path(__file__).stem,
        f"{__doc__} Files are found, prepared, announced and sent by the whole call, or listed, fetched, verified and "
        f"renamed by it, or listed alone; a million of them in one round. One file of the given size goes by the data path alone.",
        "a light API, and nginx (dav), which throws small files away that come up and gives one of 2 KB over and over.",
    )
    count_costs = by_count(answer, counts, given.rounds)
    size_costs = by_size(sizes, given.rounds)
    most = counts[-1]
    for way, found in count_costs.items():
        answer.ratio(f"{most:,} files {way}: peak memory", _peak(found[most]) / 1e6, most=MOST_MB, unit=" MB")
        answer.ratio(
            f"{way}: memory over that of {counts[1]:,} files, for {most // counts[1]} times the files",
            _peak(found[most]) / _peak(found[counts[1]]),
        )
        answer.ratio(
            f"{way}: CPU of a file, {most:,} files over {counts[1]:,}",
            (_cpu(found[most]) / most) / (_cpu(found[counts[1]]) / counts[1]),
        )
    for way, found in size_costs.items():
        answer.ratio(
            f"{way}: CPU of a byte, {sizes[-1] / (1 << 20):,.0f} MiB over {sizes[0] / (1 << 20):,.0f} MiB",
            (_cpu(found[sizes[-1]]) / sizes[-1]) / (_cpu(found[sizes[0]]) / sizes[0]),
        )
    for title, costs, name in (
        ("Files of 2 KB", count_costs, lambda count: f"{count:,}"),
        ("One file", size_costs, lambda size: f"{size / (1 << 20):,.0f} MiB"),
    ):
        answer.table(title, {f"{name(n)} {way}": _row(costs[way][n]) for way in costs for n in costs[way]})
    if not given.quick:
        _plot(answer, count_costs, size_costs)
    answer.give(given)


def _row(costs: list[Cost]) -> dict[str, Any]:
    return {
        "wall s": median([c.wall for c in costs]),
        "client CPU s": _cpu(costs),
        "peak MB": round(_peak(costs) / 1e6),
    }


def _peak(costs: list[Cost]) -> float:
    return max(cost.peak for cost in costs)


def _cpu(costs: list[Cost]) -> float:
    return median([cost.cpu for cost in costs])


def _plot(answer: Answer, counts: dict[str, dict[int, list[Cost]]], sizes: dict[str, dict[int, list[Cost]]]) -> None:
    def series(
        found: dict[str, dict[int, list[Cost]]], value: Callable[[int, list[Cost]], float], unit: float = 1
    ) -> dict[str, plots.Points]:
        return {way: [(n / unit, value(n, costs)) for n, costs in by.items()] for way, by in found.items()}

    files, mib = Axis("files", log=True), Axis("MiB", log=True)
    answer.tables += [
        plots.write(
            "growth-cpu-by-count",
            "CPU of the client for each file, against their number",
            files,
            Axis("microseconds a file"),
            series(counts, lambda n, costs: _cpu(costs) / n * 1e6),
        ),
        plots.write(
            "growth-memory-by-count",
            "Peak memory of the client, against the number of files",
            files,
            Axis("MB"),
            series(counts, lambda n, costs: _peak(costs) / 1e6),
        ),
        plots.write(
            "growth-cpu-by-size",
            "CPU of the client for each MiB, against the size of one file",
            mib,
            Axis("microseconds a MiB"),
            series(sizes, lambda n, costs: _cpu(costs) / n * (1 << 20) * 1e6, 1 << 20),
        ),
        plots.write(
            "growth-memory-by-size",
            "Peak memory of the client, against the size of one file",
            mib,
            Axis("MB"),
            series(sizes, lambda n, costs: _peak(costs) / 1e6, 1 << 20),
        ),
    ]


if __name__ == "__main__":
    main()
