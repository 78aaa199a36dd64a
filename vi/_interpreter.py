"""Which programs are Python, and whether this process was started to be a helper of another."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

_NAME = re.compile(r"(?i)(python|pypy|graalpy)[\w.]*")
_HELPER = re.compile(r"(import sys; )?from multiprocessing\.\w+ import \w+")


def is_python(path: str) -> bool:
    """Tell whether *path* has the name of an interpreter; a program that embeds Python has another."""
    return _NAME.fullmatch(os.path.basename(path)) is not None  # noqa: PTH119 - the path may be empty


def is_helper(words: Sequence[str]) -> bool:
    """Tell whether multiprocessing has started a program with *words*: it must not run its script again."""
    return "--multiprocessing-fork" in words or any(_HELPER.match(word) for word in words)


def starts_itself_again() -> bool:
    """Tell whether this is a helper that runs the script after all, since a frozen program did not divert it."""
    from multiprocessing import parent_process

    return parent_process() is None and is_helper(sys.argv[1:])
