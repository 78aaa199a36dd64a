"""Doing what a plan says, and accounting for it."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs

from ......_events import Listener
from ......_show.progress import check_listener, progress_listeners
from ......_show.sheet import Sheet, Table
from ......_show.units import counted, noted, rate, several
from ......_transfer.discovery import os_failure
from ......_transfer.file_system import local_paths, name_on_disk
from ......_transfer.inventory import Inventory
from ......_transfer.names import below, inside
from ......_transfer.open_folder import NOT_BELOW, OpenFolder
from ......_transfer.progress import ProgressTracker
from ......_transfer.record import FileFailure
from ......_transfer.remote_folders import RemoteFolder, is_remote, remote_folder
from ......_transfer.sources.local import PathSource, Source
from ......_transfer.sources.remote import RemoteSource, as_remote
from ......_transfer.threads.pool import TaskPool
from ......_transfer.threads.stopping import to_end_in_thread
from ......codes import FileCode
from ......config import TransferLimits
from ......errors import ViAuthenticationError, ViError, ViNotFoundError, ViPermissionError
from .....display import Report
from ....base import check_switches
from ..calls import AssetCalls
from ..deletion import AT_ONCE
from ..download.run import DownloadOptions
from ..metadata.given import Given, OnUnmatched, Reader, reader
from ..metadata_changes import Updates, update_known
from ..plans import GIVEN, PlannedTransfer, TransferPlan
from ..remote_index import RemoteIndex
from ..responses import FailureMode, ResourceRetentionMode
from ..results import AssetDownloadResult, AssetUploadResult, metadata_notes
from ..run_plans import RunPlan
from ..transfers import Transfers
from ..upload.context import UploadOptions
from .planning import is_ours_to_delete, mtime_ns_of
from .remote import delete_remote, has_size, is_as_planned, is_back, source_of

KEPT_DOCUMENTS = 10_000
"""Downloads of a plan, a shard mostly, for which the dataset is asked or listed once; for more, it is twice."""

_NOT_A_NAME = frozenset({errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})
"""What the system says of a path that no file can have."""

R = TypeVar("R", AssetUploadResult, AssetDownloadResult)


@attrs.define
class SyncResult(Report):
    """The outcome of a sync: the plan, and what became of it."""

    plan: TransferPlan
    upload: AssetUploadResult | None = None
    download: AssetDownloadResult | None = None
    deleted: int = 0
    failures: list[FileFailure] = attrs.Factory(list)
    """What was planned but never started, with the reason: mostly deletions."""
    metadata_updated: int = 0
    """How many of the files that were the same have new metadata now."""
    metadata_differs: int = 0
    """How many of them kept other metadata than was given, because the service cannot change it alone."""
    run: RunPlan | None = None
    """The run that was written, when *plan* was given."""

    @property
    def ok(self) -> bool:
        """Whether everything that differs was done, or would be; files and metadata that are kept are not."""
        return self._moved_all and not self.metadata_differs

    @property
    def all_failures(self) -> list[FileFailure]:
        """The files that failed, and the entries that were never started."""
        return [failure for moved in self._moved for failure in moved.failures] + self.failures

    @property
    def _moved_all(self) -> bool:
        return not self._kept() and self._did_all

    @property
    def _did_all(self) -> bool:
        """Whether all that the plan says to do was done; it may say to keep something."""
        lost = any(result.total_failed or result.total_cancelled for result in self._moved)
        return not lost and not self.failures and not (self.download and self.download.conflicts)

    @property
    def _moved(self) -> list[AssetUploadResult | AssetDownloadResult]:
        return [result for result in (self.upload, self.download) if result is not None]

    @property
    def _same(self) -> int:
        return self.plan.existing + self.metadata_updated + self.metadata_differs

    def _kept(self) -> list[PlannedTransfer]:
        return [entry for entry in self.plan if entry.action == "keep"]

    def _reached(self) -> str:
        """Return how far a sync came that was stopped, in words."""
        return ", ".join(moved._reached() for moved in self._moved) or "nothing was transferred"

    def _sheet(self) -> Sheet:
        if self.run is not None:
            return self.run._sheet()
        metadata = metadata_notes(self.metadata_updated, self.metadata_differs)
        if not (self._moved or self.deleted or self.failures or metadata):
            return self.plan._sheet()
        up, down = self.upload or AssetUploadResult(), self.download or AssetDownloadResult(Path())
        kept = self._kept()
        counts = [
            (up.total_succeeded, "uploaded"),
            (down.total_downloaded, "downloaded"),
            (self.deleted, "deleted"),
            (self._same + up.total_existing + down.total_existing, "unchanged"),
            (len(kept) + down.total_conflicts, "kept"),
            (up.total_failed + down.total_failed, "failed"),
            (len(self.failures), "not done"),
            (up.total_cancelled + down.total_cancelled, "cancelled"),
        ]
        failed = [*up.failures, *down.failures, *down.conflicts, *self.failures]
        details = [(entry.path or entry.filename, entry.code or "kept", entry.reason) for entry in kept]
        details += [(failure.path, failure.code, failure.message) for failure in failed]
        moved, size = up.total_succeeded + down.total_downloaded, up.bytes_sent + down.bytes_received
        return Sheet(
            (counted(counts) or "Nothing to do") + rate(moved, size, up.seconds + down.seconds),
            counts,
            details=Table.of(("File", "", "Why"), details, tuple, where=".to_dict()") if details else None,
            notes=[*metadata, *noted(self.plan.notes)],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready data."""
        return {
            "ok": self.ok,
            "existing": self._same,
            "metadata_updated": self.metadata_updated,
            "metadata_differs": self.metadata_differs,
            "upload": self.upload.to_dict() if self.upload else None,
            "download": self.download.to_dict() if self.download else None,
            "deleted": self.deleted,
            "kept": [
                {"path": one.path, "filename": one.filename, "code": one.code, "reason": one.reason}
                for one in self._kept()
            ],
            "failures": [attrs.asdict(failure) for failure in self.failures],
            "notes": self.plan.notes,
        }


