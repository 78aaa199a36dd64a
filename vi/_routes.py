"""Each path of the protocol once (section 5): the client fills it, the service registers it."""

from __future__ import annotations

import re
from urllib.parse import quote

ORGANIZATIONS = "/workspaces"
ORGANIZATION = "/workspaces/{org}"
DATASETS = ORGANIZATION + "/datasets"
SIMPLE_DATASETS = ORGANIZATION + "/simpleDatasets"
DATASET = DATASETS + "/{dataset}"
DATASET_DELETION = DATASET + "/deleteOperation"
BULK_DELETIONS = DATASET + "/deleteManyAssetsSessions"
BULK_DELETION = BULK_DELETIONS + "/{deletion}"
ASSETS = DATASET + "/assets"
ASSET_COUNT = DATASET + "/assets:count"
ASSET_METADATA = DATASET + "/assets:setMetadata"
"""An addition of our own service, which says so with `SET_METADATA`."""
ASSET_LOOKUP = DATASET + "/assets:lookup"
"""An addition of our own service, which says so with `LOOKUP`."""
ASSET = ASSETS + "/{asset}"
ASSET_NAME = ASSET + "/name"
ASSET_FILE_NAME = DATASET + "/assetFiles/{filename}/name"
SOURCE = DATASET + "/assetSources/{source_class}/{provider}/{source_id}"
SESSIONS = SOURCE + "/assetIngestionSessions"
SESSION = SESSIONS + "/{session}"
SESSION_CANCEL = SESSION + ":cancel"
MULTIPART_UPLOADS = SOURCE + "/multipartUploads"
MULTIPART_UPLOAD = MULTIPART_UPLOADS + "/{upload}"
MULTIPART_COMPLETION = MULTIPART_UPLOAD + "/completion"
PART = MULTIPART_UPLOAD + "/parts/{part}"
PART_COMPLETION = PART + "/completion"

ADDITIONS = "Vi-Additions"
"""A header of the answers of our own service: what it has beside the protocol, separated by commas."""
SET_METADATA = "set-metadata"
LOOKUP = "lookup"
NAMES_A_LOOKUP = 1_000
"""Names in one request for the assets of names, at most."""
SESSION_WAIT = "session-wait"
WAIT = "wait"
"""A parameter for reading a session: the seconds that the answer may wait for its end."""
LONGEST_WAIT = 10
UPLOAD_GROUPS = "upload-groups"
"""Sessions with the header `UPLOAD` are shown as one upload: its id, and where it came from, percent-encoded."""
UPLOAD = "Vi-Upload"

MANAGED_SOURCE = {"source_class": "managed", "provider": "datature", "source_id": "default"}

_FIELD = re.compile(r"\{(\w+)\}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,255}")


def fill(template: str, **values: str | int) -> str:
    """Return the path of *template* with each value percent-encoded, ``/`` included."""
    return _FIELD.sub(lambda match: quote(str(values[match[1]]), safe=""), template)


def composite(organization_id: str, dataset_id: str) -> str:
    """Return the dataset id as paths write it (section 2.1), whether it comes short or composite."""
    return f"{organization_id}_{short(organization_id, dataset_id)}"


def short(organization_id: str | None, dataset_id: str) -> str:
    """Return the dataset id without the prefix of its own organization; any other value stays as it is."""
    return dataset_id.removeprefix(f"{organization_id}_") if organization_id else dataset_id


def is_identifier(value: object) -> bool:
    """Tell whether *value* can be an id of a dataset, asset or session (section 2)."""
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def is_upload_id(value: object) -> bool:
    """Tell whether *value* can be the id of a multipart upload: any alphabet, but one printable word."""
    return isinstance(value, str) and 0 < len(value) <= 1024 and value.isprintable() and bool(value.strip(". "))
