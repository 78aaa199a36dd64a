"""One asset, chosen by its id, by its filename, or by an `Asset` that is at hand."""

from __future__ import annotations

import attrs

from ...... import _wire
from ......_checksums import Expected
from ......_transfer.download import RemoteFile
from ......_transfer.outcomes import TransferFailed
from ......_transfer.signed import signed_transfer
from ......_transfer.storage import Storage
from ......codes import FileCode
from ......errors import ViInvalidParameterError, ViNotFoundError
from ....base import check_id, check_text
from ..calls import AssetCalls
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


def remote_of(asset: Asset, endpoint: str) -> RemoteFile:
    """Return where the bytes of *asset* are and what they must be; `TransferFailed` when it cannot be used."""
    contents = asset.contents.asset if asset.contents is not None else None
    size, digest = asset.metadata.file_size, asset.metadata.hash
    if contents is None or not contents.url:
        raise TransferFailed(FileCode.ENOCONTENT, "the service gave no URL for its contents.")
    if size <= 0:
        raise TransferFailed(FileCode.EBADITEM, "the service states no size for it.")
    transfer = signed_transfer(
        contents.url, contents.headers, "GET", _wire.to_seconds(contents.expiry), endpoint=endpoint
    )
    return RemoteFile(asset.asset_id, asset.filename, size, Expected(digest.algorithm, digest.contents), transfer)