class PlanRun:
    """One plan being done."""

    def __init__(
        self,
        calls: AssetCalls,
        transfers: Transfers,
        plan: TransferPlan,
        limits: TransferLimits,
        *,
        fresh: bool,
        progress: tuple[bool, Listener | None],
        place: RemoteFolder | None = None,
    ) -> None:
        """Take on *plan*; one that is *fresh* was made a moment ago and is not compared with the service again."""
        self._calls = calls
        self._transfers = transfers
        self._plan = plan
        self._limits = limits
        self._fresh = fresh
        self._place = place
        check_switches(show_progress=progress[0])
        check_listener(progress[1])
        self._progress = progress
        self.result: SyncResult = SyncResult(plan)

    async def run(
        self, retention: ResourceRetentionMode | None, given: Given | None, on_unmatched: OnUnmatched
    ) -> SyncResult:
        """Move first, delete last; after a failed move nothing is deleted.

        *retention* and the metadata are those of the plan unless they are given.
        """
        retention = retention or ResourceRetentionMode(self._plan.on_asset_overwritten)
        planned = {entry.filename: entry.custom_metadata for entry in self._plan}
        metadata_of = reader(given, self._plan, on_unmatched) or (lambda file: planned.get(file.filename))
        updates = [entry for entry in self._plan if entry.action == "set_metadata"]
        if self._place is None and is_remote(self._plan.folder):
            self._place = await to_end_in_thread(remote_folder, self._plan.folder)
        if self._place is not None and not self._fresh:
            await to_end_in_thread(self._place.found().forget_listings)
        uploads = [entry for entry in self._plan if entry.action == "upload"]
        downloads = [entry for entry in self._plan if entry.action == "download"]
        if uploads:
            await self._upload(uploads, retention, metadata_of)
        if downloads:
            await self._download(downloads)
        if updates:
            await self._set_metadata({entry.filename: metadata_of(entry) or {} for entry in updates})
        if self._plan.deletions:
            if self.result._moved_all:
                await self._delete()
            else:
                message = f"{several(self._plan.deletions, 'deletion')}, because other files failed."
                self.result.failures.append(FileFailure("", "", FileCode.ECANCELLED, message))
        return self.result

    async def _upload(
        self,
        entries: list[PlannedTransfer],
        retention: ResourceRetentionMode,
        metadata_of: Reader,
    ) -> None:
        inventory = Inventory("basename")
        for entry in entries:
            source = await to_end_in_thread(_source_of, entry.path, self._place)
            if source is None:
                self._changed(entry, "the folder")
                continue
            inventory.add_source(
                source, entry.filename, entry.size if entry.size or isinstance(source, PathSource) else -1
            )
        inventory.check_names()
        options = UploadOptions(
            wait=True,
            failure_mode=FailureMode.FAIL_AFTER_ALL,
            retention=retention,
            metadata_of=metadata_of,
            limits=self._limits,
            remembers=True,
            folder=self._plan.folder if self._place is None else "",
            replaced={entry.filename: entry.etag or "" for entry in entries if entry.reason != GIVEN},
        )
        tracker = ProgressTracker("upload", progress_listeners(*self._progress))
        run = self._transfers.upload(self._calls, options, tracker)
        try:
            # Another worker, or an earlier run of the same plan, may have sent some of it.
            names = {entry.filename for entry in entries}
            index = None if self._fresh else await RemoteIndex.load(self._calls, names, metadata=True)
            await run.run(inventory, index)
        finally:
            self.result.upload = run.result()

    async def _set_metadata(self, updates: Updates) -> None:
        self.result.metadata_updated = await update_known(self._calls, updates)
        self.result.metadata_differs = len(updates) - self.result.metadata_updated

    async def _download(self, entries: list[PlannedTransfer]) -> None:
        documents: list[Any] | None = None
        if not self._fresh:
            documents = [] if len(entries) <= KEPT_DOCUMENTS else None
            entries = await self._still_as_planned(entries, documents)
        folder = Path(self._plan.folder) if self._place is None else Path()
        wanted = {
            entry.asset_id: below(folder, entry.path) if self._place is None else self._place.below(entry.path)
            for entry in entries
            if entry.asset_id is not None
        }
        if not wanted:
            return
        options = DownloadOptions(
            folder=folder,
            overwrite=False,
            # What was not there when the plan was made must not be replaced.
            replaced=frozenset(entry.asset_id or "" for entry in entries if entry.mtime_ns is not None),
            query={},
            asset_ids=None,
            limit=None,
            limits=self._limits,
            paths=wanted,
            names={entry.filename for entry in entries},
            documents=documents,
            remote_folder=self._place,
        )
        tracker = ProgressTracker("download", progress_listeners(*self._progress))
        tracker.files_total = len(wanted)
        run = self._transfers.download(self._calls, options, tracker)
        try:
            await run.run()
        finally:
            self.result.download = run.result()

    async def _still_as_planned(
        self, entries: list[PlannedTransfer], documents: list[Any] | None
    ) -> list[PlannedTransfer]:
        """Return the downloads of assets and onto files that are what they were; the others are reported."""
        index = await RemoteIndex.load(self._calls, {entry.filename for entry in entries}, keep=documents)
        there = {asset.asset_id: (asset, name) for name, asset in index}

        def look(entry: PlannedTransfer) -> PlannedTransfer | str:
            asset, name = there.get(entry.asset_id or "", (None, ""))
            if asset is None or asset.etag != (entry.etag or "") or name != entry.filename:
                return "the asset"
            # An earlier run or another worker may have downloaded it: it is compared, and never replaced.
            unknown = attrs.evolve(entry, mtime_ns=None)
            if self._place is not None:
                if is_as_planned(self._place, entry):
                    return entry
                return unknown if has_size(self._place, entry, asset.size) else "the remote file"
            path = Path(entry.path)
            if not _is_within(path, self._plan.folder):
                return "the local file"
            if mtime_ns_of(path) == entry.mtime_ns:
                return entry
            return unknown if _has_size(path, asset.size) else "the local file"

        good: list[PlannedTransfer] = []
        for entry, found in zip(entries, await to_end_in_thread(lambda: [*map(look, entries)]), strict=True):
            if isinstance(found, str):
                self._changed(entry, found)
            else:
                good.append(found)
        return good

    def _changed(self, entry: PlannedTransfer, what: str) -> None:
        message = f"{entry.filename}: {what} has changed since the plan was made."
        self.result.failures.append(
            FileFailure(entry.path or entry.filename, entry.filename, FileCode.ECHANGED, message)
        )

    async def _delete(self) -> None:
        async with TaskPool(AT_ONCE) as pool:
            for entry in self._plan:
                if entry.action == "delete_asset":
                    await pool.submit(self._delete_asset, entry)
        place, plan = self._place, self._plan
        work = partial(delete_files, plan) if place is None else partial(delete_remote, plan, place)
        deleted, failures = await to_end_in_thread(work)
        self.result.deleted += deleted
        self.result.failures += failures

    async def _delete_asset(self, entry: PlannedTransfer) -> None:
        try:
            if not self._fresh and await self._is_back(entry.filename):
                self._changed(entry, "the folder")
                return
            asset = await self._calls.asset(entry.asset_id or "")
            if asset.etag != (entry.etag or "") or asset.filename != entry.filename:
                self._changed(entry, "the asset")
                return
            await self._calls.delete(asset.asset_id)
            self.result.deleted += 1
        except ViNotFoundError:
            return
        except (ViAuthenticationError, ViPermissionError):
            raise
        except ViError as error:
            message = f"{entry.filename}: {error.message}"
            self.result.failures.append(FileFailure(entry.filename, entry.filename, FileCode.EUNKNOWN, message))

    async def _is_back(self, name: str) -> bool:
        """Tell whether the folder, if this machine has it, holds a file of a name that it did not hold.

        What cannot be looked at may be back; what an upload would not take, or another asset's file, is not.
        """
        if self._place is not None:
            return await to_end_in_thread(is_back, self._place, name)
        there = await to_end_in_thread(self._names_there, name)
        if not there or name in there:
            return bool(there)
        return bool(there - (await RemoteIndex.load(self._calls, there)).names)

    def _names_there(self, name: str) -> set[str]:
        """Return the names of the files to which the paths for *name* lead. Blocking."""
        folder, found = self._plan.folder, set()
        for path in local_paths(name) if folder else ():
            try:
                if is_ours_to_delete(Path(inside(folder, path))):
                    found.add(name_on_disk(path, folder))
            except OSError as error:
                if error.errno not in _NOT_A_NAME:
                    return {name}
        return found


