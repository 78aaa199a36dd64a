"""Comparing a folder with a dataset, without moving anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import attrs

from ......_show.sheet import Sheet, Table
from ......_show.units import counted, noted
from ......_transfer.filters import Filters
from ......_transfer.inventory import Inventory
from ......_transfer.journals.digests import KnownDigests
from ......_transfer.preparation import prepare
from ......_transfer.record import FileFailure, FileRecord
from ......_transfer.remote_folders import RemoteFolder
from ......_transfer.sources.local import Reach
from ......_transfer.threads.lanes import Lanes
from ......_transfer.threads.stopping import in_thread
from .....display import Report
from ..remote_index import RemoteAsset, RemoteIndex, reach_to_compare, same_content

NO_FILTERS = Filters()


@attrs.frozen
class Compared:
    """A local file and the asset of its name: *same* is None when only their sizes could be compared and are equal."""

    record: FileRecord
    asset: RemoteAsset | None
    same: bool | None


@attrs.define
class VerifyResult(Report):
    """How a folder and a dataset agree; nothing was moved.

    *uncompared* have the same name and size, but the service states no digest that could be compared.
    """

    matching: int = 0
    uncompared: list[str] = attrs.Factory(list)
    different: list[str] = attrs.Factory(list)
    only_local: list[str] = attrs.Factory(list)
    only_remote: list[str] = attrs.Factory(list)
    failures: list[FileFailure] = attrs.Factory(list)
    """Local files that cannot be read or are not supported."""
    notes: list[str] = attrs.Factory(list)
    """What is to be told beside the counts: patterns that matched nothing."""

    @property
    def ok(self) -> bool:
        """Whether both sides hold the same files with the same contents, as far as could be compared."""
        return not (self.different or self.only_local or self.only_remote or self.failures)

    def _sheet(self) -> Sheet:
        kinds = (
            (self.different, "different"),
            (self.only_local, "only in the folder"),
            (self.only_remote, "only in the dataset"),
            (self.uncompared, "not compared"),
        )
        counts = [
            (self.matching, "identical"),
            *((len(names), word) for names, word in kinds),
            (len(self.failures), "failed"),
        ]
        found = [(name, word, "") for names, word in kinds for name in names]
        found += [(failure.path, failure.code, failure.message) for failure in self.failures]
        notes = ["not compared: the size is equal, and the service states no digest"] if self.uncompared else []
        return Sheet(
            counted(counts) or "Nothing to compare",
            counts,
            details=Table.of(("File", "", "Why"), found, tuple, where=".to_dict()") if found else None,
            notes=[*notes, *noted(self.notes)],
        )

    _in_json = ("ok", "matching", "uncompared", "different", "only_local", "only_remote", "failures", "notes")


class Comparison:
    """A folder's files beside a dataset's assets."""

    def __init__(
        self,
        inventory: Inventory,
        index: RemoteIndex,
        lanes: Lanes,
        filters: Filters = NO_FILTERS,
        *,
        known: KnownDigests | None = None,
    ) -> None:
        """Compare; a file that is *known* and has not changed is not read, nor is one without an asset of its size."""
        self._inventory = inventory
        self._filters = filters
        self._index = index
        self._lanes = lanes
        self._known = known
        self.failures: list[FileFailure] = [
            FileFailure(broken.path, broken.filename, broken.code, broken.message) for broken in inventory.broken
        ]
        self.seen: set[str] = set()

    async def __aiter__(self) -> AsyncIterator[Compared]:
        """Yield every readable local file with what the dataset holds under its name."""
        found = prepare(self._inventory, self._lanes, self._refuse, reach=self._reach, known=self._known)
        async with aclosing(found) as groups:
            async for records in groups:
                for record in records:
                    self.seen.add(record.filename)
                    asset = self._index.get(record.filename)
                    yield Compared(record, asset, False if asset is None else await same_content(record, asset))

    def _reach(self, record: FileRecord) -> Reach:
        return reach_to_compare(record, self._index.get(record.filename))

    def only_remote(self) -> list[tuple[str, RemoteAsset]]:
        """Return the assets without a local file, of those that the filters take; once all files have been seen."""
        takes = self._filters.takes
        return [(name, asset) for name, asset in self._index if name not in self.seen and takes(name)]

    def _refuse(self, record: FileRecord, code: str, message: str) -> None:
        self.seen.add(record.filename)
        self.failures.append(FileFailure(record.path, record.filename, code, message))


def pair(inventory: Inventory, index: RemoteIndex) -> None:
    """Find local files among the assets, and refuse two with the same name. Blocking."""
    inventory.match(index.names)
    inventory.check_names()


async def verify(
    index: RemoteIndex, inventory: Inventory, folder: Path | RemoteFolder, lanes: Lanes, filters: Filters = NO_FILTERS
) -> VerifyResult:
    """Compare what the filters take of a folder and of a dataset."""
    await in_thread(pair, inventory, index)
    comparison = Comparison(inventory, index, lanes, filters)
    result = VerifyResult()
    async for compared in comparison:
        name = compared.record.filename
        if compared.asset is None:
            result.only_local.append(name)
        elif compared.same is None:
            result.uncompared.append(name)
        elif compared.same:
            result.matching += 1
        else:
            result.different.append(name)
    result.failures = comparison.failures
    result.only_remote = [name for name, _ in comparison.only_remote()]
    result.notes = filters.notes
    return result
