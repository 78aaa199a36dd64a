"""The documents of the protocol, as they travel: answers of the service, events, and requests of a client."""

from __future__ import annotations

import json
from typing import Any

_TEXTS: dict[str, str] = {
    "ResourceMetadata": r"""
{"timeCreated": 1760000000000, "lastUpdated": 1760000000500, "generation": 1, "attributes": {}}
""",
    "ResourceCondition": r"""
{"condition": "Finished", "status": "Waiting", "lastTransitionTime": 1760000000000, "reason": null, "message": null}
""",
    "Contents": r"""
{"url": "https://storage.example/dl/ds1/a1/cat.png?X-Expires=1760003600000&X-Signature=0f", "expiry": 1760003600000, "headers": {"Content-Type": "image/png"}, "method": "PUT"}
""",
    "Pagination": r"""
{"items": [], "nextPage": "eyJvIjoxMH0", "prevPage": null}
""",
    "ErrorBody": r"""
{"code": "ResourceNotFound", "message": "Dataset acme_ds9 not found", "details": {}}
""",
    "Organization": r"""
{
  "name": "Acme vision", "kind": "Workspace", "workspaceId": "acme", "lastAccess": 1760000000000,
  "datasets": ["acme_ds1"],
  "billing": {"payer": "", "email": "nobody@example.com", "subscriberId": "", "ledger": [], "tier": "local"},
  "users": {"user-1": {"workspaceRole": "Owner", "datasets": {"acme_ds1": "Owner"}}},
  "metadata": {"createDate": 1760000000000, "isPublic": false, "accountManager": null, "salesEngineer": null},
  "features": {},
  "lockStatus": {"isLocked": false, "lockDate": null},
  "selfLink": "/workspaces/acme", "etag": "\"o1\""
}
""",
    "Dataset": r"""
{
  "kind": "Dataset", "datasetId": "acme_ds1", "name": "Street signs", "owner": "acme", "workspaceId": "acme",
  "type": "phrase-grounding", "content": "Image", "createDate": 1760000000000,
  "statistic": {"assetTotal": 1500, "annotationTotal": 0, "tagsCount": {}, "assetAnnotated": 0},
  "users": {"user-1": {"workspaceRole": "Owner", "datasets": {"acme_ds1": "Owner"}}},
  "tags": {}, "cohorts": [], "status": 0, "lastAccessed": 1760000000000, "isLocked": false,
  "access": {"isPublic": false, "isReadOnly": false, "isHidden": false},
  "preference": {}, "assetStatuses": {},
  "selfLink": "/workspaces/acme/datasets/acme_ds1", "etag": "\"d1\"",
  "localization": "Datature/Multi", "dataLocalization": "Datature/Multi",
  "description": "", "tagDetails": {}, "isDemoProject": false, "deleteOp": null, "bypassQuota": false
}
""",
    "DatasetCreateRequest": r"""
{
  "name": "Street signs", "owner": "acme", "description": "", "type": "phrase-grounding", "content": "Image",
  "localization": "Datature/Multi", "dataLocalization": "Datature/Multi", "status": 0, "tags": {},
  "metadata": {"attributes": {"team": "north"}}
}
""",
    "DeletedDataset": r"""
{
  "kind": "DeleteDatasetOperation", "user": "user-1", "workspaceId": "acme", "datasetId": "acme_ds1",
  "selfLink": "/workspaces/acme/datasets/acme_ds1/deleteOperation", "etag": "\"x1\"",
  "metadata": {"timeCreated": 1760000000000, "lastUpdated": 1760000000000, "generation": 1, "attributes": {}},
  "status": {"conditions": [
    {"condition": "Finished", "status": "Reached", "lastTransitionTime": 1760000000000},
    {"condition": "Started", "status": "Reached", "lastTransitionTime": 1760000000000}]}
}
""",
    "BulkDeleteRequest": r"""
{"spec": {"filter": "{\"status\": \"error\"}", "metadataQuery": null, "ruleQuery": null, "strictQuery": true}}
""",
    "BulkAssetDeletionSession": r"""
{
  "kind": "DeleteManyAssetsSession", "workspaceId": "acme", "datasetId": "acme_ds1",
  "deleteManyAssetsSessionId": "b1",
  "selfLink": "/workspaces/acme/datasets/acme_ds1/deleteManyAssetsSessions/b1", "etag": "\"b1\"",
  "metadata": {"timeCreated": 1760000000000, "lastUpdated": 1760000000000, "generation": 1, "attributes": {}},
  "spec": {"filter": "{\"status\": \"error\"}", "metadataQuery": null, "ruleQuery": null, "strictQuery": true},
  "status": {"conditions": [
    {"condition": "Finished", "status": "Reached", "lastTransitionTime": 1760000000000},
    {"condition": "Started", "status": "Reached", "lastTransitionTime": 1760000000000}]}
}
""",
    "Asset": r"""
{
  "assetId": "a1", "datasetId": "acme_ds1", "workspaceId": "acme", "filename": "cat.png",
  "kind": "Image", "owner": "acme",
  "selfLink": "/workspaces/acme/datasets/acme_ds1/assets/a1", "etag": "\"a1-1\"",
  "metadata": {
    "generations": {"asset": "a1/original", "thumbnail": "a1/thumbnail"},
    "insertedBy": "user-1",
    "annotations": {"withTag": {}, "total": 0},
    "frames": 1, "cohorts": [], "fileSize": 1820, "height": 24, "width": 24,
    "mimeType": "image/png", "source": "managed/datature/default",
    "status": "ready", "uploadStatus": "Uploaded", "visibility": "Private",
    "userDefined": {}, "customMetadata": {"camera_type": "aerial", "height_m": 12.5, "night": false},
    "dimensions": {"height": 24, "width": 24, "depth": null},
    "pixelRatio": {"height": 1, "width": 1, "depth": null},
    "comments": 0, "customMetadataCount": 3,
    "hash": {"algorithm": "sha256", "contents": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    "contentsFrom": "Upload", "framesChange": {},
    "timeCreated": 1760000000000, "lastUpdated": 1760000000000, "contentsLastUpdated": 1760000000000
  },
  "contents": {
    "asset": {"url": "https://storage.example/dl/ds1/a1/cat.png?X-Expires=1760003600000&X-Signature=0f", "expiry": 1760003600000, "headers": {}, "method": "GET"},
    "thumbnail": null
  }
}
""",
    "Count": r"""
{"count": 42}
""",
    "RenameRequest": r"""
{"filename": "new name.png"}
""",
    "SessionCreateRequest": r"""
{
  "spec": {
    "kind": "Upload",
    "failureMode": "FailAfterOne",
    "onAssetOverwritten": "RemoveLinkedResource",
    "assets": [
      {"filename": "cat.png", "kind": "Image", "mime": "image/png", "size": 1820, "crc32c": -486108541, "customMetadata": null},
      {"filename": "drive.mp4", "kind": "Video", "mime": "video/mp4", "size": 2147483648, "crc32c": null, "customMetadata": null}
    ]
  }
}
""",
    "AssetIngestionSession": r"""
{
  "kind": "AssetIngestionSession", "workspaceId": "acme", "datasetId": "acme_ds1",
  "assetSourceClass": "managed", "assetSourceProvider": "datature", "assetSourceId": "default",
  "assetIngestionSessionId": "s1", "ingestionId": "i1",
  "selfLink": "/workspaces/acme/datasets/acme_ds1/assetSources/managed/datature/default/assetIngestionSessions/s1",
  "etag": "\"s1-1\"",
  "metadata": {"timeCreated": 1760000000000, "lastUpdated": 1760000000000, "generation": 1, "attributes": {}},
  "spec": {"kind": "Upload", "failureMode": "FailAfterOne", "onAssetOverwritten": "RemoveLinkedResource"},
  "status": {
    "conditions": [
      {"condition": "Finished", "status": "Waiting", "lastTransitionTime": 1760000000000},
      {"condition": "Started", "status": "Reached", "lastTransitionTime": 1760000000000}
    ],
    "events": [],
    "progressCount": {"total": 2, "succeeded": 0, "errored": 0},
    "assets": [
      {
        "metadata": {"kind": "Image", "filename": "cat.png", "mime": "image/png", "size": 1820, "crc32c": -486108541},
        "upload": {"url": "https://storage.example/up/s1/0/cat.png?X-Expires=1760000900000&X-Signature=1a", "expiry": 1760000900000, "method": "PUT", "headers": {"Content-Type": "image/png"}}
      },
      {
        "metadata": {"kind": "Video", "filename": "drive.mp4", "mime": "video/mp4", "size": 2147483648},
        "upload": {"url": "https://storage.example/up/s1/1/drive.mp4?X-Expires=1760000900000&X-Signature=2b", "expiry": 1760000900000, "method": "PUT", "headers": {"Content-Type": "video/mp4"}}
      }
    ]
  }
}
""",
    "AssetIngestionEventError": r"""
{"kind": "Error", "files": {"broken.jpg": "ECORRUPT"}, "corrections": {}, "time": 1760000005000}
""",
    "AssetIngestionEventProgress": r"""
{"kind": "Progress", "tasks": {"ingest": {"total": 2, "done": 1}}}
""",
    "MultipartCreateRequest": r"""
{"spec": {"ingestionId": "i1", "filename": "drive.mp4", "contentType": "video/mp4", "sizeBytes": 2147483648}}
""",
    "MultipartUpload": r"""
{
  "kind": "MultipartUpload", "workspaceId": "acme", "datasetId": "acme_ds1",
  "assetSourceClass": "managed", "assetSourceProvider": "datature", "assetSourceId": "default",
  "multipartUploadId": "m1",
  "selfLink": "/workspaces/acme/datasets/acme_ds1/assetSources/managed/datature/default/multipartUploads/m1",
  "etag": "\"m1\"",
  "metadata": {"timeCreated": 1760000000000, "lastUpdated": 1760000000000, "generation": 1, "attributes": {}},
  "spec": {"ingestionId": "i1", "filename": "drive.mp4", "sizeBytes": 2147483648, "contentType": "video/mp4"},
  "status": {
    "conditions": [
      {"condition": "Finished", "status": "Waiting", "lastTransitionTime": 1760000000000},
      {"condition": "Started", "status": "Reached", "lastTransitionTime": 1760000000000}],
    "partCount": 32
  }
}
""",
    "PartSignedUrl": r"""
{
  "method": "PUT", "url": "https://storage.example/part/m1/3?X-Expires=1760000900000&X-Signature=3c",
  "expiry": 1760000900000, "headers": {"Content-Type": "application/octet-stream"},
  "responseHeaders": ["ETag"], "responseBody": false
}
""",
    "PartCompletionRequest": r"""
{"responseHeaders": {"ETag": "\"9b2cf5\""}, "responseBody": "cGFydC1vaw=="}
""",
}

NAMES = tuple(_TEXTS)


def document(name: str) -> Any:
    """Return a fresh copy of a document."""
    return json.loads(_TEXTS[name])
