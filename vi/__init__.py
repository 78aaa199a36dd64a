"""Move image datasets between disks and the Vi dataset service.

`AsyncClient` is the client, `Client` its synchronous twin; both have ``assets``, ``datasets`` and ``organizations``.
``Client.local(folder)`` brings a service of its own. Every class that a public signature names can be imported from
here. Importing this module opens nothing and costs little: each name is loaded when it is used first.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import (
    ViAuthenticationError,
    ViConfigurationError,
    ViConflictError,
    ViDownloadError,
    ViError,
    ViErrorCode,
    ViFileTooLargeError,
    ViInvalidFileFormatError,
    ViInvalidParameterError,
    ViNetworkError,
    ViNotFoundError,
    ViOperationError,
    ViPathError,
    ViPermissionError,
    ViRateLimitError,
    ViServerError,
    ViTimeoutError,
    ViUploadError,
    ViValidationError,
)

if TYPE_CHECKING:
    from . import config as config
    from . import contract as contract
    from . import fastapi as fastapi
    from . import otel as otel
    from . import profiles as profiles
    from . import rows as rows
    from . import runs as runs
    from . import testing as testing
    from . import transfers as transfers
    from ._events import Hooks, Listener, RequestEvent, RetryEvent, SilenceEvent, TransferProgress
    from ._transfer.inventory import Naming
    from ._transfer.record import FileFailure, SkippedFile
    from ._transfer.remote_folders import RemotePath
    from .api.pagination import BadItem, Listing, Page, PaginatedResponse
    from .api.resources.datasets.assets.arguments import Filter
    from .api.resources.datasets.assets.events import BlockingTransferEvents, TransferEvents
    from .api.resources.datasets.assets.metadata.given import CustomMetadata, OnUnmatched
    from .api.resources.datasets.assets.metadata.tables import ArrowTable, Table
    from .api.resources.datasets.assets.plans import PlannedTransfer, TransferPlan
    from .api.resources.datasets.assets.reading.many import AssetReader, BlockingAssetReader, ReadReport
    from .api.resources.datasets.assets.reading.stream import AssetFile, AssetOpening, AssetStream
    from .api.resources.datasets.assets.resource import Assets, AsyncAssets
    from .api.resources.datasets.assets.responses import (
        Asset,
        AssetAnnotations,
        AssetContents,
        AssetDimensions,
        AssetForUpload,
        AssetGenerations,
        AssetHash,
        AssetIngestionError,
        AssetIngestionEventError,
        AssetIngestionEventOther,
        AssetIngestionEventProgress,
        AssetIngestionProgressCount,
        AssetIngestionSession,
        AssetIngestionSessionSpec,
        AssetIngestionSessionStatus,
        AssetMetadata,
        AssetPixelRatio,
        Contents,
        DeletedAsset,
        FailureMode,
        ResourceRetentionMode,
        UploadedAssetMetadata,
    )
    from .api.resources.datasets.assets.results import (
        AssetDownloadResult,
        AssetUploadResult,
        BulkDeletionResult,
        SetMetadataResult,
    )
    from .api.resources.datasets.assets.run_plans import RunFolder, RunPlan
    from .api.resources.datasets.assets.run_reports import RunStatus, ShardReport
    from .api.resources.datasets.assets.sync.comparison import VerifyResult
    from .api.resources.datasets.assets.sync.run import SyncResult
    from .api.resources.datasets.assets.types import AssetSortCriterion, SortCriterion, SortOrder
    from .api.resources.datasets.assets.watching import AssetWatch, BlockingAssetWatch, WatchEvent
    from .api.resources.datasets.resource import AsyncDatasets, Datasets
    from .api.resources.datasets.responses import Dataset, DatasetAccess, DatasetStatistic, DeletedDataset
    from .api.resources.datasets.types import DatasetType
    from .api.resources.organizations.resource import AsyncOrganizations, Organizations
    from .api.resources.organizations.responses import Organization
    from .api.resources.shared import ConditionStatus, OperationStatus, ResourceCondition, ResourceMetadata
    from .api.types import PaginationParams
    from .client import AsyncClient, Client, LocalClient
    from .codes import FileCode
    from .config import RetryPolicy, Settings, Timeouts, TransferLimits
    from .runs import finish, run_shard, run_shards

__all__ = [
    "ArrowTable",
    "Asset",
    "AssetAnnotations",
    "AssetContents",
    "AssetDimensions",
    "AssetDownloadResult",
    "AssetFile",
    "AssetForUpload",
    "AssetGenerations",
    "AssetHash",
    "AssetIngestionError",
    "AssetIngestionEventError",
    "AssetIngestionEventOther",
    "AssetIngestionEventProgress",
    "AssetIngestionProgressCount",
    "AssetIngestionSession",
    "AssetIngestionSessionSpec",
    "AssetIngestionSessionStatus",
    "AssetMetadata",
    "AssetOpening",
    "AssetPixelRatio",
    "AssetReader",
    "AssetSortCriterion",
    "AssetStream",
    "AssetUploadResult",
    "AssetWatch",
    "Assets",
    "AsyncAssets",
    "AsyncClient",
    "AsyncDatasets",
    "AsyncOrganizations",
    "BadItem",
    "BlockingAssetReader",
    "BlockingAssetWatch",
    "BlockingTransferEvents",
    "BulkDeletionResult",
    "Client",
    "ConditionStatus",
    "Contents",
    "CustomMetadata",
    "Dataset",
    "DatasetAccess",
    "DatasetStatistic",
    "DatasetType",
    "Datasets",
    "DeletedAsset",
    "DeletedDataset",
    "FailureMode",
    "FileCode",
    "FileFailure",
    "Filter",
    "Hooks",
    "Listener",
    "Listing",
    "LocalClient",
    "Naming",
    "OnUnmatched",
    "OperationStatus",
    "Organization",
    "Organizations",
    "Page",
    "PaginatedResponse",
    "PaginationParams",
    "PlannedTransfer",
    "ReadReport",
    "RemotePath",
    "RequestEvent",
    "ResourceCondition",
    "ResourceMetadata",
    "ResourceRetentionMode",
    "RetryEvent",
    "RetryPolicy",
    "RunFolder",
    "RunPlan",
    "RunStatus",
    "SetMetadataResult",
    "Settings",
    "ShardReport",
    "SilenceEvent",
    "SkippedFile",
    "SortCriterion",
    "SortOrder",
    "SyncResult",
    "Table",
    "Timeouts",
    "TransferEvents",
    "TransferLimits",
    "TransferPlan",
    "TransferProgress",
    "UploadedAssetMetadata",
    "VerifyResult",
    "ViAuthenticationError",
    "ViConfigurationError",
    "ViConflictError",
    "ViDownloadError",
    "ViError",
    "ViErrorCode",
    "ViFileTooLargeError",
    "ViInvalidFileFormatError",
    "ViInvalidParameterError",
    "ViNetworkError",
    "ViNotFoundError",
    "ViOperationError",
    "ViPathError",
    "ViPermissionError",
    "ViRateLimitError",
    "ViServerError",
    "ViTimeoutError",
    "ViUploadError",
    "ViValidationError",
    "WatchEvent",
    "__version__",
    "finish",
    "run_shard",
    "run_shards",
]

_HOMES = {
    "._events": "Hooks Listener RequestEvent RetryEvent SilenceEvent TransferProgress",
    "._transfer.inventory": "Naming",
    "._transfer.record": "FileFailure SkippedFile",
    "._transfer.remote_folders": "RemotePath",
    ".api.pagination": "BadItem Listing Page PaginatedResponse",
    ".api.resources.datasets.assets.arguments": "Filter",
    ".api.resources.datasets.assets.events": "BlockingTransferEvents TransferEvents",
    ".api.resources.datasets.assets.metadata.given": "CustomMetadata OnUnmatched",
    ".api.resources.datasets.assets.metadata.tables": "ArrowTable Table",
    ".api.resources.datasets.assets.plans": "PlannedTransfer TransferPlan",
    ".api.resources.datasets.assets.reading.many": "AssetReader BlockingAssetReader ReadReport",
    ".api.resources.datasets.assets.reading.stream": "AssetFile AssetOpening AssetStream",
    ".api.resources.datasets.assets.resource": "Assets AsyncAssets",
    ".api.resources.datasets.assets.responses": (
        "Asset AssetAnnotations AssetContents AssetDimensions AssetForUpload AssetGenerations AssetHash "
        "AssetIngestionError AssetIngestionEventError AssetIngestionEventOther AssetIngestionEventProgress "
        "AssetIngestionProgressCount AssetIngestionSession AssetIngestionSessionSpec AssetIngestionSessionStatus "
        "AssetMetadata AssetPixelRatio Contents DeletedAsset FailureMode ResourceRetentionMode "
        "UploadedAssetMetadata"
    ),
    ".api.resources.datasets.assets.results": (
        "AssetDownloadResult AssetUploadResult BulkDeletionResult SetMetadataResult"
    ),
    ".api.resources.datasets.assets.run_plans": "RunFolder RunPlan",
    ".api.resources.datasets.assets.run_reports": "RunStatus ShardReport",
    ".api.resources.datasets.assets.sync.comparison": "VerifyResult",
    ".api.resources.datasets.assets.sync.run": "SyncResult",
    ".api.resources.datasets.assets.watching": "AssetWatch BlockingAssetWatch WatchEvent",
    ".api.resources.datasets.assets.types": "AssetSortCriterion SortCriterion SortOrder",
    ".api.resources.datasets.resource": "AsyncDatasets Datasets",
    ".api.resources.datasets.responses": "Dataset DatasetAccess DatasetStatistic DeletedDataset",
    ".api.resources.datasets.types": "DatasetType",
    ".api.resources.organizations.resource": "AsyncOrganizations Organizations",
    ".api.resources.organizations.responses": "Organization",
    ".api.resources.shared": "ConditionStatus OperationStatus ResourceCondition ResourceMetadata",
    ".api.types": "PaginationParams",
    ".client": "AsyncClient Client LocalClient",
    ".codes": "FileCode",
    ".config": "RetryPolicy Settings Timeouts TransferLimits",
    ".runs": "finish run_shard run_shards",
}
_LAZY = {name: module for module, names in _HOMES.items() for name in names.split()}
_MODULES = ("config", "contract", "fastapi", "otel", "profiles", "rows", "runs", "testing", "transfers")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(module, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "errors", *_MODULES])
