"""Dataset documents (protocol section 7)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from .... import _wire
from ...._show.sheet import Sheet
from ...._show.units import when
from ...display import Listed
from ...document import Document
from ..shared import OperationStatus, ResourceMetadata
from .types import DatasetType


@attrs.define
class DatasetStatistic:
    """Counts of a dataset at the moment it was read."""

    asset_total: int = 0
    annotation_total: int = 0
    tags_count: dict[str, int] = attrs.Factory(dict)
    asset_annotated: int = 0


@attrs.define
class DatasetAccess:
    """Who may see or change a dataset."""

    is_public: bool | None = None
    is_read_only: bool | None = None
    is_hidden: bool | None = None


@attrs.define
class Dataset(Document, Listed):
    """A dataset. *dataset_id* is the short form; times are milliseconds since 1970 UTC."""

    dataset_id: str
    name: str = ""
    kind: str = "Dataset"
    owner: str = ""
    organization_id: str = _wire.field(wire="workspaceId", default="")
    type: DatasetType | str = ""
    content: str = ""
    create_date: int = 0
    statistic: DatasetStatistic = attrs.Factory(DatasetStatistic)
    users: dict[str, Any] = attrs.Factory(dict)
    tags: dict[str, int] = attrs.Factory(dict)
    cohorts: list[Any] = attrs.Factory(list)
    status: int = 0
    last_accessed: int = 0
    is_locked: bool = False
    access: DatasetAccess = attrs.Factory(DatasetAccess)
    preference: dict[str, Any] = attrs.Factory(dict)
    asset_statuses: dict[str, Any] = attrs.Factory(dict)
    self_link: str = ""
    etag: str = ""
    localization: str | None = None
    data_localization: str | None = None
    description: str | None = None
    tag_details: dict[str, Any] | None = None
    is_demo_project: bool | None = None
    bypass_quota: bool | None = None

    @property
    def created_at(self) -> dt.datetime | None:
        """The time of creation, in UTC."""
        return _wire.to_datetime(self.create_date)

    _noun: ClassVar[str] = "dataset"
    _heads: ClassVar[Sequence[str]] = ("Name", "Assets", "Annotations", "Type", "Dataset")
    _numbers: ClassVar[frozenset[int]] = frozenset({1, 2})

    def _cells(self) -> Sequence[str]:
        counts = self.statistic
        return self.name, str(counts.asset_total), str(counts.annotation_total), str(self.type), self.dataset_id

    def _sheet(self) -> Sheet:
        return Sheet(
            facts=[
                ("Dataset", self.dataset_id),
                ("Name", self.name),
                ("Organization", self.organization_id),
                ("Type", str(self.type)),
                ("Description", self.description or ""),
                ("Assets", str(self.statistic.asset_total)),
                ("Annotations", str(self.statistic.annotation_total)),
                ("Created", when(self.created_at)),
            ]
        )


@attrs.define
class DeletedDataset(Document):
    """The outcome of deleting a dataset."""

    dataset_id: str
    organization_id: str = _wire.field(wire="workspaceId", default="")
    kind: str = ""
    user: str = ""
    self_link: str = ""
    etag: str = ""
    metadata: ResourceMetadata = attrs.Factory(ResourceMetadata)
    status: OperationStatus = attrs.Factory(OperationStatus)

    @property
    def id(self) -> str:
        """The id of what was deleted."""
        return self.dataset_id

    @property
    def deleted(self) -> bool:
        """Whether the deletion has not failed."""
        return not self.status.failed


@attrs.define
class BulkDeletionSpec:
    """Which assets a bulk deletion selects; all None means every asset."""

    filter: Any = None
    metadata_query: str | None = None
    rule_query: str | None = None
    strict_query: bool | None = None


@attrs.define
class BulkAssetDeletionSession(Document):
    """A bulk deletion of assets, done when every condition is reached (protocol section 7.6)."""

    delete_many_assets_session_id: str
    dataset_id: str = ""
    organization_id: str = _wire.field(wire="workspaceId", default="")
    kind: str = ""
    self_link: str = ""
    etag: str = ""
    metadata: ResourceMetadata = attrs.Factory(ResourceMetadata)
    spec: BulkDeletionSpec = attrs.Factory(BulkDeletionSpec)
    status: OperationStatus = attrs.Factory(OperationStatus)
