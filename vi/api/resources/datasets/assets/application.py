"""Doing what a plan says, and accounting for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import attrs

from ....._terminal import progress_listeners
from ....._transfer.discovery import Inventory
from ....._transfer.pool import TaskPool
from ....._transfer.progress import Listener, ProgressTracker
from ....._transfer.record import FileFailure
from ....._transfer.sources import PathSource
from .....config import TransferLimits
from .....errors import ViNotFoundError
from ...base import check_id
from . import metadata
from .deletion import AT_ONCE
from .ingestion import UploadOptions
from .plans import PlannedTransfer, TransferPlan
from .responses import FailureMode, ResourceRetentionMode
from .results import AssetDownloadResult, AssetUploadResult
from .retrieval import DownloadOptions
from .sync import is_ours_to_delete

if TYPE_CHECKING:
    from .resource import AsyncAssets
    from .transfers import Transfers


@attrs.define
class SyncResult:
    """The outcome of a sync: the plan, and what became of it."""

    plan: TransferPlan
    upload: AssetUploadResult | None = None
    download: AssetDownloadResult | None = None
    deleted: int = 0
    failures: list[FileFailure] = attrs.Factory(list)
    """Deletions that were not done, with the reason."""

    @property
    def ok(self) -> bool:
        """Whether everything planned was done."""
        moved = [result for result in (self.upload, self.download) if result is not None]
        return not self.failures and not any(result.total_failed or result.total_cancelled for result in moved)

    def summary(self) -> str:
        """Describe the sync in a few lines."""
        lines = [f"{self.plan.existing} files were the same on both sides"]
        lines += [result.summary() for result in (self.upload, self.download) if result is not None]
        if self.deleted:
            lines.append(f"{self.deleted} deleted")
        lines += [f"  not deleted: {failure.message}" for failure in self.failures[:5]]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready data."""
        return {
            "ok": self.ok,
            "existing": self.plan.existing,
            "upload": self.upload.to_dict() if self.upload else None,
            "download": self.download.to_dict() if self.download else None,
            "deleted": self.deleted,
            "failures": [attrs.asdict(failure) for failure in self.failures],
        }

    def __str__(self) -> str:
        return self.summary().split("\n", 1)[0]


class Application:
    """One plan being done."""

    def __init__(
        self,
        assets: AsyncAssets,
        transfers: Transfers,
        plan: TransferPlan,
        limits: TransferLimits,
        *,
        progress: tuple[bool, Listener | None],
    ) -> None:
        self._assets = assets
        self._transfers = transfers
        self._plan = plan
        self._limits = limits
        self._progress = progress
        self._dataset_id = check_id(plan.dataset_id, "plan.dataset_id")
        self.result = SyncResult(plan)

    async def run(
        self, retention: ResourceRetentionMode, custom_metadata: metadata.CustomMetadata | None
    ) -> SyncResult:
        """Move first, delete last; after a failed upload nothing is deleted."""
        uploads = [entry for entry in self._plan if entry.action == "upload"]
        downloads = frozenset(entry.asset_id for entry in self._plan if entry.action == "download" and entry.asset_id)
        if uploads:
            await self._upload(uploads, retention, custom_metadata)
        if downloads:
            await self._download(downloads)
        if self._plan.deletions and self.result.ok:
            await self._delete()
        return self.result

    async def _upload(
        self,
        entries: list[PlannedTransfer],
        retention: ResourceRetentionMode,
        custom_metadata: metadata.CustomMetadata | None,
    ) -> None:
        inventory = Inventory("basename")
        for entry in entries:
            inventory.add_source(PathSource(entry.path), entry.filename, entry.size)
        options = UploadOptions(
            dataset_id=self._dataset_id,
            wait=True,
            failure_mode=FailureMode.FAIL_AFTER_ALL,
            retention=retention,
            metadata_of=metadata.reader(custom_metadata, inventory),
            limits=self._limits,
        )
        tracker = ProgressTracker("upload", progress_listeners("upload", *self._progress))
        self.result.upload = await self._transfers.ingestion(options, tracker).run(inventory)

    async def _download(self, wanted: frozenset[str]) -> None:
        options = DownloadOptions(
            dataset_id=self._dataset_id,
            folder=Path(self._plan.folder),
            overwrite=True,
            query={},
            asset_ids=None,
            limit=None,
            limits=self._limits,
            only=wanted,
        )
        tracker = ProgressTracker("download", progress_listeners("download", *self._progress))
        tracker.files_total = len(wanted)
        self.result.download = await self._transfers.retrieval(options, tracker).run()

    async def _delete(self) -> None:
        async with TaskPool(AT_ONCE) as pool:
            for entry in self._plan:
                if entry.action == "delete_asset":
                    await pool.submit(self._delete_asset, entry)
        deleted, failures = await anyio.to_thread.run_sync(delete_files, self._plan)
        self.result.deleted += deleted
        self.result.failures += failures

    async def _delete_asset(self, entry: PlannedTransfer) -> None:
        try:
            asset = await self._assets.get(self._dataset_id, entry.asset_id or "")
            if asset.etag != entry.etag or asset.filename != entry.filename:
                message = f"{entry.filename}: the asset has changed since the plan was made."
                self.result.failures.append(FileFailure(entry.filename, entry.filename, "ECHANGED", message))
                return
            await self._assets.delete(self._dataset_id, asset.asset_id)
            self.result.deleted += 1
        except ViNotFoundError:
            return


def delete_files(plan: TransferPlan) -> tuple[int, list[FileFailure]]:
    """Delete the local files that the plan names, if they still are what was planned; blocking."""
    deleted, failed = 0, []
    for entry in plan:
        if entry.action != "delete_file":
            continue
        path = Path(entry.path)
        try:
            if path.lstat().st_size != entry.size or not is_ours_to_delete(path):
                failed.append(FileFailure(entry.path, entry.filename, "ECHANGED", f"{path} has changed since."))
                continue
            path.unlink()
            deleted += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            failed.append(FileFailure(entry.path, entry.filename, "EIO", f"{path}: {error.strerror}."))
    return deleted, failed
