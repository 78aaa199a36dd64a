"""The service's API as an OpenAPI document: its routes with the models that answers are decoded into."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from aiohttp import web

from .. import _routes
from .._schema import Schema, class_schema, schema_of
from .._version import __version__
from ..api.resources.datasets.assets.responses import Asset, AssetIngestionSession, MetadataChanges
from ..api.resources.datasets.responses import BulkAssetDeletionSession, Dataset, DeletedDataset
from ..api.resources.organizations.responses import Organization

PATH = "/openapi.json"

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer"}
_ANY: Schema = {"type": "object"}


def _words(*known: str) -> Schema:
    return {**_TEXT, "enum": [*known]}


def _object(required: Sequence[str] = (), /, **properties: Schema) -> Schema:
    return {**_ANY, **({"required": [*required]} if required else {}), "properties": properties}


def _spec(required: Sequence[str] = (), /, **properties: Schema) -> Schema:
    return _object(["spec"], spec=_object(required, **properties))


def _some(item: Schema, **limits: int) -> Schema:
    return {"type": "array", "minItems": 1, **limits, "items": item}


_FLAG = _words("y", "n")
_WAIT: Schema = {
    "type": "number",
    "minimum": 0,
    "maximum": _routes.LONGEST_WAIT,
    "default": 0,
    "description": "Seconds that the answer may wait for the end of the session.",
}
_PAGING: dict[str, Schema] = {"s": {"type": "integer", "minimum": 1, "default": 10}, "p": _TEXT}
_SELECTION: dict[str, Schema] = {
    "filter": _TEXT, "metadataQuery": _TEXT, "ruleQuery": _TEXT, "strictQuery": _FLAG
}  # fmt: skip
_ORDER: dict[str, Schema] = {
    "sortBy": _words("default", "assetId", "filename", "lastModified.contents", "metadata.fileSize"),
    "o": _words("a", "asc", "d", "desc"),
    "contents": _FLAG,
    "pageAfter": _FLAG,
}
_NAME = _object(["filename"], filename=_TEXT)
_FILE = _object(
    ["filename", "kind", "mime", "size"],
    filename=_TEXT,
    kind=_words("Image", "Video"),
    mime=_TEXT,
    size=_COUNT,
    crc32c={"type": ["integer", "null"], "description": "CRC32C as a signed 32-bit integer."},
    customMetadata={"type": ["object", "null"]},
)
_SESSION = _spec(
    ["kind", "assets"],
    kind=_TEXT,
    failureMode=_words("FailAfterOne", "FailAfterAll"),
    onAssetOverwritten=_words("RemoveLinkedResource", "KeepLinkedResource", "KeepLinkedResources"),
    assets=_some(_FILE),
)
_METADATA = _spec(
    ["assets"],
    assets=_some(_object(["filename"], filename=_TEXT, customMetadata=_ANY)),
    remove={"type": "array", "items": _TEXT, "description": "Keys to remove first."},
    dryRun={"type": "boolean", "default": False},
)
_LOOKUP = _spec(
    ["filenames"],
    filenames=_some(_TEXT, maxItems=_routes.NAMES_A_LOOKUP),
    strictQuery={"type": "boolean", "default": False, "description": "Compare names case-sensitively."},
)
_DATASET = _object(
    name=_TEXT,
    description=_TEXT,
    type=_words("phrase-grounding", "vqa", "freeform"),
    tags=_ANY,
    metadata=_ANY,
)
_DELETION = _spec(**{**_SELECTION, "strictQuery": {"type": ["boolean", "null"]}})
_MULTIPART = _spec(
    ["ingestionId", "filename", "sizeBytes"],
    ingestionId=_TEXT,
    filename=_TEXT,
    sizeBytes=_COUNT,
    contentType={"type": ["string", "null"]},
)
_PART_DONE = _object(responseHeaders=_ANY, responseBody=_TEXT)


@attrs.frozen
class Operation:
    """One operation: its id, what it does, and its parameters, body and answer; a class stands for its schema."""

    id: str
    method: str
    route: str
    summary: str
    answer: type | Schema | None
    status: int = 200
    query: Mapping[str, Schema] = attrs.field(factory=dict)
    body: Schema | None = None
    page: bool = False


OPERATIONS: tuple[Operation, ...] = (
    Operation("listOrganizations", "GET", _routes.ORGANIZATIONS, "List organizations", Organization, query=_PAGING,
              page=True),
    Operation("getOrganization", "GET", _routes.ORGANIZATION, "Get an organization", Organization),
    Operation("listDatasets", "GET", _routes.DATASETS, "List datasets", Dataset, query=_PAGING, page=True),
    Operation("createDataset", "POST", _routes.DATASETS, "Create a dataset", Dataset, 201,
              body={**_DATASET, "required": ["name"]}),
    Operation("listSimpleDatasets", "GET", _routes.SIMPLE_DATASETS, "List ids and names of datasets", _ANY,
              query=_PAGING, page=True),
    Operation("getDataset", "GET", _routes.DATASET, "Get a dataset", Dataset),
    Operation("updateDataset", "PATCH", _routes.DATASET, "Change a dataset", Dataset, body=_DATASET),
    Operation("deleteDataset", "DELETE", _routes.DATASET, "Delete a dataset with its assets", DeletedDataset),
    Operation("getDatasetDeletion", "GET", _routes.DATASET_DELETION, "Get the deletion of a dataset", DeletedDataset),
    Operation("createBulkDeletion", "POST", _routes.BULK_DELETIONS, "Delete the assets of a selection",
              BulkAssetDeletionSession, 201, body=_DELETION),
    Operation("listBulkDeletions", "GET", _routes.BULK_DELETIONS, "List bulk deletions", BulkAssetDeletionSession,
              query=_PAGING, page=True),
    Operation("getBulkDeletion", "GET", _routes.BULK_DELETION, "Get a bulk deletion", BulkAssetDeletionSession),
    Operation("listAssets", "GET", _routes.ASSETS, "List assets", Asset, query={**_PAGING, **_ORDER, **_SELECTION},
              page=True),
    Operation("countAssets", "GET", _routes.ASSET_COUNT, "Count assets",
              _object(["count"], count=_COUNT), query=_SELECTION),
    Operation("setAssetMetadata", "POST", _routes.ASSET_METADATA,
              "Change custom metadata of assets; an addition to the protocol, announced by the header Vi-Additions",
              MetadataChanges, body=_METADATA),
    Operation("lookUpAssets", "POST", _routes.ASSET_LOOKUP,
              "Get the assets of many names; an addition to the protocol, announced by the header Vi-Additions",
              Asset, query={"contents": _FLAG}, body=_LOOKUP, page=True),
    Operation("getAsset", "GET", _routes.ASSET, "Get an asset", Asset, query={"contents": _FLAG}),
    Operation("deleteAsset", "DELETE", _routes.ASSET, "Delete an asset", None, 204),
    Operation("renameAsset", "POST", _routes.ASSET_NAME, "Rename an asset", Asset, body=_NAME),
    Operation("renameAssetByName", "POST", _routes.ASSET_FILE_NAME, "Rename the asset of a name", Asset, body=_NAME),
    Operation("createSession", "POST", _routes.SESSIONS, "Open an ingestion session", AssetIngestionSession, 201,
              body=_SESSION),
    Operation("listSessions", "GET", _routes.SESSIONS, "List ingestion sessions", AssetIngestionSession,
              query=_PAGING, page=True),
    Operation("getSession", "GET", _routes.SESSION,
              "Get an ingestion session; wait is an addition to the protocol, announced by the header Vi-Additions",
              AssetIngestionSession, query={_routes.WAIT: _WAIT}),
    Operation("cancelSession", "POST", _routes.SESSION_CANCEL, "Cancel an ingestion session", AssetIngestionSession),
    Operation("createMultipartUpload", "POST", _routes.MULTIPART_UPLOADS, "Send a file of a session in parts", _ANY,
              201, body=_MULTIPART),
    Operation("abortMultipartUpload", "DELETE", _routes.MULTIPART_UPLOAD, "Abort an upload in parts", None, 204),
    Operation("completeMultipartUpload", "POST", _routes.MULTIPART_COMPLETION, "Complete an upload in parts", _ANY),
    Operation("createPartUrl", "POST", _routes.PART, "Get the signed URL of a part", _ANY),
    Operation("completePart", "POST", _routes.PART_COMPLETION, "Complete a part", _ANY, body=_PART_DONE),
)  # fmt: skip


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    schemas: dict[str, Schema] = {}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.route, {})[operation.method.lower()] = _operation(operation, schemas)
    schemas["Error"] = _object(["message"], code=_TEXT, message=_TEXT, details=_ANY)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vi dataset service",
            "version": __version__,
            "description": "The API of the local service. Times are milliseconds since 1970 UTC, sizes are bytes.",
        },
        "security": [{"key": [], "organization": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "organization": {"type": "apiKey", "in": "header", "name": "Organization-Id"},
            },
            "schemas": dict(sorted(schemas.items())),
        },
    }


async def get(_request: web.Request) -> web.Response:
    """Answer the document."""
    return web.json_response(document())


def _operation(operation: Operation, schemas: dict[str, Schema]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT}
        for name in re.findall(r"\{(\w+)\}", operation.route)
    ]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]
    answered: dict[str, Any] = {"description": operation.summary}
    if operation.answer is not None:
        answered["content"] = _json(_answer(operation, schemas))
    failed = {"description": "An error", "content": _json({"$ref": "#/components/schemas/Error"})}
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {str(operation.status): answered, "default": failed},
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    return described


def _answer(operation: Operation, schemas: dict[str, Schema]) -> Schema:
    def refer(cls: type) -> Schema:
        if cls.__name__ not in schemas:
            schemas[cls.__name__] = {}  # a class may hold itself
            schemas[cls.__name__] = class_schema(cls, refer, wire=True)
        return {"$ref": f"#/components/schemas/{cls.__name__}"}

    assert operation.answer is not None
    one = operation.answer if isinstance(operation.answer, dict) else schema_of(operation.answer, refer, wire=True)
    return _page(one) if operation.page else one


def _page(item: Schema) -> Schema:
    token: Schema = {"type": ["string", "null"]}
    return _object(items={"type": "array", "items": item}, nextPage=token, prevPage=token)


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
