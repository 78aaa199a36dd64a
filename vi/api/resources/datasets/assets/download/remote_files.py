"""Where the bytes of an asset are and what they must be: from a document of a listing, or from an `Asset`."""

from __future__ import annotations

from typing import Any

from ...... import _routes, _wire
from ......_checksums import Expected
from ......_transfer.download import RemoteFile
from ......_transfer.outcomes import TargetGone, TransferFailed
from ......_transfer.signed import signed_transfer
from ......codes import FileCode
from ......errors import ViNotFoundError
from ..calls import AssetCalls
from ..responses import Asset


def read_remote(item: Any, endpoint: str) -> RemoteFile:
    """Read what is needed of an asset document, without building models; `TransferFailed` when it cannot be used."""
    try:
        asset_id, filename, metadata = item["assetId"], item["filename"], item["metadata"]
        size, digest = metadata["fileSize"], metadata.get("hash") or {}
        algorithm, value = digest.get("algorithm"), digest.get("contents")
    except (KeyError, TypeError, AttributeError):
        raise TransferFailed(FileCode.EBADITEM, "the service's document for it cannot be read.") from None
    try:
        contents = item["contents"]["asset"]
        place = contents["url"], contents.get("headers"), contents.get("expiry") or 0
    except (KeyError, TypeError, AttributeError):
        place = None
    return _remote_file(asset_id, filename, size, Expected(_text(algorithm), _text(value)), place, endpoint)


def remote_of(asset: Asset, endpoint: str) -> RemoteFile:
    """Return the same of an asset that came with its contents; `TransferFailed` when it cannot be used."""
    contents = asset.contents.asset if asset.contents is not None else None
    place = None if contents is None or not contents.url else (contents.url, contents.headers, contents.expiry)
    size, digest = asset.metadata.file_size, asset.metadata.hash
    if place is not None and not size:  # as a model has it for a document without a size
        raise TransferFailed(FileCode.EBADITEM, "the service states no size for it.")
    expected = Expected(digest.algorithm, digest.contents)
    return _remote_file(asset.asset_id, asset.filename, size, expected, place, endpoint)


async def renew(calls: AssetCalls, remote: RemoteFile) -> None:
    """Ask the service for an asset again and take its fresh URL; `TargetGone` when it does not exist."""
    try:
        fresh = read_remote(await calls.contents(remote.asset_id), calls.endpoint)
    except ViNotFoundError:
        raise TargetGone from None
    remote.transfer, remote.size, remote.expected = fresh.transfer, fresh.size, fresh.expected


def _remote_file(
    asset_id: Any, filename: Any, size: Any, expected: Expected, place: tuple[Any, Any, Any] | None, endpoint: str
) -> RemoteFile:
    if not _routes.is_identifier(asset_id) or type(filename) is not str or type(size) is not int or size < 0:
        raise TransferFailed(
            FileCode.EBADITEM, "the service's document for it has an id or a field that cannot be used."
        )
    try:
        if place is None:
            raise TypeError
        url, headers, expiry = place
        expires = _wire.to_seconds(expiry)
    except TypeError:
        raise TransferFailed(FileCode.ENOCONTENT, "the service gave no URL for its contents.") from None
    return RemoteFile(
        asset_id, filename, size, expected, signed_transfer(url, headers, "GET", expires, endpoint=endpoint)
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
