"""One asset, chosen by its id, by its filename, or by an `Asset` that is at hand."""

from __future__ import annotations

import attrs

from ......_transfer.download import RemoteFile
from ......_transfer.storage import Storage
from ......errors import ViInvalidParameterError, ViNotFoundError
from ....base import check_id, check_text
from ..calls import AssetCalls
from ..download.remote_files import remote_of
from ..responses import Asset


@attrs.frozen
class OneAsset:
    """What the caller gave: exactly one of *asset_id* and *filename*, and the asset itself if it is known."""

    asset_id: str | None
    filename: str | None
    asset: Asset | None = None

    @classmethod
    def of(cls, call: str, calls: AssetCalls, asset_id: str | Asset | None, filename: str | None) -> OneAsset:
        """Check the arguments of *call* before anything is sent."""
        if (asset_id is None) == (filename is None):
            raise ViInvalidParameterError(f"{call} needs either asset_id or filename.")
        if isinstance(asset_id, Asset):
            if asset_id.dataset_id and not calls.are_of(asset_id.dataset_id):
                raise ViInvalidParameterError(
                    f"The asset {asset_id.asset_id} belongs to the dataset {asset_id.dataset_id}, not to the given one.",
                    parameter="asset_id",
                    suggestion="Pass asset.dataset_id as the dataset.",
                )
            return cls(check_id(asset_id.asset_id, "asset_id"), None, asset_id)
        if asset_id is not None:
            return cls(check_id(asset_id, "asset_id"), None)
        return cls(None, check_text(filename, "filename"))

    async def ask(self, calls: AssetCalls, *, contents: bool) -> Asset:
        """Ask the service for it, with one request; raises `ViNotFoundError`."""
        if self.asset_id is not None:
            return await calls.asset(self.asset_id, contents=contents)
        for asset in await calls.named(self.filename or "", contents=contents):
            if asset.filename == self.filename:
                return asset
        raise ViNotFoundError(f"The dataset has no asset named {self.filename!r}.", status_code=404)

    async def find_id(self, calls: AssetCalls) -> str:
        """Return its id, asking the service only where a filename was given."""
        return self.asset_id if self.asset_id is not None else (await self.ask(calls, contents=False)).asset_id

    async def ready(self, calls: AssetCalls, storage: Storage) -> tuple[Asset, RemoteFile]:
        """Return it with a URL that can be used; one that is at hand and fresh costs no request.

        Raises `TransferFailed` for an asset without contents.
        """
        if self.asset is not None and self.asset.contents is not None and self.asset.contents.asset is not None:
            remote = remote_of(self.asset, calls.endpoint)
            if not storage.ended(remote.transfer):
                return self.asset, remote
        asset = await self.ask(calls, contents=True)
        return asset, remote_of(asset, calls.endpoint)
