"""Deleting many assets: by id, several at a time, or by a bulk deletion at the service (protocol section 7.6)."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from ....._transfer.threads.pool import TaskPool
from .....errors import ViNotFoundError, ViOperationError
from .calls import AssetCalls
from .polling import Polling
from .results import BulkDeletionResult

AT_ONCE = 8
POLL_FIRST = 0.1


async def delete_ids(calls: AssetCalls, ids: list[str], *, dry_run: bool) -> BulkDeletionResult:
    """Delete each asset; one that is not there is reported as missing, not an error."""
    ids = list(dict.fromkeys(ids))
    missing: list[str] = []

    async def one(asset_id: str) -> None:
        try:
            if dry_run:
                await calls.asset(asset_id)
            else:
                await calls.delete(asset_id)
        except ViNotFoundError:
            missing.append(asset_id)

    async with TaskPool(AT_ONCE) as pool:
        for asset_id in ids:
            await pool.submit(one, asset_id)
    found = len(ids) - len(missing)
    return BulkDeletionResult(found, 0 if dry_run else found, sorted(missing), dry_run)


async def delete_selected(calls: AssetCalls, params: Mapping[str, str]) -> None:
    """Delete what a selection has, and wait until every condition of the bulk deletion is reached."""
    session = await calls.delete_selected(
        {
            "filter": params.get("filter"),
            "metadataQuery": params.get("metadataQuery"),
            "ruleQuery": None,
            "strictQuery": True if "strictQuery" in params else None,
        }
    )
    polling = Polling(POLL_FIRST)
    while not session.status.done:
        if session.status.failed:
            reasons = [c.message or c.reason for c in session.status.conditions if c.message or c.reason]
            raise ViOperationError(f"The bulk deletion failed: {', '.join(map(str, reasons)) or 'no reason given'}.")
        await anyio.sleep(polling.pause())
        session = await calls.bulk_deletion(session.delete_many_assets_session_id)
