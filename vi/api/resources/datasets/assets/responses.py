"""Asset and ingestion documents (protocol sections 8 and 9). Times are milliseconds since 1970 UTC, sizes bytes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar

import attrs

from ..... import _redact, _wire
from ....._show.sheet import Sheet, Tile
from ....._show.units import exact_size, several, size, when
from .....codes import FileCode, meaning_of
from ....display import Listed
from ....document import SIGNED, Document
from ...shared import Choice, ConditionStatus, ResourceCondition, ResourceMetadata, Timed
from .types import AssetCustomMetadata

__all__ = [
    "Asset",
    "AssetAnnotations",
    "AssetContents",
    "AssetDimensions",
    "AssetForUpload",
    "AssetGenerations",
    "AssetHash",
    "AssetIngestionError",
    "AssetIngestionEvent",
    "AssetIngestionEventError",
    "AssetIngestionEventOther",
    "AssetIngestionEventProgress",
    "AssetIngestionProgressCount",
    "AssetIngestionSession",
    "AssetIngestionSessionSpec",
    "AssetIngestionSessionStatus",
    "AssetMetadata",
    "AssetPixelRatio",
    "Contents",
    "DeletedAsset",
    "DeletedResource",
    "FailureMode",
    "ResourceCondition",
    "ResourceMetadata",
    "ResourceRetentionMode",
    "UploadedAssetMetadata",
]


class FailureMode(Choice):
    """What one failed file means for the others."""

    FAIL_AFTER_ONE = "FailAfterOne"
    FAIL_AFTER_ALL = "FailAfterAll"


class ResourceRetentionMode(Choice):
    """What becomes of the annotations of an asset whose bytes are overwritten."""

    REMOVE_LINKED_RESOURCE = "RemoveLinkedResource"
    KEEP_LINKED_RESOURCES = "KeepLinkedResource"

    @classmethod
    def _missing_(cls, value: object) -> ResourceRetentionMode | None:
        # Requests and answers spell this one differently (protocol section 9.2).
        if value == "KeepLinkedResources":
            return cls.KEEP_LINKED_RESOURCES
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None


class AssetIngestionError(StrEnum):
    """Why a file was not stored."""

    EALREADY = "EALREADY"
    EBADMIME = "EBADMIME"
    EBADSIZE = "EBADSIZE"
    ECORRUPT = "ECORRUPT"
    ENOQUOTA = "ENOQUOTA"
    ETIMEOUT = "ETIMEOUT"
    EUNKNOWN = "EUNKNOWN"

    @property
    def meaning(self) -> str:
        """The code in words, to follow the name of a file."""
        return FileCode(self.value).meaning


_LONGEST_REASON = 400


def _one_line(text: str) -> str:
    """Return a service's own words without secrets and control characters, ending as a sentence does."""
    cut = _redact.redact(text[:_LONGEST_REASON])
    line = " ".join("".join(c if c.isprintable() else " " for c in cut).split())
    return line if not line or line.endswith((".", "!", "?")) else f"{line}."


def _url_repr(url: str) -> str:
    return repr(_redact.redact(url))


@attrs.define
class Contents:
    """A signed transfer: whoever holds *url* may use it until *expiry*. Its repr hides the signature."""

    url: str = attrs.field(repr=_url_repr)
    expiry: int = 0
    headers: dict[str, str] | None = attrs.field(default=None, repr=False)
    method: str | None = None

    @property
    def expires_at(self) -> dt.datetime | None:
        """The end of the URL's life, in UTC."""
        return _wire.to_datetime(self.expiry)


@attrs.define
class AssetContents:
    """Signed URLs of an asset and its thumbnail."""

    asset: Contents | None = None
    thumbnail: Contents | None = None


@attrs.define
class AssetGenerations:
    """Names of the stored renditions."""

    asset: str = ""
    thumbnail: str = ""


@attrs.define
class AssetAnnotations:
    """How many annotations an asset has, in all and by tag."""

    with_tag: dict[str, int] = attrs.Factory(dict)
    total: int = 0


@attrs.define
class AssetDimensions:
    """Size in pixels."""

    height: int = 0
    width: int = 0
    depth: int | None = None


@attrs.define
class AssetPixelRatio:
    """Ratio of a pixel's sides."""

    height: int = 1
    width: int = 1
    depth: int | None = None


@attrs.define
class AssetHash:
    """Digest of the stored bytes."""

    algorithm: str = ""
    contents: str = ""