def _source_of(path: str, place: RemoteFolder | None) -> Source | None:
    """Return what a planned upload reads; None for what is not below the remote folder *place*. Blocking."""
    if place is not None:
        return source_of(place, path)
    found = as_remote(path)
    return PathSource(path) if found is None else RemoteSource(found)


def together(one: R, other: R) -> R:
    """Return two results of one kind as one: numbers added, lists joined; plan, run and folder are those of *one*."""
    sums: dict[str, Any] = {}
    for field in attrs.fields(type(one)):
        mine: Any = getattr(one, field.name)
        others: Any = getattr(other, field.name)
        if field.name == "notes":
            sums["notes"] = [*mine, *(note for note in others if note not in mine)]
        elif field.name == "skip_reasons":
            sums["skip_reasons"] = dict(Counter(mine) + Counter(others))
        elif isinstance(mine, dict):
            sums[field.name] = mine | others
        elif isinstance(mine, int | float | list):
            sums[field.name] = mine + others
    return attrs.evolve(one, **sums)


def _has_size(path: Path, size: int) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _is_within(path: Path, folder: str) -> bool:
    """Tell whether a planned *path* is below *folder*, with no link to a folder between. Blocking."""
    try:
        parts = path.relative_to(folder).parts
    except ValueError:
        return False
    above = [Path(folder, *parts[:count]) for count in range(1, len(parts))]
    return bool(parts) and ".." not in parts and not any(one.is_symlink() for one in above)


def delete_files(plan: TransferPlan) -> tuple[int, list[FileFailure]]:
    """Delete the local files that the plan names, if they still are what was planned; blocking."""
    deleted, failed = 0, []
    folder = OpenFolder(plan.folder)
    for entry in plan:
        if entry.action != "delete_file":
            continue
        try:
            parts = Path(entry.path).relative_to(plan.folder).parts
            place = os.path.join(plan.folder, *parts)  # noqa: PTH118
            status = folder.lstat(place)
            if (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns) and is_ours_to_delete(Path(place)):
                folder.unlink(place)
                deleted += 1
                continue
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in NOT_BELOW:
                failed.append(FileFailure(entry.path, entry.filename, *os_failure(error, entry.path)))
                continue
        except ValueError:
            pass  # it is not below the folder, which is said like a link on the way
        message = f"{entry.path} has changed since."
        failed.append(FileFailure(entry.path, entry.filename, FileCode.ECHANGED, message))
    folder.close()
    return deleted, failed
