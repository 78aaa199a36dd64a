"""Deleting many assets: by id, several at a time, or by a bulk deletion at the service (protocol section 7.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from ....._http import Http
from ....._transfer.threads.pool import TaskPool
from .....errors import ViNotFoundError, ViOperationError
from ..responses import BulkAssetDeletionSession
from .polling import Polling
from .results import BulkDeletionResult

if TYPE_CHECKING:
    from .resource import AsyncAssets

AT_ONCE = 8
POLL_FIRST = 0.1


async def delete_ids(assets: AsyncAssets, dataset_id: str, ids: list[str], *, dry_run: bool) -> BulkDeletionResult:
    """Delete each asset; one that is not there is reported as missing, not an error."""
    ids = list(dict.fromkeys(ids))
    missing: list[str] = []

    async def one(asset_id: str) -> None:
        try:
            if dry_run:
                await assets.get(dataset_id, asset_id)
            else:
                await assets.delete(dataset_id, asset_id)
        except ViNotFoundError:
            missing.append(asset_id)

    async with TaskPool(AT_ONCE) as pool:
        for asset_id in ids:
            await pool.submit(one, asset_id)
    found = len(ids) - len(missing)
    return BulkDeletionResult(found, 0 if dry_run else found, sorted(missing), dry_run)


async def wait_for(http: Http, path: str, session: BulkAssetDeletionSession) -> None:
    """Poll a bulk deletion until every condition is reached."""
    polling = Polling(POLL_FIRST)
    while not session.status.done:
        if session.status.failed:
            reasons = [c.message or c.reason for c in session.status.conditions if c.message or c.reason]
            raise ViOperationError(f"The bulk deletion failed: {', '.join(map(str, reasons)) or 'no reason given'}.")
        await anyio.sleep(polling.pause())
        session = await http.request("GET", f"{path}/{session.delete_many_assets_session_id}", BulkAssetDeletionSession)


def read_count(document: Any, path: str) -> int:
    """Read a count: an object, or a bare integer (protocol section 8.6)."""
    count = document.get("count") if isinstance(document, dict) else document
    if type(count) is not int:
        raise ViOperationError(f"GET {path}: the answer cannot be read: count: expected an integer.")
    return count
