"""``completion``: a script for a shell, made from the parser itself, and the names of datasets that it offers."""

from __future__ import annotations

import argparse
import contextlib
from collections import Counter
from typing import Any

from .._show.console import say
from .._show.text import printable
from ..errors import ViError
from . import exits, options

SHELLS = ("bash", "zsh", "fish", "powershell")
DATASETS = "datasets"

_FILES = ("FILE", "PATH")
_FOLDERS = ("DIR", "FOLDER")
_SECONDS = 2.0
"""How long somebody who pressed Tab waits for the service."""

_PREAMBLE = {
    "bash": r"""_vi_sdk_datasets() {
  local name quoted
  vi-sdk completion datasets 2>/dev/null | while IFS= read -r name; do
    printf -v quoted %q "$name"
    [[ $quoted == "$1"* || $name == "$1"* ]] && echo "$quoted"
  done
}""",
    "zsh": """_vi_sdk_datasets() {
  local -a names
  names=("${(@f)$(vi-sdk completion datasets 2>/dev/null)}")
  compadd -a names
}""",
}
_OFFERED = {
    "bash": "_vi_sdk_datasets",
    "zsh": "_vi_sdk_datasets",
    "fish": "(vi-sdk completion datasets 2>/dev/null)",
}


def add_to(verbs: options.Verbs[options.VerbParser]) -> None:
    """Add the verb to the parser."""
    parser = options.add_verb(
        verbs,
        "completion",
        "print a completion script for a shell",
        '  eval "$(vi-sdk completion bash)"\n  vi-sdk completion zsh > _vi-sdk\n'
        "  vi-sdk completion fish > vi-sdk.fish\n",
    )
    parser.add_argument(
        "shell", choices=(*SHELLS, DATASETS), help="the shell; 'datasets' prints the names that the scripts offer"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Print the script, or the names."""
    if given.shell == DATASETS:
        with contextlib.suppress(ViError):  # nobody who pressed Tab reads errors
            say("\n".join(dataset_names()))
    else:
        say(script(given.whole, given.shell))
    return exits.DONE


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of a parser."""
    shtab = _shtab()
    _annotate(parser, shtab)
    return str(shtab.complete(parser, shell=shell, preamble=_PREAMBLE.get(shell, ""))).rstrip()


def _shtab() -> Any:
    with contextlib.suppress(Exception):
        import shtab

        if hasattr(shtab, "complete"):
            return shtab
    from .._optional import require  # which loads more than a script takes

    return require("shtab", "A completion script")


def _annotate(parser: argparse.ArgumentParser, shtab: Any) -> None:
    """Say what arguments take that have no fixed choices."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _annotate(below, shtab)
        elif action.dest in ("dataset", "datasets"):
            action.complete = _OFFERED  # type: ignore[attr-defined]
        elif action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]


def dataset_names() -> list[str]:
    """Return the names of datasets as commands take them: the id where several have the same name."""
    import vi

    from ..api.types import MAX_PAGE_SIZE

    patience = vi.RetryPolicy(max_attempts=1, connect_patience=_SECONDS)
    with vi.Client(retries=patience, timeouts=vi.Timeouts(request=_SECONDS)) as client:
        datasets = client.datasets.list(vi.PaginationParams(page_size=MAX_PAGE_SIZE)).items
    times = Counter(dataset.name for dataset in datasets)
    return [printable(one.name if times[one.name] == 1 else one.dataset_id) for one in datasets]
