"""Rows as wire documents, with every field that a strict decoder requires (protocol section 14)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import attrs
import sqlalchemy as sa

from .. import _routes
from .identity import Identity
from .store.json_text import filled, keys_of, quoted
from .store.schema import SessionState, asset

Row = sa.Row[Any]
Document = dict[str, Any]


def _etag(identifier: str, generation: int) -> str:
    return f'"{identifier}-{generation}"'


def _metadata(row: Row, generation: int, attributes: Mapping[str, Any] | None = None) -> Document:
    return {
        "timeCreated": row.created,
        "lastUpdated": row.updated,
        "generation": generation,
        "attributes": attributes or {},
    }


def _conditions(
    started: int, finished: int | None, *, status: str | None = None, reason: str | None = None
) -> list[Document]:
    finish: Document = {
        "condition": "Finished",
        "status": status or ("Waiting" if finished is None else "Reached"),
        "lastTransitionTime": started if finished is None else finished,
    }
    if reason is not None:
        finish["reason"] = reason
        finish["message"] = _REASONS[reason]
    return [finish, {"condition": "Started", "status": "Reached", "lastTransitionTime": started}]


_REASONS = {
    "AssetFailed": "A file could not be ingested.",
    "Cancelled": "The session was cancelled.",
    "DeletionFailed": "The assets could not be deleted; the log of the service says why.",
}


@attrs.frozen
class Documents:
    """Writes the documents of one organization."""

    identity: Identity
    _prefix: str = attrs.field(init=False, default=attrs.Factory(lambda self: self._make_prefix(), takes_self=True))

    def _make_prefix(self) -> str:
        return _routes.fill(_routes.DATASET, org=self.organization_id, dataset=self.composite(""))

    @property
    def organization_id(self) -> str:
        """The organization's id."""
        return self.identity.organization_id

    def _dataset_path(self, dataset_id: str) -> str:
        return self._prefix + dataset_id  # letters and digits alone: nothing to escape

    def composite(self, dataset_id: str) -> str:
        """Return a dataset id as answers write it."""
        return f"{self.organization_id}_{dataset_id}"

    def organization(self, dataset_ids: Sequence[str], now: int) -> Document:
        """Write the organization (section 6)."""
        names = [self.composite(dataset_id) for dataset_id in dataset_ids]
        return {
            "name": self.identity.name,
            "kind": "Workspace",
            "workspaceId": self.organization_id,
            "lastAccess": now,
            "datasets": names,
            "billing": {"payer": "", "email": "", "subscriberId": "", "ledger": [], "tier": "local"},
            "users": {self.identity.user_id: {"workspaceRole": "Owner", "datasets": dict.fromkeys(names, "Owner")}},
            "metadata": {
                "createDate": self.identity.created,
                "isPublic": False,
                "accountManager": None,
                "salesEngineer": None,
            },
            "features": {},
            "lockStatus": {"isLocked": False, "lockDate": None},
            "selfLink": _routes.fill(_routes.ORGANIZATION, org=self.organization_id),
            "etag": _etag(self.organization_id, len(names)),
        }

    def dataset(self, row: Row) -> Document:
        """Write a dataset (section 7.1)."""
        name = self.composite(row.id)
        return {
            "kind": "Dataset",
            "datasetId": name,
            "name": row.name,
            "owner": self.organization_id,
            "workspaceId": self.organization_id,
            "type": row.type,
            "content": "Image",
            "createDate": row.created,
            "statistic": {
                "assetTotal": row.asset_total,
                "annotationTotal": row.annotation_total,
                "tagsCount": {},
                "assetAnnotated": row.asset_annotated,
            },
            "users": {self.identity.user_id: {"workspaceRole": "Owner", "datasets": {name: "Owner"}}},
            "tags": row.tags,
            "cohorts": [],
            "status": 0,
            "lastAccessed": row.updated,
            "isLocked": False,
            "access": {"isPublic": False, "isReadOnly": False, "isHidden": False},
            "preference": {},
            "assetStatuses": {},
            "selfLink": self._dataset_path(row.id),
            "etag": _etag(row.id, row.generation),
            "localization": "Datature/Multi",
            "dataLocalization": "Datature/Multi",
            "description": row.description,
            "tagDetails": {},
            "isDemoProject": False,
            "deleteOp": None,
            "bypassQuota": False,
            "metadata": _metadata(row, row.generation, row.attributes),
        }

    def simple_dataset(self, row: Row) -> Document:
        """Write a dataset in short."""
        return {"datasetId": self.composite(row.id), "name": row.name}

    def deleted_dataset(self, row: Row) -> Document:
        """Write the deletion of a dataset (section 7.5)."""
        generation = 1 if row.purged is None else 2
        return {
            "kind": "DeleteDatasetOperation",
            "user": self.identity.user_id,
            "workspaceId": self.organization_id,
            "datasetId": self.composite(row.id),
            "selfLink": self._dataset_path(row.id) + "/deleteOperation",
            "etag": _etag(f"{row.id}-deletion", generation),
            "metadata": {
                "timeCreated": row.deleted,
                "lastUpdated": row.deleted if row.purged is None else row.purged,
                "generation": generation,
                "attributes": {},
            },
            "status": {"conditions": _conditions(row.deleted, row.purged)},
        }

    def bulk_deletion(self, row: Row, dataset_id: str) -> Document:
        """Write a bulk deletion (section 7.6)."""
        generation = 1 if row.finished is None else 2
        return {
            "kind": "DeleteManyAssetsSession",
            "workspaceId": self.organization_id,
            "datasetId": self.composite(dataset_id),
            "deleteManyAssetsSessionId": row.id,
            "selfLink": f"{self._dataset_path(dataset_id)}/deleteManyAssetsSessions/{row.id}",
            "etag": _etag(row.id, generation),
            "metadata": _metadata(row, generation),
            "spec": row.spec,
            "status": {
                "conditions": _conditions(
                    row.created, row.finished, status="FailedReach" if row.reason else None, reason=row.reason
                )
            },
        }

    def asset_text(self, dataset_id: str) -> sa.ColumnElement[str]:
        """Return the expression by which the database writes an asset of a dataset as JSON text (section 8.3)."""
        return _asset_text(self.organization_id, self.identity.user_id, dataset_id, self._dataset_path(dataset_id))

    def session(
        self,
        row: Row,
        dataset_id: str,
        errors: Iterable[Row],
        *,
        assets: list[Document] | None = None,
        as_created: bool = False,
    ) -> Document:
        """Write a session (sections 9.2 and 9.5); *as_created* as it stood in the answer that created it."""
        errors = list(errors)
        succeeded, errored, generation = row.succeeded, row.errored, row.generation
        state, reason, finished, updated = row.state, row.reason, row.finished, row.updated
        if as_created:
            succeeded, errored, generation, updated = 0, len(errors), 1, row.created
            if finished != row.created or not errors:
                state, reason, finished = SessionState.OPEN, None, None
        events: list[Document] = []
        if succeeded + errored and not as_created:
            events.append({"kind": "Progress", "tasks": {"ingest": {"total": row.total, "done": succeeded + errored}}})
        for settled, group in groupby(errors, key=lambda error: error.settled):
            of_event = list(group)
            files = {error.filename: error.error for error in of_event}
            reasons = {error.filename: error.reason for error in of_event if error.reason}
            events.append({"kind": "Error", "files": files, "corrections": reasons, "time": settled})
        status: Document = {
            "conditions": _conditions(
                row.created, finished, status="FailedReach" if state == SessionState.FAILED else None, reason=reason
            ),
            "events": events,
            "progressCount": {"total": row.total, "succeeded": succeeded, "errored": errored},
        }
        if assets is not None:
            status["assets"] = assets
        return {
            "kind": "AssetIngestionSession",
            **self._source(row, dataset_id),
            "assetIngestionSessionId": row.id,
            "ingestionId": row.ingestion_id,
            "selfLink": self._source_path(row, dataset_id) + f"/assetIngestionSessions/{row.id}",
            "etag": _etag(row.id, generation),
            "metadata": {
                "timeCreated": row.created,
                "lastUpdated": updated,
                "generation": generation,
                "attributes": {},
            },
            "spec": {"kind": "Upload", "failureMode": row.failure_mode, "onAssetOverwritten": row.retention},
            "status": status,
        }

    def multipart_upload(self, row: Row, dataset_id: str) -> Document:
        """Write a multipart upload (section 10.1)."""
        return {
            "kind": "MultipartUpload",
            **self._source(row, dataset_id),
            "multipartUploadId": row.id,
            "selfLink": self._source_path(row, dataset_id) + f"/multipartUploads/{row.id}",
            "etag": _etag(row.id, 1),
            "metadata": _metadata(row, 1),
            "spec": {
                "ingestionId": row.ingestion_id,
                "filename": row.filename,
                "sizeBytes": row.size,
                "contentType": row.content_type,
            },
            "status": {"conditions": _conditions(row.created, None), "partCount": row.part_count},
        }

    def _source(self, row: Row, dataset_id: str) -> Document:
        return {
            "workspaceId": self.organization_id,
            "datasetId": self.composite(dataset_id),
            "assetSourceClass": row.source_class,
            "assetSourceProvider": row.source_provider,
            "assetSourceId": row.source_id,
        }

    def _source_path(self, row: Row, dataset_id: str) -> str:
        return _routes.fill(
            _routes.SOURCE,
            org=self.organization_id,
            dataset=self.composite(dataset_id),
            source_class=row.source_class,
            provider=row.source_provider,
            source_id=row.source_id,
        )


