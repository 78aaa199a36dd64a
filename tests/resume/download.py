"""A client as a process: ``download.py FOLDER DATASET AT`` dies in its AT-th operation on the disk, if not 0.

A write that it dies in is half done.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from typing import Any

import vi
from tests.support.counting_service import DOWN_LIMITS, RETRIES
from tests.support.serve import kill
from vi._transfer import files
from vi._transfer.journals import locked_lines


def die_in(at: int) -> None:
    """Die in the *at*-th of everything that a download does to its folder and its journal."""
    numbers = itertools.count(1)

    def dying(call: Callable[..., Any], half: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            if next(numbers) != at:
                return call(*arguments, **named)
            if half is not None:
                half(*arguments, **named)
            return kill(os.getpid())

        return counted

    write_at, write_lines = files.PartFile.write_at, locked_lines.LineWriter.write
    half_a_part = lambda part, data, offset: write_at(part, bytes(data)[: len(data) // 2], offset)  # noqa: E731
    setattr(files.PartFile, "write_at", dying(write_at, half_a_part))  # noqa: B010
    setattr(files.PartFile, "sync", dying(files.PartFile.sync))  # noqa: B010
    setattr(files, "publish", dying(files.publish))  # noqa: B010
    torn = lambda writer, *lines: os.write(writer._descriptor, b'{"arrived":[0,')  # noqa: E731
    setattr(locked_lines.LineWriter, "write", dying(write_lines, torn))  # noqa: B010
    os.link = dying(os.link, os.link)


def main(folder: str, dataset: str, at: str) -> None:
    die_in(int(at))
    with vi.Client(limits=DOWN_LIMITS, retries=RETRIES) as client:
        client.assets.download(dataset, folder, show_progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
