"""curl as the yardstick: many transfers over kept connections, 16 at a time; all of the program is counted."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from harness import Cost, program

IN_FLIGHT = 16


def up(pairs: Iterable[tuple[Path, str]], scratch: Path, *options: str) -> functools.partial[Cost]:
    """Prepare the sending of files to their URLs."""
    return _prepare([f'upload-file = "{path}"\nurl = "{url}"' for path, url in pairs], scratch, options)


def down(pairs: Iterable[tuple[str, Path]], scratch: Path, *options: str) -> functools.partial[Cost]:
    """Prepare the fetching of URLs into files."""
    return _prepare([f'output = "{path}"\nurl = "{url}"' for url, path in pairs], scratch, options)


def _prepare(transfers: list[str], scratch: Path, options: tuple[str, ...]) -> functools.partial[Cost]:
    given = "\n".join(options)
    configuration = scratch / f"curl-{len(list(scratch.glob('curl-*')))}.txt"
    configuration.write_text("\nnext\n".join(f"{transfer}\nsilent\nfail\n{given}" for transfer in transfers))
    parallel = ["--parallel", "--parallel-immediate", "--parallel-max", str(IN_FLIGHT)]
    return functools.partial(program, ["curl", "-q", "--no-progress-meter", *parallel, "-K", str(configuration)])