_WRITTEN = {
    **asset.c,
    **{name: quoted(asset.c[name]) for name in ("filename", "kind", "mime", "source", "status")},
    "keys": keys_of(asset.c.custom_metadata),
}


@lru_cache(256)  # the pages of one listing share it
def _asset_text(organization: str, user: str, dataset_id: str, dataset_path: str) -> sa.ColumnElement[str]:
    shape = {
        "assetId": "{id}",
        "datasetId": f"{organization}_{dataset_id}",
        "workspaceId": organization,
        "filename": "{=filename}",
        "kind": "{=kind}",
        "owner": organization,
        "selfLink": dataset_path + "/assets/{id}",
        "etag": '"{id}-{generation}"',
        "metadata": {
            "generations": {"asset": "{id}/original", "thumbnail": "{id}/thumbnail"},
            "insertedBy": user,
            "annotations": {"withTag": "{=annotation_tags}", "total": "{=annotation_total}"},
            "frames": "{=frames}",
            "cohorts": [],
            "fileSize": "{=size}",
            "height": "{=height}",
            "width": "{=width}",
            "mimeType": "{=mime}",
            "source": "{=source}",
            "status": "{=status}",
            "uploadStatus": "Uploaded",
            "visibility": "Private",
            "userDefined": {},
            "customMetadata": "{=custom_metadata}",
            "dimensions": {"height": "{=height}", "width": "{=width}", "depth": None},
            "pixelRatio": {"height": 1, "width": 1, "depth": None},
            "comments": 0,
            "customMetadataCount": "{=keys}",
            "hash": {"algorithm": "sha256", "contents": "{sha256}"},
            "contentsFrom": "Upload",
            "framesChange": {},
            "timeCreated": "{=created}",
            "lastUpdated": "{=updated}",
            "contentsLastUpdated": "{=contents_updated}",
        },
    }
    return filled(shape, _WRITTEN)