@attrs.define
class AssetMetadata(Timed):
    """What the service knows of an asset's file. A field that the service leaves out has its empty value."""

    width: int = 0
    height: int = 0
    file_size: int = 0
    mime_type: str = ""
    upload_status: str = ""
    status: str = ""
    frames: int = 0
    visibility: str = ""
    generations: AssetGenerations = attrs.Factory(AssetGenerations)
    annotations: AssetAnnotations = attrs.Factory(AssetAnnotations)
    dimensions: AssetDimensions = attrs.Factory(AssetDimensions)
    pixel_ratio: AssetPixelRatio = attrs.Factory(AssetPixelRatio)
    hash: AssetHash = attrs.Factory(AssetHash)
    inserted_by: str = ""
    cohorts: list[str] = attrs.Factory(list)
    user_defined: dict[str, Any] = attrs.Factory(dict)
    custom_metadata: AssetCustomMetadata = attrs.Factory(dict)
    comments: int = 0
    time_created: int = 0
    last_updated: int = 0
    contents_last_updated: int = 0
    source: str = ""
    contents_from: str = ""
    custom_metadata_count: int = 0
    frames_change: dict[str, int] = attrs.Factory(dict)


@attrs.define
class Asset(Document, Listed):
    """An asset of a dataset. *contents* holds signed URLs when they were asked for."""

    asset_id: str
    dataset_id: str
    organization_id: str = _wire.field(wire="workspaceId", default="")
    filename: str = ""
    kind: str = ""
    owner: str = ""
    metadata: AssetMetadata = attrs.Factory(AssetMetadata)
    self_link: str = ""
    etag: str = ""
    contents: AssetContents | None = attrs.field(default=None, metadata=SIGNED)
    thumbnail: bytes | None = attrs.field(default=None, init=False, repr=False, eq=False)
    """The bytes of a small JPEG, PNG, WebP or GIF, when a listing or `get` was asked for it and it came."""

    _noun: ClassVar[str] = "asset"
    _heads: ClassVar[Sequence[str]] = ("Name", "Size", "Pixels", "Status", "Asset")
    _numbers: ClassVar[frozenset[int]] = frozenset({1, 2})

    def _cells(self) -> Sequence[str]:
        return self.filename, size(self.metadata.file_size), self._pixels, self.metadata.status, self.asset_id

    def _tile(self) -> Tile:
        facts = f"{self._pixels}, {size(self.metadata.file_size)}"
        return Tile(self.filename, facts, self.thumbnail, self.kind or "asset")

    @property
    def _pixels(self) -> str:
        return f"{self.metadata.width} x {self.metadata.height}"

    def _sheet(self) -> Sheet:
        metadata = self.metadata
        return Sheet(
            picture=self._tile(),
            facts=[
                ("Asset", self.asset_id),
                ("Filename", self.filename),
                ("Dataset", self.dataset_id),
                ("Kind", f"{self.kind} ({metadata.mime_type})"),
                ("Size", exact_size(metadata.file_size)),
                ("Dimensions", f"{self._pixels} pixels, {several(metadata.frames, 'frame')}"),
                ("Status", f"{metadata.status} ({metadata.upload_status})"),
                ("Visibility", metadata.visibility),
                ("Annotations", str(metadata.annotations.total)),
                ("Hash", f"{metadata.hash.algorithm} {metadata.hash.contents}".strip()),
                ("Created", when(metadata.created_at)),
                ("Updated", when(metadata.updated_at)),
                *((f"  {key}", str(value)) for key, value in metadata.custom_metadata.items()),
            ],
        )


@attrs.frozen
class DeletedResource(Document):
    """The outcome of a deletion that the service answers without a document."""

    id: str
    deleted: bool = True


@attrs.frozen
class DeletedAsset(DeletedResource):
    """A deleted asset."""

    @property
    def asset_id(self) -> str:
        """The id of the asset."""
        return self.id


@attrs.define
class UploadedAssetMetadata:
    """A file as it is announced to a session; *crc32c* is signed (protocol section 9.3)."""

    kind: str
    filename: str
    mime: str
    size: int
    crc32c: int | None = None
    custom_metadata: AssetCustomMetadata | None = None


@attrs.define
class AssetForUpload:
    """A file of a session and where to send it."""

    metadata: UploadedAssetMetadata
    upload: Contents = attrs.field(metadata=SIGNED)


