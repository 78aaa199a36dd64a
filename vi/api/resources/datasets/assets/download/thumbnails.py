"""Small pictures of assets, fetched with a listing that asks for them, within a budget of bytes and seconds.

A picture that does not arrive in time is left out: listings do not fail without it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
import attrs

from ......_connections import TRANSPORT_ERRORS
from ......_media import sniff
from ......_transfer.outcomes import TransferFailed
from ......_transfer.signed import signed_transfer
from ......_transfer.storage import Storage, refuse_encoding
from ......_transfer.threads.pool import TaskPool
from ......codes import FileCode
from ......errors import ViError
from ..responses import Asset, Contents

logger: logging.Logger = logging.getLogger("vi.transfer")

ONE_BYTES = 64 << 10
ALL_BYTES = 1 << 20
SECONDS = 5.0
AT_ONCE = 8
FAMILIES = frozenset({"gif", "jpeg", "png", "webp"})
"""What every browser shows; anything else that comes as a thumbnail is not kept."""


@attrs.define
class Budget:
    """How many bytes a page of thumbnails may still take."""

    left: int

    def take(self, count: int) -> bool:
        """Take *count* bytes if there are as many."""
        if count > self.left:
            self.left = 0  # nothing behind the first that finds no room, so that a grid has no holes
            return False
        self.left -= count
        return True


async def fetch_thumbnails(storage: Storage, assets: Sequence[Asset]) -> None:
    """Give each asset its thumbnail, in order, until the budget is spent; failures are logged at debug level."""
    budget = Budget(ALL_BYTES)
    with anyio.move_on_after(SECONDS):
        async with TaskPool(AT_ONCE) as pool:
            for asset in assets:
                if not budget.left:
                    return
                if asset.contents is not None and asset.contents.thumbnail is not None:
                    await pool.submit(_fetch, storage, asset, asset.contents.thumbnail, budget)


async def _fetch(storage: Storage, asset: Asset, contents: Contents, budget: Budget) -> None:
    try:
        picture = await _read(storage, contents)
    except (TransferFailed, ViError, *TRANSPORT_ERRORS) as error:
        reason = error.message if isinstance(error, (TransferFailed, ViError)) else type(error).__name__
        logger.debug("No thumbnail of %s: %s", asset.asset_id, reason)
        return
    if budget.take(len(picture)):
        asset.thumbnail = picture


async def _read(storage: Storage, contents: Contents) -> bytes:
    transfer = signed_transfer(contents.url, contents.headers, "GET", 0, endpoint=storage.settings.endpoint)
    async with storage.get(transfer) as response:
        if response.status != 200:
            raise TransferFailed(FileCode.EREFUSED, f"The storage answered with status {response.status}.")
        refuse_encoding(response)
        picture = bytearray()
        while piece := await response.content.read(ONE_BYTES + 1 - len(picture)):
            picture += piece
            if len(picture) > ONE_BYTES:
                response.close()
                raise TransferFailed(FileCode.EBADSIZE, f"The thumbnail has more than {ONE_BYTES} bytes.")
    if sniff(bytes(picture[:64])) not in FAMILIES:
        raise TransferFailed(FileCode.EBADMIME, "The thumbnail is of a kind that no browser shows.")
    return bytes(picture)
