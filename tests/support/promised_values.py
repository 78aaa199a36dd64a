"""What each promised property must hold, of the asset, session and result that a world has."""

from __future__ import annotations

import hashlib
import re
import types
import typing
from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

import vi
from tests.support.promised_world import METADATA, NAME, World
from vi import _checksums, _media
from vi.api.resources.datasets.assets import responses as r
from vi.api.resources.datasets.assets import types as t
from vi.api.resources.datasets.assets.results import AssetUploadResult
from vi.api.types import PaginationParams

# Types, as the list writes them.

_NAMES = {**vars(vi), **vars(r), **vars(t), "Any": Any, "PaginationParams": PaginationParams}


def written_type(detail: str) -> Any:
    """Read the type at the beginning of a row's detail: ``int or None (CRC32C)``."""
    match = re.match(r"(\w+(?:\[[^\]]*\])?)((?: or \w+(?:\[[^\]]*\])?)*)", detail)
    assert match, detail
    return eval((match[1] + match[2]).replace(" or ", " | "), dict(_NAMES))


def is_a(value: Any, hint: Any) -> bool:
    """Tell whether *value* is of a type, its contents too; a bool is no int, an enum of text is text."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(is_a(value, member) for member in arguments)
    if origin is list:
        return type(value) is list and all(is_a(item, arguments[0]) for item in value)
    if origin is dict:
        return type(value) is dict and all(is_a(k, arguments[0]) and is_a(v, arguments[1]) for k, v in value.items())
    if hint in (None, types.NoneType):
        return value is None
    return type(value) is hint if hint in (int, float, bool) else isinstance(value, hint)


# Properties: where they are read, and whether the value is the true one.


def owner(w: World, cls: str) -> Any:
    """The object of the world that a class's properties are read from."""
    status = w.session.status
    return {
        "PaginatedResponse": w.page,
        "Asset": w.asset,
        "AssetMetadata": w.asset.metadata,
        "AssetGenerations": w.asset.metadata.generations,
        "AssetAnnotations": w.asset.metadata.annotations,
        "AssetDimensions": w.asset.metadata.dimensions,
        "AssetPixelRatio": w.asset.metadata.pixel_ratio,
        "AssetHash": w.asset.metadata.hash,
        "AssetContents": w.asset.contents,
        "Contents": w.announced.upload,
        "AssetUploadResult": w.upload,
        "AssetDownloadResult": w.download,
        "AssetIngestionSession": w.session,
        "AssetIngestionSessionSpec": w.session.spec,
        "AssetIngestionSessionStatus": status,
        "AssetIngestionProgressCount": status.progressCount,
        "ResourceMetadata": w.session.metadata,
        "UploadedAssetMetadata": w.announced.metadata,
        "AssetForUpload": w.announced,
    }[cls]


def ours(w: World) -> str:
    return str(w.client.settings.organization_id)


def recent(milliseconds: int) -> bool:
    """A time of this year or later, in milliseconds."""
    return 1_700_000_000_000 < milliseconds < 10_000_000_000_000


def is_session_path(path: str, w: World) -> bool:
    return path.startswith(f"/workspaces/{ours(w)}/datasets/") and path.endswith(w.session.asset_ingestion_session_id)