@attrs.define
class AssetIngestionProgressCount:
    """How many files of a session are settled."""

    total: int = 0
    succeeded: int = 0
    errored: int = 0


@attrs.define
class AssetIngestionEventError:
    """Files that were refused: filename to code."""

    files: dict[str, AssetIngestionError | str] = attrs.Factory(dict)
    corrections: dict[str, str] = attrs.Factory(dict)
    time: int = 0
    kind: str = "Error"


@attrs.define
class AssetIngestionEventProgress:
    """Progress of the service's own tasks; the names are its choice."""

    tasks: dict[str, dict[str, int]] = attrs.Factory(dict)
    kind: str = "Progress"


@attrs.define
class AssetIngestionEventOther:
    """An event of a kind that this release does not know."""

    kind: str


AssetIngestionEvent = AssetIngestionEventError | AssetIngestionEventProgress


@attrs.define
class AssetIngestionSessionSpec:
    """What was asked of a session."""

    kind: str = "Upload"
    failure_mode: FailureMode | str = FailureMode.FAIL_AFTER_ONE
    on_asset_overwritten: ResourceRetentionMode | str = ResourceRetentionMode.REMOVE_LINKED_RESOURCE
    assets: list[UploadedAssetMetadata] | None = None

    @property
    def failureMode(self) -> FailureMode | str:  # noqa: N802 - documented spelling
        """The same as *failure_mode*."""
        return self.failure_mode

    @property
    def onAssetOverwritten(self) -> ResourceRetentionMode | str:  # noqa: N802 - documented spelling
        """The same as *on_asset_overwritten*."""
        return self.on_asset_overwritten


@attrs.define
class AssetIngestionSessionStatus:
    """How far a session has come."""

    conditions: list[ResourceCondition] = attrs.Factory(list)
    events: list[AssetIngestionEventError | AssetIngestionEventProgress | AssetIngestionEventOther] = attrs.Factory(
        list
    )
    progressCount: AssetIngestionProgressCount = attrs.Factory(AssetIngestionProgressCount)
    assets: list[AssetForUpload] | None = attrs.field(default=None, repr=False)

    @property
    def progress_count(self) -> AssetIngestionProgressCount:
        """The same as *progressCount*, in the spelling of the other attributes."""
        return self.progressCount

    @property
    def failed(self) -> bool:
        """Whether the session ended without reaching its goal."""
        return any(c.status == ConditionStatus.FAILED_REACH for c in self.conditions)

    @property
    def finished(self) -> bool:
        """Whether the session has ended, either way (protocol section 3.3)."""
        return self.failed or any(
            c.condition == "Finished" and c.status == ConditionStatus.REACHED for c in self.conditions
        )

    @property
    def reason(self) -> str | None:
        """Why the session failed, in the service's word."""
        return next((c.reason for c in self.conditions if c.status == ConditionStatus.FAILED_REACH and c.reason), None)

    @property
    def errors(self) -> dict[str, AssetIngestionError | str]:
        """Every refused file and its code, over all events."""
        found: dict[str, AssetIngestionError | str] = {}
        for event in self.events:
            if isinstance(event, AssetIngestionEventError):
                found.update(event.files)
        return found

    @property
    def reasons(self) -> dict[str, str]:
        """Why each refused file was refused, in a sentence: the service's own where it gives one."""
        found: dict[str, str] = {}
        for event in self.events:
            if isinstance(event, AssetIngestionEventError):
                for name, code in event.files.items():
                    given = _one_line(event.corrections.get(name, ""))
                    found[name] = given or f"{meaning_of(str(code))}."
        return found


@attrs.define
class MetadataChanges:
    """What became of a request to change metadata: how many assets it named, and the names that there are not."""

    changed: int
    unchanged: int
    missing: list[str]


@attrs.define
class AssetIngestionSession(Document):
    """An upload session: its files, and how far the service has come with them."""

    asset_ingestion_session_id: str
    dataset_id: str = ""
    organization_id: str = _wire.field(wire="workspaceId", default="")
    asset_source_class: str = ""
    asset_source_provider: str = ""
    asset_source_id: str = ""
    ingestion_id: str | None = None
    self_link: str = ""
    etag: str = ""
    metadata: ResourceMetadata = attrs.Factory(ResourceMetadata)
    spec: AssetIngestionSessionSpec = attrs.Factory(AssetIngestionSessionSpec)
    status: AssetIngestionSessionStatus = attrs.Factory(AssetIngestionSessionStatus)
