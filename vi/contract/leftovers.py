"""Leftovers of a killed writing check: found by its notes, and removed by the next check.

Before a dataset is made, its name, which holds 48 random bits, is noted in a locked file of the cache folder. The
system releases the lock when the run dies. The next run takes over such files and removes the datasets of exactly those
names, so nothing that another hand made can be meant.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from .. import _routes
from .._transfer.journals import locked_lines
from .probe import Probe, dig

PREFIX = "vi contract check "
_PAGE = "100"
_MOST_PAGES = 1000


class Note:
    """The note of one run, kept until its dataset is gone."""

    def __init__(self, organization: str) -> None:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        self.name: str = f"{PREFIX}{secrets.token_hex(6)}"
        self._path, self._descriptor = locked_lines.create(folder, "contract")
        locked_lines.LineWriter(self._descriptor).write(
            {"dataset": self.name, "organization": organization, **locked_lines.owner()}
        )

    def keep(self) -> None:
        """Leave the note to the next run."""
        locked_lines.release(self._descriptor)

    def remove(self) -> None:
        """Remove the note: nothing is left."""
        locked_lines.remove(self._path, self._descriptor)


async def remove_leftovers(probe: Probe) -> int:
    """Remove the datasets of checks that were killed, and return how many there were."""
    removed = 0
    for path in sorted(_folder().glob("contract.*.jsonl")):
        descriptor = locked_lines.lock(path)
        if descriptor is None:
            continue
        names = {
            line["dataset"]
            for line in locked_lines.read(path)
            if line.get("organization") == probe.organization and _is_ours(line.get("dataset"))
        }
        gone = True
        for dataset_id in [one async for one in _named(probe, names)]:
            gone = await remove(probe, dataset_id) and gone
            removed += 1
        if gone and names:
            locked_lines.remove(path, descriptor)
        else:
            locked_lines.release(descriptor)
    return removed


async def remove(probe: Probe, dataset_id: str) -> bool:
    """Remove a dataset of ours, and tell whether it is gone."""
    composite = _routes.composite(probe.organization, dataset_id)
    reply = await probe.api("DELETE", _routes.DATASET, {"dataset": composite})
    return reply.ok or reply.status == 404


async def _named(probe: Probe, names: set[Any]) -> AsyncIterator[str]:
    params = {"s": _PAGE}
    for _ in range(_MOST_PAGES if names else 0):
        reply = await probe.api("GET", _routes.DATASETS, params=params)
        for one in reply.items():
            found = dig(one, "datasetId")
            if dig(one, "name") in names and isinstance(found, str):
                yield _routes.short(probe.organization, found)
        token = reply.text("nextPage")
        if not token or token == params.get("p"):
            return
        params = {"s": _PAGE, "p": token}


def _is_ours(name: object) -> bool:
    return isinstance(name, str) and name.startswith(PREFIX)


def _folder() -> Path:
    return locked_lines.cache_folder().parent / "contract"