VALUES: dict[str, Callable[[Any, World], bool]] = {
    "PaginatedResponse.items": lambda v, w: [type(a) for a in v] == [r.Asset] * 10,
    "Asset.asset_id": lambda v, w: v == w.asset_id and w.call("get", asset_id=v).filename == NAME,
    "Asset.dataset_id": lambda v, w: v == w.dataset_id,
    "Asset.organization_id": lambda v, w: v == ours(w),
    "Asset.filename": lambda v, w: v == NAME,
    "Asset.kind": lambda v, w: v == "Image",
    "Asset.owner": lambda v, w: bool(v),
    "Asset.metadata": lambda v, w: v.file_size == len(w.originals[NAME]),
    "Asset.self_link": lambda v, w: v.startswith("/workspaces/") and v.endswith(f"/assets/{w.asset_id}"),
    "Asset.etag": lambda v, w: bool(v),
    "Asset.contents": lambda v, w: v is not None and w.call("get", asset_id=w.asset_id).contents is None,
    "AssetMetadata.width": lambda v, w: v == 32,
    "AssetMetadata.height": lambda v, w: v == 24,
    "AssetMetadata.file_size": lambda v, w: v == len(w.originals[NAME]),
    "AssetMetadata.mime_type": lambda v, w: v == "image/png",
    "AssetMetadata.upload_status": lambda v, w: v == "Uploaded",
    "AssetMetadata.status": lambda v, w: v == "ready",
    "AssetMetadata.frames": lambda v, w: v == 1,
    "AssetMetadata.visibility": lambda v, w: bool(v),
    "AssetMetadata.generations": lambda v, w: bool(v.asset),
    "AssetMetadata.annotations": lambda v, w: v.total == 0,
    "AssetMetadata.dimensions": lambda v, w: (v.width, v.height) == (32, 24),
    "AssetMetadata.pixel_ratio": lambda v, w: (v.width, v.height) == (1, 1),
    "AssetMetadata.hash": lambda v, w: v.algorithm == "sha256",
    "AssetMetadata.inserted_by": lambda v, w: bool(v),
    "AssetMetadata.cohorts": lambda v, w: v == [],
    "AssetMetadata.user_defined": lambda v, w: v == {},
    "AssetMetadata.custom_metadata": lambda v, w: v == METADATA and is_a(v, t.AssetCustomMetadata),
    "AssetMetadata.comments": lambda v, w: v == 0,
    "AssetMetadata.time_created": lambda v, w: recent(v),
    "AssetMetadata.last_updated": lambda v, w: recent(v) and v >= w.asset.metadata.time_created,
    "AssetGenerations.asset": lambda v, w: bool(v),
    "AssetGenerations.thumbnail": lambda v, w: bool(v),
    "AssetAnnotations.with_tag": lambda v, w: v == {},
    "AssetAnnotations.total": lambda v, w: v == 0,
    "AssetDimensions.height": lambda v, w: v == 24,
    "AssetDimensions.width": lambda v, w: v == 32,
    "AssetDimensions.depth": lambda v, w: v is None,
    "AssetPixelRatio.height": lambda v, w: v == 1,
    "AssetPixelRatio.width": lambda v, w: v == 1,
    "AssetPixelRatio.depth": lambda v, w: v is None,
    "AssetHash.algorithm": lambda v, w: v == "sha256",
    "AssetHash.contents": lambda v, w: v == hashlib.sha256(w.originals[NAME]).hexdigest(),
    "AssetContents.asset": lambda v, w: urlopen(v.url).read() == w.originals[NAME],
    "AssetContents.thumbnail": lambda v, w: _media.sniff(urlopen(v.url).read()) is not None,
    "Contents.url": lambda v, w: v.startswith("http://127.0.0.1:"),
    "Contents.expiry": lambda v, w: recent(v) and v > w.session.metadata.time_created,
    "Contents.headers": lambda v, w: v == {"Content-Type": "image/png"},
    "Contents.method": lambda v, w: v == "PUT",
    "AssetUploadResult.total_files": lambda v, w: v == len(w.originals) == 14,
    "AssetUploadResult.total_succeeded": lambda v, w: v == 14,
    "AssetUploadResult.total_failed": lambda v, w: v == 0 and one_bad(w).total_failed == 1,
    "AssetUploadResult.success_rate": lambda v, w: v == 100.0 and one_bad(w).success_rate == 50.0,
    "AssetUploadResult.sessions": lambda v, w: [s.asset_ingestion_session_id for s in v] == w.upload.session_ids,
    "AssetUploadResult.session_ids": lambda v, w: len(v) >= 1 and len(set(v)) == len(v),
    "AssetUploadResult.failed_files": lambda v, w: v == [] and one_bad(w).failed_files == ["bad.png"],
    "AssetIngestionSession.organization_id": lambda v, w: v == ours(w),
    "AssetIngestionSession.dataset_id": lambda v, w: v == w.dataset_id,
    "AssetIngestionSession.asset_ingestion_session_id": lambda v, w: v == w.upload.session_ids[0],
    "AssetIngestionSession.asset_source_class": lambda v, w: v == "managed",
    "AssetIngestionSession.asset_source_provider": lambda v, w: v == "datature",
    "AssetIngestionSession.asset_source_id": lambda v, w: v == "default",
    "AssetIngestionSession.self_link": is_session_path,
    "AssetIngestionSession.etag": lambda v, w: bool(v),
    "AssetIngestionSession.metadata": lambda v, w: recent(v.time_created) and v.last_updated >= v.time_created,
    "AssetIngestionSession.spec": lambda v, w: v.failureMode is r.FailureMode.FAIL_AFTER_ONE,
    "AssetIngestionSession.status": lambda v, w: v.finished and not v.failed,
    "AssetIngestionSessionStatus.progressCount": lambda v, w: v is w.session.status.progress_count,
    "AssetIngestionProgressCount.total": lambda v, w: v == 14,
    "AssetIngestionProgressCount.succeeded": lambda v, w: v == 14,
    "AssetIngestionProgressCount.errored": lambda v, w: v == 0 and corrupt_session(w).status.progressCount.errored == 1,
    "UploadedAssetMetadata.kind": lambda v, w: v == "Image",
    "UploadedAssetMetadata.filename": lambda v, w: v == "announced.png",
    "UploadedAssetMetadata.mime": lambda v, w: v == "image/png",
    "UploadedAssetMetadata.size": lambda v, w: v == 9,
    "UploadedAssetMetadata.crc32c": lambda v, w: _checksums.to_unsigned(v) == _checksums.crc32c(b"123456789"),
    "UploadedAssetMetadata.custom_metadata": lambda v, w: v is None or v == METADATA,
}


def one_bad(w: World) -> AssetUploadResult:
    """A result with one file stored and one refused."""
    return w.upload_bytes({"good.png": w.originals[NAME], "bad.png": b"no picture"}, failure_mode="FailAfterAll")


def corrupt_png(w: World) -> bytes:
    """A picture that begins as one and cannot be decoded."""
    return w.originals[NAME][:-40] + bytes(40)


def corrupt_session(w: World) -> r.AssetIngestionSession:
    content = {"good.png": w.originals[NAME], "cut.png": corrupt_png(w)}
    result = w.upload_bytes(content, failure_mode="FailAfterAll")
    assert result.failures[0].code == "ECORRUPT"
    return w.call(
        "wait_until_done", dataset_id=result.sessions[0].dataset_id, asset_ingestion_session_id=result.session_ids[0]
    )
